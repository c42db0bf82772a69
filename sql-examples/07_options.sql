-- Options: of a call, of a model, of the session; the narrower wins, and a wrong one is refused.

-- For all calls of this session.
SET farcall.async_scalar.max_batch_size = 16;
SET farcall.async_scalar.timeout = '30s';

-- For all calls of this model.
CREATE MODEL sentiment
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR)
  WITH ('provider' = 'local', 'model' = 'sentiment', 'max_batch_size' = '8');

-- For this call.
SELECT PREDICT(sentiment, text, max_batch_size => 4, buffer_capacity => 2, timeout => '5s') AS label,
       count(*) AS sentences
FROM 'data/reviews.csv'
GROUP BY label
ORDER BY label;

-- An unknown option, and a value that the option does not take.
-- error: bad option max_bath_size of PREDICT: no such option
SELECT PREDICT(sentiment, text, max_bath_size => 4) FROM 'data/reviews.csv';

-- error: accepted are durations with a unit
SET farcall.async_scalar.timeout = 'soon';

-- error: 'fail', 'null'
CREATE MODEL other
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR)
  WITH ('provider' = 'local', 'model' = 'sentiment', 'on_error' = 'ignore');
