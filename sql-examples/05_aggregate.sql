-- Aggregates over predictions: a call as a group key, in an aggregate, and in HAVING.

CREATE MODEL sentiment
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR, score DOUBLE)
  WITH ('provider' = 'local', 'model' = 'sentiment');

-- What people think of what the model takes for positive, neutral and negative.
SELECT PREDICT(sentiment, text)['label'] AS label,
       count(*) AS sentences,
       round(avg(rating), 2) AS average_rating
FROM 'data/reviews.csv'
GROUP BY PREDICT(sentiment, text)['label']
ORDER BY average_rating;

-- The reviews with the best and the worst average.
SELECT review,
       count(*) AS sentences,
       round(avg(PREDICT(sentiment, text)['score']), 2) AS score,
       round(avg(rating), 2) AS rating
FROM 'data/reviews.csv'
GROUP BY review
HAVING abs(avg(PREDICT(sentiment, text)['score'])) > 0.2
ORDER BY score, review;
