//! What DataFusion's SQL lacks: statements of farcall's own, PREDICT, lookups, table functions, and
//! SET with the FLIP's keys.

mod columns;
mod dialect;
mod execute;
mod lookup_hint;
pub(crate) mod lookup_hint_udf;
mod lookup_statement;
mod model_statement;
pub(crate) mod names;
mod parser;
mod placeholder;
pub(crate) mod predict;
mod relations;
mod setting;
mod show;
mod statement_parts;
mod system_time;
mod table_call;
pub(crate) mod tokens;

pub(crate) use crate::sql::lookup_hint_udf::LookupHintUdf;
pub(crate) use execute::execute;
pub use lookup_statement::CreateLookupTable;
pub use model_statement::CreateModel;
pub use parser::parse;
pub(crate) use table_call::TableCallPlanner;

/// One statement of a script.
#[derive(Debug, Clone)]
pub enum Statement {
    /// A statement that DataFusion plans; PREDICT may stand in it.
    DataFusion(Box<datafusion::sql::parser::Statement>),
    /// `CREATE MODEL`.
    CreateModel(Box<CreateModel>),
    /// `CREATE EXTERNAL TABLE .. STORED AS LOOKUP`, or `CREATE TABLE .. WITH ('connector' = ..)`.
    CreateLookupTable(Box<CreateLookupTable>),
    /// `DROP MODEL`.
    DropModel {
        /// The model.
        name: String,
        /// Whether a model that does not exist is no error.
        if_exists: bool,
    },
    /// `SHOW MODELS`.
    ShowModels,
    /// `SHOW CREATE MODEL`.
    ShowCreateModel {
        /// The model.
        name: String,
    },
    /// `DESCRIBE MODEL`.
    DescribeModel {
        /// The model.
        name: String,
    },
    /// `SET` of an option of farcall's, or of one of its synonyms.
    Set {
        /// The option as [`farcall_udf::FarcallConfig`] knows it, without `farcall.`.
        key: String,
        /// The option as the user wrote it.
        written: String,
        /// Its value.
        value: String,
    },
    /// `RESET` of an option of farcall's, or of one of its synonyms.
    Reset {
        /// The option as [`farcall_udf::FarcallConfig`] knows it, without `farcall.`.
        key: String,
        /// The option as the user wrote it.
        written: String,
    },
}
