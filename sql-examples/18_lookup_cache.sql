-- Caches of lookups: answers kept for later queries as they come, or a table held as a whole.

CREATE TABLE languages (code VARCHAR PRIMARY KEY, name VARCHAR, family VARCHAR)
  WITH ('connector' = 'memory', 'location' = 'data/languages.csv',
        'cache' = 'partial', 'cache_max_rows' = '1000', 'cache_ttl' = '10min');

-- The first query asks for each of its keys; a key without a row is remembered, too.
-- pin: calls
SELECT t.code, l.name FROM (VALUES ('deu'), ('tlh'), ('eng')) AS t (code) LEFT JOIN languages l ON t.code = l.code;

-- The second asks for what is new.
-- pin: calls
SELECT t.code, l.name FROM (VALUES ('eng'), ('tlh'), ('fra')) AS t (code) LEFT JOIN languages l ON t.code = l.code;

-- With cache = 'full' the table is read before the first lookup, and no key is asked for.
-- pin: calls
SELECT /*+ LOOKUP('table'='l', 'cache'='full', 'cache-reload-interval'='1h') */ t.code, l.name
FROM (VALUES ('eng'), ('tlh'), ('ita')) AS t (code) LEFT JOIN languages l ON t.code = l.code;

-- What is in force stands in the plan.
EXPLAIN
SELECT /*+ LOOKUP('table'='l', 'cache'='full', 'cache-reload-interval'='1h') */ t.code, l.name
FROM (VALUES ('eng'), ('tlh'), ('ita')) AS t (code) LEFT JOIN languages l ON t.code = l.code;

-- All of it is counted.
SELECT metric, value FROM farcall.metrics
WHERE function = 'languages' AND metric IN ('cache_hits', 'cache_misses', 'cache_loads', 'cached_rows');
