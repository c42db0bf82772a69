-- Lookup tables in Redis: a key's value is the row, as a JSON document, a hash or a string.
-- Needs a server with the keys of stores/redis.commands: see README.md.

-- Each article is a hash; only the fields that a query reads are asked for.
CREATE EXTERNAL TABLE articles (
  sku VARCHAR, name VARCHAR, price DECIMAL(8, 2), stock INT,
  PRIMARY KEY (sku)
) STORED AS LOOKUP OPTIONS (
  'connector' 'redis',
  'url' '${env:REDIS_URL}',
  'password' '${env:REDISCLI_AUTH}',
  'key' 'article:{sku}',
  'value' 'hash'
);

CREATE TABLE baskets (basket INT, sku VARCHAR, pieces INT) AS VALUES
  (1, 'chalk', 3),
  (1, 'slate', 1),
  (2, 'chalk', 1),
  (2, 'sponge', 2),
  (3, NULL, 1);

-- An article that is not there keeps its basket; one without a field has NULL in it.
SELECT b.basket, b.sku, a.name, a.price, a.stock
FROM baskets b LEFT JOIN articles FOR SYSTEM_TIME AS OF PROCTIME() AS a ON b.sku = a.sku
ORDER BY b.basket, b.sku;

-- pin: physical_plan, calls
SELECT b.basket, a.price FROM baskets b JOIN articles a ON b.sku = a.sku ORDER BY b.basket, a.price;

-- A document may be a list: one key, several rows.
CREATE TABLE reviews (sku VARCHAR PRIMARY KEY, stars INT, text VARCHAR)
WITH ('connector' = 'redis', 'url' = '${env:REDIS_URL}', 'password' = '${env:REDISCLI_AUTH}',
      'key' = 'reviews:{sku}', 'value' = 'json');

SELECT b.sku, r.stars, r.text FROM baskets b JOIN reviews r ON b.sku = r.sku
WHERE b.basket = 1 ORDER BY r.stars;

-- A key of two columns, whose value is the third.
CREATE TABLE rebates (customer BIGINT, sku VARCHAR, percent INT, PRIMARY KEY (customer, sku))
WITH ('connector' = 'redis', 'url' = '${env:REDIS_URL}', 'password' = '${env:REDISCLI_AUTH}',
      'key' = 'rebate:{customer}/{sku}', 'value' = 'string');

SELECT b.basket, b.sku, r.percent FROM baskets b JOIN rebates r ON r.customer = 7 AND r.sku = b.sku
ORDER BY b.basket;

-- A value that is not what was declared is an error that names its key.
CREATE TABLE wrong (sku VARCHAR PRIMARY KEY, name INT)
WITH ('connector' = 'redis', 'url' = '${env:REDIS_URL}', 'password' = '${env:REDISCLI_AUTH}',
      'key' = 'article:{sku}', 'value' = 'hash');

-- error: key article:chalk holds 'White chalk' where INT is declared (column name)
SELECT w.name FROM baskets b JOIN wrong w ON b.sku = w.sku WHERE b.basket = 1 AND b.pieces > 1;
