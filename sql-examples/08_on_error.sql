-- Errors: a call that cannot be answered ends the query, or gives NULL or a default if you say so.

-- Nobody listens at this address.
CREATE MODEL nobody
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR)
  WITH ('provider' = 'http', 'endpoint' = 'http://127.0.0.1:9/score', 'max_attempts' = '1');

-- By default the query fails, and says which function and why.
-- error: could not be reached
SELECT id, PREDICT(nobody, text) FROM 'data/reviews.csv';

-- The rows stay, without an answer.
SELECT id, PREDICT(nobody, text, on_error => 'null') AS label
FROM 'data/reviews.csv'
WHERE id <= 3
ORDER BY id;

-- The rows stay, with a default.
SELECT id, PREDICT(nobody, text, on_error => 'default:unknown') AS label
FROM 'data/reviews.csv'
WHERE id <= 3
ORDER BY id;

-- What is wrong before any call is made is said before any call is made.
-- error: no model 'noone'
SELECT PREDICT(noone, text) FROM 'data/reviews.csv';

-- error: option 'endpoint': missing
CREATE MODEL incomplete
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR)
  WITH ('provider' = 'http');

-- error: file 'data/no_such_file.csv' not found
SELECT PREDICT(nobody, text) FROM 'data/no_such_file.csv';
