-- EXPLAIN: where a query's calls stand, for which rows, and with which options.

CREATE MODEL sentiment
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR, score DOUBLE)
  WITH ('provider' = 'local', 'model' = 'sentiment', 'max_batch_size' = '32');

-- One call below both its uses, above the cheap condition.
EXPLAIN
SELECT id, PREDICT(sentiment, text)['label'] AS label
FROM 'data/reviews.csv'
WHERE review = 7 AND PREDICT(sentiment, text)['score'] > 0.5;

-- Below a LIMIT only as many calls are made as the limit needs.
EXPLAIN
SELECT id, PREDICT(sentiment, text)['label'] AS label
FROM 'data/reviews.csv'
ORDER BY rating DESC
LIMIT 3;
