-- Lookup joins: a table is asked by key for the rows of another, in batches of distinct keys.

-- Connector memory holds the rows of a file; postgres, redis and http ask a store in the same way.
CREATE EXTERNAL TABLE languages (code VARCHAR, name VARCHAR, family VARCHAR, PRIMARY KEY (code))
  STORED AS LOOKUP OPTIONS ('connector' 'memory', 'location' 'data/languages.csv');

-- Each language is asked for once, however many sentences it has.
-- pin: calls
SELECT l.name, count(*) AS sentences
FROM 'data/sentences.csv' s JOIN languages FOR SYSTEM_TIME AS OF PROCTIME() AS l ON s.lang = l.code
WHERE l.family = 'Romance'
GROUP BY l.name
ORDER BY l.name;

-- A hint sets options for one table of one SELECT; a left join keeps what is not found.
SELECT /*+ LOOKUP('table'='l', 'max-batch-size'='2', 'capacity'='4') */ t.code, l.name
FROM (VALUES ('deu'), ('tlh'), ('eng')) AS t (code)
LEFT JOIN languages l ON t.code = l.code;

-- EXPLAIN shows what is asked: the columns, the conditions that go along, the options in force.
EXPLAIN
SELECT /*+ LOOKUP('table'='l', 'max-batch-size'='2', 'capacity'='4') */ t.code, l.name
FROM (VALUES ('deu'), ('tlh'), ('eng')) AS t (code)
LEFT JOIN languages l ON t.code = l.code AND l.family <> 'Romance';

-- Without a key, a table whose store can be scanned is read as a whole.
SELECT family, count(*) AS languages FROM languages GROUP BY family ORDER BY languages DESC, family LIMIT 3;

CREATE EXTERNAL TABLE far (id BIGINT, PRIMARY KEY (id))
  STORED AS LOOKUP OPTIONS ('connector' 'http', 'endpoint' 'http://localhost:1/far');

-- error: lookup table far cannot be scanned; join the table itself, by an equality on its key (id)
SELECT * FROM far;
