-- Lookup tables in PostgreSQL: rows are found by key, a batch of them by one statement.
-- Needs a server with the tables of stores/postgres.psql: see README.md.

CREATE EXTERNAL TABLE customers (
  id BIGINT, name VARCHAR, city VARCHAR, since DATE, credit DECIMAL(10, 2),
  PRIMARY KEY (id)
) STORED AS LOOKUP OPTIONS (
  'connector' 'postgres',
  'url' '${env:POSTGRES_URL}',
  'password' '${env:PGPASSWORD}',
  'table' 'shop.customers'
);

CREATE TABLE orders (number INT, customer BIGINT, product VARCHAR, currency VARCHAR) AS VALUES
  (1, 1, 'slate', 'GBP'),
  (2, 3, 'chalk', 'EUR'),
  (3, 1, 'chalk', 'GBP'),
  (4, 4, 'slate', 'EUR'),
  (5, NULL, 'slate', 'EUR');

-- A customer who is not there, and one who is not known, keep their orders.
SELECT o.number, c.name, c.city, c.since
FROM orders o LEFT JOIN customers FOR SYSTEM_TIME AS OF PROCTIME() AS c ON o.customer = c.id
ORDER BY o.number;

-- The condition goes along to the server, and only the columns that are read are asked for.
-- pin: physical_plan, calls
SELECT o.number, c.name FROM orders o JOIN customers c ON o.customer = c.id
WHERE c.credit > 100 ORDER BY o.number;

-- A key of two columns. The server's char(3) is a VARCHAR here.
CREATE TABLE prices (product VARCHAR, currency VARCHAR, price DECIMAL(8, 2), PRIMARY KEY (product, currency))
WITH ('connector' = 'postgres', 'url' = '${env:POSTGRES_URL}', 'password' = '${env:PGPASSWORD}',
      'table' = 'shop.prices');

SELECT o.number, o.product, o.currency, p.price
FROM orders o LEFT JOIN prices p ON o.product = p.product AND o.currency = p.currency
ORDER BY o.number;

-- Who is known at all?
SELECT count(*) AS known FROM orders o WHERE EXISTS (SELECT 1 FROM customers c WHERE c.id = o.customer);

-- Types are compared when a query reads a column, and one that would lose something is refused.
CREATE TABLE wrong (id BIGINT PRIMARY KEY, credit DOUBLE)
WITH ('connector' = 'postgres', 'url' = '${env:POSTGRES_URL}', 'password' = '${env:PGPASSWORD}',
      'table' = 'shop.customers');

-- error: column credit is declared as Float64, table shop.customers has it as numeric
SELECT w.credit FROM orders o JOIN wrong w ON o.customer = w.id;
