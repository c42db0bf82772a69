//! What users and connectors implement: functions, lookups, what they are told and what they answer.

pub(crate) mod answer;
pub(crate) mod args;
pub(crate) mod connector;
pub(crate) mod context;
pub(crate) mod conversion;
pub(crate) mod declaration;
pub(crate) mod estimate;
pub(crate) mod function;
pub(crate) mod kind;
pub(crate) mod list_type;
pub(crate) mod lookup;
pub(crate) mod lookup_reader;
pub(crate) mod opened;
pub(crate) mod provider;
pub(crate) mod resources;
pub(crate) mod sizes;
pub(crate) mod table;
