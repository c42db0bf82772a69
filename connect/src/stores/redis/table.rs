//! [`RedisConnector`], lookup tables in a Redis.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion_common::error::{DataFusionError, Result};
use farcall_udf::{
    ArgBatch, AsyncBatchLookupFunction, CallContext, CallError, CallOptions, FunctionContext,
    LookupAnswer, LookupConnector, LookupDefinition, LookupProvider, LookupQuery, LookupScan,
};

use super::decode::Decoder;
use super::find::find;
use super::key::KeyTemplate;
use super::options::RedisOptions;
use super::scan::RedisScan;
use super::{ValueKind, text};
use crate::common::opened::opened;
use crate::common::options::{Owner, bad_option};
use crate::json::unsupported;
use crate::stores::redis::source::{Names, Opened, Source};

/// Keys in a request at most: a server answers nobody else while it works on one command.
const MAX_KEYS: usize = 10_000;

/// The connector `redis`.
///
/// Options: `url` (required; `redis://HOST:PORT/DATABASE`, or `rediss://` for TLS), `user`,
/// `password`, `key` (a template like `user:{id}`; the table's name and the columns of the key with
/// `:` between them), `value` (`json`, or `hash`, `string`), `pool_size` (8), `connect_timeout`
/// (10 s), `max_response_bytes` (64 MiB), `tls_ca_cert_file`, `tls_cert_file`, `tls_key_file`, and the
/// call options. In `url`, `user` and `password`, `${env:NAME}` stands for an environment variable,
/// read when a query starts.
#[derive(Debug, Clone, Copy, Default)]
pub struct RedisConnector;

impl LookupConnector for RedisConnector {
    fn name(&self) -> &str {
        "redis"
    }

    fn provider(&self, table: &LookupDefinition) -> Result<Arc<dyn LookupProvider>> {
        let owner = Owner::lookup_table(table, LookupConnector::name(self));
        let refused = |message: String| DataFusionError::Plan(format!("{owner}: {message}"));
        let options = RedisOptions::parse(owner, &table.options)?;
        let fields = table.schema.fields();
        for (index, column) in fields.iter().enumerate() {
            let data_type = column.data_type();
            let reason = unsupported(data_type)
                .or_else(|| text::no_key(data_type).filter(|_| table.key.contains(&index)));
            if let Some(reason) = reason {
                return Err(refused(format!("column {}: {reason}", column.name())));
            }
        }
        let others = fields.len() - table.key.len();
        if options.value == ValueKind::String && others > 1 {
            let message =
                format!("'string' is the value of one column beside the key, not of {others}");
            return Err(bad_option(owner, "value", message));
        }
        let key: Vec<&str> = table.key.iter().map(|part| fields[*part].name().as_str()).collect();
        let template = match &options.key {
            None => KeyTemplate::of_table(&table.name, &key),
            Some(template) => KeyTemplate::parse(template, &key)
                .map_err(|message| bad_option(owner, "key", format!("'{template}': {message}")))?,
        };
        let source = Source { table: table.clone(), options, template };
        Ok(Arc::new(RedisTable { source: Arc::new(source) }))
    }

    fn is_secret(&self, option: &str) -> bool {
        option == "password"
    }
}

/// A lookup table in a Redis.
#[derive(Debug)]
struct RedisTable {
    source: Arc<Source>,
}

impl LookupProvider for RedisTable {
    fn schema(&self) -> &SchemaRef {
        &self.source.table.schema
    }

    fn key(&self) -> &[usize] {
        &self.source.table.key
    }

    fn options(&self) -> CallOptions {
        self.source.table.call_options.clone()
    }

    fn max_keys(&self) -> usize {
        MAX_KEYS
    }

    fn lookup(&self, query: &LookupQuery) -> Result<Arc<dyn AsyncBatchLookupFunction>> {
        Ok(Arc::new(RedisLookup {
            source: Arc::clone(&self.source),
            decoder: self.source.decoder(query),
        }))
    }

    fn scan(&self, query: &LookupQuery) -> Result<Option<Arc<dyn LookupScan>>> {
        let source = Arc::clone(&self.source);
        let decoder = Arc::new(source.decoder(query));
        Ok(Some(Arc::new(RedisScan::new(source, decoder, query.columns.clone()))))
    }
}

/// The lookup of one place in a query.
#[derive(Debug)]
struct RedisLookup {
    source: Arc<Source>,
    decoder: Decoder,
}

#[async_trait]
impl AsyncBatchLookupFunction for RedisLookup {
    async fn open(&self, ctx: &FunctionContext) -> Result<farcall_udf::Opened, CallError> {
        Ok(farcall_udf::Opened::new(self.source.open(&ctx.resources)?))
    }

    async fn lookup_batch(
        &self,
        keys: ArgBatch,
        ctx: &CallContext,
    ) -> Result<LookupAnswer, CallError> {
        let name = self.source.name();
        let opened: &Opened = opened(ctx, name)?;
        let Names { keys, rows, mut errors } = self.source.names(&keys)?;
        let found = match keys.is_empty() {
            true => Vec::new(),
            false => find(&opened.pool, &self.decoder.ask(), &keys)
                .await
                .map_err(|failure| failure.of(name, &opened.secrets))?,
        };
        let read = self.decoder.rows(&keys, found, &opened.secrets)?;
        errors.extend(read.errors.into_iter().map(|(key, error)| (rows[key] as usize, error)));
        let keys = read.keys.iter().map(|key| rows[*key as usize]).collect();
        Ok(LookupAnswer::new(read.columns, keys).with_errors(errors))
    }
}
