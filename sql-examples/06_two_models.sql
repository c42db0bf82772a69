-- Two models in one query: one after the other where the second needs the first, else at once.

CREATE MODEL language
  INPUT (text VARCHAR)
  OUTPUT (lang VARCHAR)
  WITH ('provider' = 'local', 'model' = 'language');

CREATE MODEL sentiment
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR)
  WITH ('provider' = 'local', 'model' = 'sentiment');

CREATE VIEW texts AS
SELECT 'review ' || id AS source, text FROM 'data/reviews.csv' WHERE id IN (19, 44, 58, 81)
UNION ALL
SELECT 'sentence ' || id AS source, text FROM 'data/sentences.csv' WHERE id IN (1, 7, 10, 23);

-- The sentiment model knows English only: it is asked where the language model has said so.
SELECT source,
       PREDICT(language, text) AS lang,
       CASE WHEN PREDICT(language, text) = 'eng' THEN PREDICT(sentiment, text) END AS label
FROM texts
ORDER BY source;

-- Both calls of a row need nothing of each other: their requests run at the same time.
EXPLAIN SELECT source, PREDICT(language, text), PREDICT(sentiment, text) FROM texts;

-- A call in the argument of a call: the inner one is made first.
SELECT source, PREDICT(sentiment, CASE PREDICT(language, text) WHEN 'eng' THEN text END) AS label
FROM texts
ORDER BY source;
