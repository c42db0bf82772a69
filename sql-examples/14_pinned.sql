-- Pinned plans and calls: a test that notices when a query begins to cost more.

CREATE MODEL sentiment
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR, score DOUBLE)
  WITH ('provider' = 'local', 'model' = 'sentiment');

-- 99 sentences, of which the model sees the 9 of one review.
-- pin: calls
SELECT PREDICT(sentiment, text)['label'] AS label, count(*) AS sentences
FROM 'data/reviews.csv'
WHERE review = 7
GROUP BY label
ORDER BY label;

-- The call stands above the LIMIT: it is made for three rows.
-- pin: logical_plan, calls
SELECT id, PREDICT(sentiment, text)['label'] AS label
FROM 'data/reviews.csv'
ORDER BY rating DESC, id
LIMIT 3;
