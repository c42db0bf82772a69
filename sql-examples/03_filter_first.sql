-- Filter before call: what costs nothing is decided first, and only the rows left are sent.

CREATE MODEL sentiment
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR, score DOUBLE)
  WITH ('provider' = 'local', 'model' = 'sentiment');

-- Sentences that people found negative, but in which the model sees something good. The order in
-- which the conditions are written does not matter.
SELECT id, rating, text
FROM 'data/reviews.csv'
WHERE PREDICT(sentiment, text)['label'] = 'positive' AND rating < -1.5
ORDER BY id;

-- In the plan the condition on rating stands below the call, the one on the answer above it.
EXPLAIN SELECT id, rating, text
FROM 'data/reviews.csv'
WHERE PREDICT(sentiment, text)['label'] = 'positive' AND rating < -1.5
ORDER BY id;
