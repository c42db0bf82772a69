//! [`ServerColumn`], a column as the server has it, and how a part of a key is sent.

use arrow::datatypes::DataType;
use tokio_postgres::types::Type;

use super::types::{ColumnType, Wire};
use crate::stores::postgres::names::named;

/// A column of the table, as it was declared and as the server has it.
#[derive(Debug, Clone)]
pub(crate) struct ServerColumn {
    pub(crate) name: String,
    pub(crate) declared: DataType,
    pub(crate) travels: ColumnType,
    pub(crate) server: Type,
}

impl ServerColumn {
    /// Writes the column's value as it travels.
    pub(crate) fn value(&self) -> String {
        match self.travels.is_of(&self.server) {
            true => named(&self.name),
            // A cast writes the mask of a single host, too, which the type itself does not.
            false if self.server == Type::INET => format!("abbrev({})", named(&self.name)),
            false => format!("{}::{}", named(&self.name), self.travels.name()),
        }
    }

    /// Writes what is compared with keys: the bare column, where an index may be on it.
    pub(crate) fn compared(&self) -> String {
        match self.key_text() {
            Some(_) => named(&self.name),
            None => self.value(),
        }
    }

    /// Says how keys of text are compared; `None` if the column has to become a text first.
    fn key_text(&self) -> Option<KeyText> {
        if self.travels.wire != Wire::Text || self.travels.is_of(&self.server) {
            return Some(KeyText::Any);
        }
        match self.server {
            Type::NAME => Some(KeyText::Any),
            Type::BPCHAR => Some(KeyText::Padded),
            Type::UUID => Some(KeyText::Uuid),
            _ => None,
        }
    }

    pub(crate) fn key_part(&self) -> KeyPart {
        KeyPart { wire: self.travels.wire, text: self.key_text().unwrap_or(KeyText::Any) }
    }

    /// Writes the keys' column, which is a parameter.
    pub(crate) fn keys(&self, parameter: usize) -> String {
        let array = format!("${parameter}::{}[]", self.travels.name());
        match self.key_part().text {
            KeyText::Any => array,
            KeyText::Padded => format!("{array}::bpchar[]"),
            KeyText::Uuid => format!("{array}::uuid[]"),
        }
    }
}

/// How texts of a key are compared with the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyText {
    /// As they are.
    Any,
    /// With values of a fixed length, where blanks at the end do not count.
    Padded,
    /// With UUIDs.
    Uuid,
}

/// A column of the key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyPart {
    pub(crate) wire: Wire,
    pub(crate) text: KeyText,
}
