//! What a server's refusals and a connection's troubles mean for a request.

use std::error::Error as _;
use std::io::ErrorKind;

use farcall_udf::CallError;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::common::secrets::Secrets;

/// Who asked whom, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) function: &'a str,
    /// Host and port.
    pub(crate) place: &'a str,
    pub(crate) secrets: &'a Secrets,
}

impl Asked<'_> {
    /// Classifies an error of the client.
    pub(crate) fn classify(&self, error: &Error) -> CallError {
        if let Some(refusal) = error.as_db_error() {
            return self.refusal(refusal);
        }
        let message = self.told(error);
        match is_hopeless(error) {
            true => CallError::configuration(self.function, message),
            false => CallError::transient(self.function, message),
        }
    }

    fn refusal(&self, refusal: &DbError) -> CallError {
        let code = refusal.code();
        let said = self.secrets.excerpt(refusal.message());
        let message = format!("{} says: {said} (SQLSTATE {})", self.place, code.code());
        match class(code) {
            Class::Transient => CallError::transient(self.function, message),
            Class::Configuration => CallError::configuration(self.function, message),
            Class::Rejected => CallError::rejected(self.function, message),
        }
    }

    /// Writes an error with its causes.
    fn told(&self, error: &Error) -> String {
        let mut message = format!("{}: {error}", self.place);
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !message.ends_with(&cause_text) {
                message = format!("{message}: {cause_text}");
            }
            source = cause.source();
        }
        self.secrets.excerpt(&message)
    }
}

/// What a refusal means.
enum Class {
    Transient,
    Configuration,
    Rejected,
}

/// Classifies the server's own codes, by their first two characters unless a code says more.
fn class(code: &SqlState) -> Class {
    // A plan that a change of the table made void is planned again.
    if *code == SqlState::FEATURE_NOT_SUPPORTED || *code == SqlState::INVALID_SQL_STATEMENT_NAME {
        return Class::Transient;
    }
    if *code == SqlState::DATABASE_DROPPED {
        return Class::Configuration;
    }
    match &code.code()[..code.code().len().min(2)] {
        // Connections, transactions, resources, operators, the system, the server itself.
        "08" | "25" | "40" | "53" | "55" | "57" | "58" | "XX" => Class::Transient,
        // Authorization, catalog, schema, syntax and names, configuration file.
        "28" | "3D" | "3F" | "42" | "F0" => Class::Configuration,
        // Data; and whatever a view's functions raise about it.
        _ => Class::Rejected,
    }
}

/// Says whether trying again is of no use, although the server has refused nothing.
fn is_hopeless(error: &Error) -> bool {
    let cause = error.source();
    if let Some(cause) = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
        let tls = cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        return tls || cause.kind() == ErrorKind::InvalidInput;
    }
    // The client tells the kinds apart by their text alone.
    let kinds = ["authentication error", "invalid configuration", "error performing TLS handshake"];
    kinds.contains(&error.to_string().as_str())
}

/// Says whether the server's encoding lacks a letter of a text.
pub(crate) fn lacks_letter(error: &Error) -> bool {
    error.code() == Some(&SqlState::UNTRANSLATABLE_CHARACTER)
}

/// Says whether a connection may be used again after an error.
pub(crate) fn survives(error: &Error) -> bool {
    error.as_db_error().is_some_and(|refusal| {
        let severity = refusal.parsed_severity();
        severity == Some(tokio_postgres::error::Severity::Error)
            && *refusal.code() != SqlState::FEATURE_NOT_SUPPORTED
            && *refusal.code() != SqlState::INVALID_SQL_STATEMENT_NAME
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_design_has_its_class() {
        let word = |code: &str| match class(&SqlState::from_code(code)) {
            Class::Transient => "transient",
            Class::Configuration => "configuration",
            Class::Rejected => "rejected",
        };
        for (expected, codes) in [
            (
                "transient",
                vec!["57P01", "57P03", "53300", "40001", "40P01", "08006", "57014", "0A000"],
            ),
            ("configuration", vec!["28P01", "28000", "3D000", "42P01", "42703", "42501", "57P04"]),
            ("rejected", vec!["22P02", "22021", "P0001", "23505"]),
        ] {
            for code in codes {
                assert_eq!(word(code), expected, "{code}");
            }
        }
    }
}
