-- Embeddings: the sentences nearest to a question.

CREATE MODEL embed
  INPUT (text VARCHAR)
  OUTPUT (embedding FLOAT[])
  WITH ('provider' = 'local', 'model' = 'embedding');

-- The question is the same in all rows: it is asked once.
SELECT id, text,
       round(array_distance(PREDICT(embed, text), PREDICT(embed, 'customer service does not answer the phone')), 3) AS distance
FROM 'data/reviews.csv'
ORDER BY distance, id
LIMIT 5;
