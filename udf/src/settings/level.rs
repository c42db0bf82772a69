//! [`Level`], who said how a function is called.

use std::fmt;
use std::str::FromStr;

use crate::contract::kind::Kind;

/// Who said what holds for a call, from the narrowest to the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// The call itself: a named argument of PREDICT, or options in Rust.
    Call,
    /// A LOOKUP hint, the call of a lookup table.
    Hint,
    /// `farcall.function.<name>.*`, or the function's declaration.
    Function,
    /// WITH of CREATE MODEL.
    Model,
    /// OPTIONS or WITH of a lookup table.
    Table,
    /// A group of the session: `farcall.async_scalar.*`.
    Session,
    /// Nobody.
    Default,
}

impl Level {
    const ALL: [Level; 7] = [
        Level::Call,
        Level::Hint,
        Level::Function,
        Level::Model,
        Level::Table,
        Level::Session,
        Level::Default,
    ];

    /// Returns the level of the options of a call.
    pub(crate) fn of_call(kind: Kind) -> Self {
        match kind {
            Kind::Lookup => Level::Hint,
            Kind::Scalar | Kind::Table | Kind::Model => Level::Call,
        }
    }

    /// Returns the level of what a function declares.
    pub(crate) fn of_declaration(kind: Kind) -> Self {
        match kind {
            Kind::Scalar | Kind::Table => Level::Function,
            Kind::Lookup => Level::Table,
            Kind::Model => Level::Model,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Call => "call",
            Level::Hint => "hint",
            Level::Function => "function",
            Level::Model => "model",
            Level::Table => "table",
            Level::Session => "session",
            Level::Default => "default",
        })
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Level::ALL.into_iter().find(|level| level.to_string() == text);
        found.ok_or_else(|| format!("'{text}' is no level of options"))
    }
}
