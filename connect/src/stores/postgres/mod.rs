//! Connector `postgres`: a lookup table that is a table or a view of a PostgreSQL server.
//!
//! One statement answers a batch of keys, which travel as array parameters; only the columns that a
//! query reads are asked for, and conditions that mean the same to the server go along
//! (see `filter.rs`). What a declared column may be on the server:
//!
//! | declared | Arrow | on the server |
//! |---|---|---|
//! | BOOLEAN | Boolean | boolean |
//! | SMALLINT, INT, BIGINT | Int16, Int32, Int64 | the same, or a narrower integer |
//! | REAL, DOUBLE | Float32, Float64 | the same; smallint for REAL; real and integer for DOUBLE |
//! | DECIMAL(p, s) | Decimal128, Decimal256 | numeric, or an integer; a value with more digits fails its key |
//! | VARCHAR | Utf8, LargeUtf8, Utf8View | text, varchar, char(n) without the blanks at its end, name, citext, uuid, json, jsonb, xml, inet, cidr, macaddr, enums |
//! | BYTEA | Binary, LargeBinary, BinaryView | bytea |
//! | DATE | Date32 | date |
//! | TIME | Time64 | time |
//! | TIMESTAMP | Timestamp without a zone | timestamp, date; timestamptz as the time in UTC |
//! | TIMESTAMP WITH TIME ZONE | Timestamp with a zone | timestamptz |
//! | INTERVAL | Interval(MonthDayNano) | interval |
//! | ARRAY of those | List | an array of one dimension, but not of inet |
//!
//! NaN and infinity in a numeric, an infinite date, 24:00, and whatever is finer or larger than its
//! declared type, fail the key that they were found for, and no other.

pub(crate) mod columns;
mod decode;
mod encode;
pub(crate) mod epoch;
mod error;
mod filter;
mod lookup;
pub(crate) mod names;
mod numeric;
mod options;
mod pool;
mod scan;
mod source;
mod statement;
mod types;
mod verify;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_common::error::Result;
use datafusion_common::plan_err;
use datafusion_expr::Expr;
use farcall_udf::{
    AsyncBatchLookupFunction, CallOptions, LookupConnector, LookupDefinition, LookupProvider,
    LookupQuery, LookupScan,
};

use crate::common::options::Owner;
use lookup::PostgresLookup;
use options::PostgresOptions;
use scan::PostgresScan;
use source::Source;
use types::ColumnType;

/// The connector `postgres`.
///
/// Options, with libpq's words where it has them:
///
/// * `url` (`'postgres://user@host:5432/database'`, with libpq's parameters behind a question mark),
///   or `host`, `port`, `dbname`; `user`, `password`, `application_name` (`farcall`), `options`,
///   `target_session_attrs`;
/// * `table`: the table or view, as SQL of the server would name it; the lookup table's own name;
/// * `sslmode`: `disable`, `prefer` (the default: TLS if the server has it, with any certificate),
///   `require` (with any certificate, or one of `sslrootcert`), `verify-ca`, `verify-full` (a
///   trusted certificate, of that host); `sslrootcert`: a file of certificates to trust, the
///   machine's own without it;
/// * `pool_size`: connections at most, for all queries of the runtime whose options are equal; the
///   table's `buffer_capacity`, or 10. So many requests are in flight at most, unless
///   `max_concurrency` says otherwise;
/// * `connect_timeout` (10 s);
/// * `max_response_bytes` (64 MiB): the largest answer to one request, as the server sends it.
///
/// In all of them but `sslmode`, `pool_size`, `table`, `connect_timeout` and `max_response_bytes`,
/// `${env:NAME}` stands for an environment variable, read when a query starts.
#[derive(Debug, Clone, Copy, Default)]
pub struct PostgresConnector;

impl LookupConnector for PostgresConnector {
    fn name(&self) -> &str {
        "postgres"
    }

    fn provider(&self, table: &LookupDefinition) -> Result<Arc<dyn LookupProvider>> {
        let owner = Owner::lookup_table(table, self.name());
        let options = PostgresOptions::parse(owner, table)?;
        for (index, column) in table.schema.fields().iter().enumerate() {
            let name = column.name();
            match ColumnType::of(column.data_type()) {
                Err(reason) => return plan_err!("{owner}: column {name}: {reason}"),
                Ok(ColumnType { is_list: true, .. }) if table.key.contains(&index) => {
                    return plan_err!("{owner}: column {name}: an array cannot be a key");
                }
                Ok(_) => {}
            }
        }
        // A request that finds no connection would wait within the time of its attempt.
        let most = table.call_options.max_concurrency().flatten().unwrap_or(usize::MAX);
        let call_options = table.call_options.clone();
        let call_options = call_options.with_max_concurrency(most.min(options.pool_size));
        Ok(Arc::new(PostgresTable { table: table.clone(), options, call_options }))
    }

    fn is_secret(&self, option: &str) -> bool {
        option == "password"
    }
}

/// A lookup table of a server.
#[derive(Debug)]
struct PostgresTable {
    table: LookupDefinition,
    options: PostgresOptions,
    call_options: CallOptions,
}

impl PostgresTable {
    fn source(&self, query: &LookupQuery, key: &[usize]) -> Source {
        let LookupDefinition { name, schema, .. } = &self.table;
        Source::new(name, schema, &self.options, query, key)
    }
}

impl LookupProvider for PostgresTable {
    fn schema(&self) -> &SchemaRef {
        &self.table.schema
    }

    fn key(&self) -> &[usize] {
        &self.table.key
    }

    fn options(&self) -> CallOptions {
        self.call_options.clone()
    }

    fn takes_filter(&self, filter: &Expr) -> bool {
        filter::is_taken(filter, &self.table.schema)
    }

    fn lookup(&self, query: &LookupQuery) -> Result<Arc<dyn AsyncBatchLookupFunction>> {
        Ok(Arc::new(PostgresLookup(self.source(query, &self.table.key))))
    }

    fn scan(&self, query: &LookupQuery) -> Result<Option<Arc<dyn LookupScan>>> {
        let schema = self.table.schema.project(&query.columns)?;
        let options = self.call_options.clone();
        Ok(Some(Arc::new(PostgresScan::new(self.source(query, &[]), schema, options))))
    }
}
