-- A first call: a model says whether a sentence of a customer review is positive or negative.
--
-- The provider 'local' serves a small sentiment model from inside farcall; any other model is
-- called in the same way. The call is made for the eight rows of the result, not for the file.

CREATE MODEL sentiment
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR)
  WITH ('provider' = 'local', 'model' = 'sentiment');

SELECT id, rating, PREDICT(sentiment, text) AS label, text
FROM 'data/reviews.csv'
WHERE length(text) < 50
ORDER BY id
LIMIT 8;
