//! [`Source`], the table behind a lookup table: reached, described, and read by a statement.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use farcall_udf::{CallError, FunctionContext, LookupQuery};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use super::decode::{Column, column};
use super::options::PostgresOptions;
use super::pool::{Connection, Pool, Users};
use super::statement::{Select, describe, type_name};
use super::types::ColumnType;
use crate::common::environment::Environment;
use crate::stores::postgres::columns::ServerColumn;
use crate::stores::postgres::types::Misfit;

/// What one place in a query reads of a table of the server.
#[derive(Debug)]
pub(crate) struct Source {
    /// The lookup table's name, for messages.
    name: String,
    schema: SchemaRef,
    options: PostgresOptions,
    query: LookupQuery,
    /// The columns by which rows are found; none if all are read.
    key: Vec<usize>,
    /// The columns that are read behind those of the key.
    columns: Vec<usize>,
}

/// A server that a query has reached.
#[derive(Debug)]
pub(crate) struct Opened {
    pool: Arc<Pool>,
    /// Made with the first request, so that trouble with it is retried like any other.
    select: OnceCell<Select>,
    /// The statements that run.
    users: Users,
}

impl Opened {
    /// Waits until the statements of a query that ended are cancelled.
    pub(crate) async fn close(&self) {
        self.users.gone().await;
    }

    /// Returns the statement, once there was a connection for it.
    pub(crate) fn select(&self) -> Result<&Select, CallError> {
        let select = self.select.get();
        select.ok_or_else(|| {
            CallError::function("postgres", "a statement was read before it was made")
        })
    }
}

impl Source {
    /// Makes what reads `columns` of the rows with a key, or of all rows without one.
    pub(crate) fn new(
        name: &str,
        schema: &SchemaRef,
        options: &PostgresOptions,
        query: &LookupQuery,
        key: &[usize],
    ) -> Self {
        Self {
            name: name.to_owned(),
            schema: Arc::clone(schema),
            options: options.clone(),
            key: key.to_vec(),
            columns: query.answered(key).collect(),
            query: query.clone(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the largest answer to one request, in bytes.
    pub(crate) fn max_response_bytes(&self) -> usize {
        self.options.max_response_bytes
    }

    /// Finds the pool of connections, once per query.
    pub(crate) fn open(&self, ctx: &FunctionContext) -> Result<Opened, CallError> {
        let refused = |message| CallError::configuration(&self.name, message);
        let environment = Environment::of(&ctx.resources);
        let server = self.options.resolve(|name| environment.get(name));
        let server = server.map_err(|(option, message)| refused(format!("{option}: {message}")))?;
        let pool = Pool::of(&ctx.resources, &server).map_err(refused)?;
        Ok(Opened { pool, select: OnceCell::new(), users: Users::default() })
    }

    /// Takes a connection, and returns it with the statement to run.
    pub(crate) async fn connect<'a>(
        &self,
        opened: &'a Opened,
        deadline: Option<Instant>,
    ) -> Result<(Connection, &'a Select), CallError> {
        let mut connection = opened.pool.connection(&self.name, deadline, &opened.users).await?;
        let select = opened.select.get_or_try_init(|| self.select(&mut connection)).await?;
        Ok((connection, select))
    }

    /// Asks the server for the types of the columns, and writes the statement for them.
    async fn select(&self, connection: &mut Connection) -> Result<Select, CallError> {
        let used = self.used();
        let names: Vec<&str> =
            used.iter().map(|column| self.schema.field(*column).name().as_str()).collect();
        let described = if names.is_empty() {
            vec![]
        } else {
            let statement = connection.prepare(&describe(&self.options.table, &names)).await?;
            statement.columns().iter().map(|column| column.type_().clone()).collect()
        };
        let columns = used.iter().zip(described);
        let columns: Vec<(usize, ServerColumn)> = columns
            .map(|(column, server)| Ok((*column, self.column(*column, server)?)))
            .collect::<Result<_, CallError>>()?;
        let of = |wanted: &[usize]| -> Vec<ServerColumn> {
            let found = wanted
                .iter()
                .filter_map(|wanted| columns.iter().find(|(column, _)| column == wanted));
            found.map(|(_, column)| column.clone()).collect()
        };
        let find = |name: &str| {
            let mut columns = columns.iter();
            columns.find(|(_, column)| column.name == name).map(|(_, column)| column.clone())
        };
        let (key, answered) = (of(&self.key), of(&self.columns));
        Select::new(&self.options.table, &key, answered, &self.query.filters, &find).ok_or_else(
            || {
                CallError::configuration(
                    &self.name,
                    "it was given a condition that it did not take",
                )
            },
        )
    }

    /// Returns the columns that a statement names, each once.
    fn used(&self) -> Vec<usize> {
        let mut used: Vec<usize> = self.key.iter().chain(&self.columns).copied().collect();
        for filter in &self.query.filters {
            let columns = filter.column_refs();
            used.extend(columns.iter().filter_map(|c| self.schema.index_of(&c.name).ok()));
        }
        used.sort_unstable();
        used.dedup();
        used
    }

    fn column(&self, column: usize, server: Type) -> Result<ServerColumn, CallError> {
        let field = self.schema.field(column);
        let refused = |message| CallError::configuration(&self.name, message);
        let travels = ColumnType::of(field.data_type()).map_err(refused)?;
        let (name, declared) = (field.name().clone(), field.data_type().clone());
        let travels = travels.from(&server).ok_or_else(|| {
            refused(format!(
                "column {name} is declared as {declared}, table {} has it as {}, which does not \
                 become that without loss",
                self.options.table,
                type_name(&server)
            ))
        })?;
        Ok(ServerColumn { name, declared, travels, server })
    }
}

/// A value in the server's binary form, of any type.
pub(crate) struct Raw<'a>(pub(super) &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Returns a value of a row, `None` for NULL.
pub(crate) fn value<'a>(
    function: &str,
    row: &'a Row,
    column: usize,
) -> Result<Option<&'a [u8]>, CallError> {
    let value: Result<Option<Raw<'a>>, _> = row.try_get(column);
    match value {
        Ok(value) => Ok(value.map(|Raw(raw)| raw)),
        Err(error) => Err(CallError::malformed(function, format!("column {column}: {error}"))),
    }
}

/// The columns of an answer while its rows are read.
pub(crate) struct Rows<'a> {
    function: &'a str,
    declared: &'a [ServerColumn],
    columns: Vec<Box<dyn Column>>,
    /// Where the columns begin in a row.
    offset: usize,
    /// What was taken since the beginning, as the server sent it.
    bytes: usize,
}

impl<'a> Rows<'a> {
    /// Begins an answer of a statement.
    pub(crate) fn of(function: &'a str, select: &'a Select) -> Self {
        let columns = select.columns.iter().filter_map(|declared| column(&declared.declared));
        let (columns, offset) = (columns.collect(), select.key.len());
        Self { function, declared: &select.columns, columns, offset, bytes: 0 }
    }

    /// Returns how many bytes the rows so far have.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a row; returns what is wrong with it, if a value is not of its declared type.
    pub(crate) fn push(&mut self, row: &Row) -> Result<Option<CallError>, CallError> {
        self.bytes += row.raw_size_bytes();
        let mut wrong = None;
        let columns = self.columns.iter_mut().zip(self.declared).enumerate();
        for (index, (column, declared)) in columns {
            let raw = value(self.function, row, self.offset + index)?;
            if let Err(Misfit(what)) = column.push(raw) {
                let (name, data_type) = (&declared.name, &declared.declared);
                let message = format!("a value of column {name}, declared as {data_type}, {what}");
                wrong = Some(CallError::malformed(self.function, message));
            }
        }
        Ok(wrong)
    }

    /// Returns the columns, and begins anew.
    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>, CallError> {
        self.bytes = 0;
        let columns: Result<_, ArrowError> =
            self.columns.iter_mut().map(|column| column.finish()).collect();
        columns.map_err(|error| CallError::function(self.function, error))
    }
}
