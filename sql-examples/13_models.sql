-- Models as objects of SQL: create, replace, list, drop.

CREATE MODEL m
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR)
  WITH ('provider' = 'local', 'model' = 'sentiment');

-- error: model 'm' exists
CREATE MODEL m
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR)
  WITH ('provider' = 'local', 'model' = 'sentiment');

CREATE MODEL IF NOT EXISTS m
  INPUT (text VARCHAR)
  OUTPUT (lang VARCHAR)
  WITH ('provider' = 'local', 'model' = 'language');

SELECT PREDICT(m, 'what a lovely day') AS still_the_label;

CREATE OR REPLACE MODEL m
  INPUT (text VARCHAR)
  OUTPUT (lang VARCHAR)
  WITH ('provider' = 'local', 'model' = 'language');

SELECT PREDICT(m, 'quel que soit le niveau de votre choix, vous pourrez revoir les questions') AS now_the_language;

SHOW MODELS;

DROP MODEL m;
DROP MODEL IF EXISTS m;

-- error: no model 'm'
DROP MODEL m;
