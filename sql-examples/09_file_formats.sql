-- File formats: csv, parquet and ndjson files are queried and written by name.

CREATE MODEL sentiment
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR)
  WITH ('provider' = 'local', 'model' = 'sentiment');

SELECT count(*) AS sentences, round(avg(rating), 2) AS average_rating FROM 'data/reviews.csv';
SELECT count(*) AS sentences, round(avg(rating), 2) AS average_rating FROM 'data/reviews.parquet';

-- Predictions go into a file as any other column; a relative name is written where you are.
COPY (
  SELECT id, rating, PREDICT(sentiment, text) AS label
  FROM 'data/reviews.parquet'
  WHERE review = 7
  ORDER BY id
) TO 'farcall-example-labels.parquet';

SELECT * FROM 'farcall-example-labels.parquet' ORDER BY id;

-- Or into a table in memory, so that further queries cost no calls.
CREATE TABLE labels AS
SELECT id, PREDICT(sentiment, text) AS label FROM 'data/reviews.parquet';

SELECT label, count(*) AS sentences FROM labels GROUP BY label ORDER BY label;

-- A file that is not there.
-- error: file 'data/reviews.tsv' not found
SELECT * FROM 'data/reviews.tsv';
