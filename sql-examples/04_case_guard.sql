-- CASE guards a call: rows of other branches get their value without a request.

CREATE MODEL sentiment
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR)
  WITH ('provider' = 'local', 'model' = 'sentiment');

SELECT id,
       CASE
         WHEN length(text) < 15 THEN 'too short'
         WHEN abs(rating) > 2.5 THEN 'clear enough'
         ELSE PREDICT(sentiment, text)
       END AS label,
       text
FROM 'data/reviews.csv'
WHERE length(text) < 32
ORDER BY id;

-- The guard stands behind WHEN in the plan.
EXPLAIN SELECT CASE WHEN length(text) >= 15 THEN PREDICT(sentiment, text) END
FROM 'data/reviews.csv';

-- COALESCE calls only where nothing else is known, and a NULL is not sent at all.
SELECT t.id, COALESCE(t.known, PREDICT(sentiment, t.text)) AS label
FROM (VALUES (1, 'by hand', 'what a lovely day'),
             (2, NULL, 'what a lovely day'),
             (3, NULL, NULL)) AS t(id, known, text)
ORDER BY t.id;
