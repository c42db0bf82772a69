-- A join and a call: how often is the language detected right, for each family of languages?

CREATE MODEL language
  INPUT (text VARCHAR)
  OUTPUT (lang VARCHAR)
  WITH ('provider' = 'local', 'model' = 'language');

SELECT l.family,
       count(*) AS sentences,
       count(*) FILTER (WHERE PREDICT(language, s.text) = s.lang) AS detected
FROM 'data/sentences.csv' AS s
JOIN 'data/languages.csv' AS l ON s.lang = l.code
GROUP BY l.family
ORDER BY l.family;

-- The answer as a join key: which language was it taken for?
SELECT written.name AS written_in, taken.name AS taken_for, count(*) AS sentences
FROM 'data/sentences.csv' AS s
JOIN 'data/languages.csv' AS written ON s.lang = written.code
JOIN 'data/languages.csv' AS taken ON PREDICT(language, s.text) = taken.code
WHERE written.family = 'Germanic'
GROUP BY written.name, taken.name
ORDER BY written_in, taken_for;
