-- Several outputs: a model with two output columns answers a struct, whose fields are one call.

CREATE MODEL language
  INPUT (text VARCHAR)
  OUTPUT (lang VARCHAR, confidence DOUBLE)
  WITH ('provider' = 'local', 'model' = 'language');

-- The struct as a whole.
SELECT id, PREDICT(language, text) AS answer
FROM 'data/sentences.csv'
WHERE id IN (1, 4, 7)
ORDER BY id;

-- Two fields of it, and a condition on one: still one call a row.
SELECT id, lang AS written_in, PREDICT(language, text)['lang'] AS detected
FROM 'data/sentences.csv'
WHERE PREDICT(language, text)['confidence'] >= 0.5 AND id % 6 = 1
ORDER BY id;

-- The plan shows the one call below both.
EXPLAIN SELECT PREDICT(language, text)['lang'], PREDICT(language, text)['confidence']
FROM 'data/sentences.csv';
