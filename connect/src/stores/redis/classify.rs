//! [`Failure`], what an error of a server or a broken connection means, as DESIGN section 8 has it.

use farcall_udf::CallError;
use redis::{ServerError, ServerErrorKind};

use super::options::Server;
use crate::common::secrets::Secrets;

/// Why a request failed; whose request it was is not known here, since tables share connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server could not be reached, or the connection broke.
    Unreachable(String),
    /// The server may answer next time.
    Transient(String),
    /// It cannot work as it is set up.
    Configuration(String),
    /// The answer does not fit the request.
    Malformed(String),
    /// The answer has more bytes than are read; one to fewer keys may have less.
    TooLarge(String),
}

impl Failure {
    /// Makes the error of a table.
    pub(crate) fn of(self, table: &str, secrets: &Secrets) -> CallError {
        let function = table.to_owned();
        match self {
            Failure::Unreachable(message) => {
                CallError::Transport { function, message: secrets.excerpt(&message) }
            }
            Failure::Transient(message) => CallError::transient(table, secrets.excerpt(&message)),
            Failure::Configuration(message) => {
                CallError::configuration(table, secrets.excerpt(&message))
            }
            Failure::Malformed(message) | Failure::TooLarge(message) => {
                CallError::malformed(table, secrets.excerpt(&message))
            }
        }
    }

    /// Names the server.
    pub(crate) fn at(mut self, server: &Server) -> Self {
        let (Self::Unreachable(message)
        | Self::Transient(message)
        | Self::Configuration(message)
        | Self::Malformed(message)
        | Self::TooLarge(message)) = &mut self;
        message.insert_str(0, &format!("{server}: "));
        self
    }

    /// Classifies what a server said instead of an answer.
    pub(crate) fn said(error: &ServerError) -> Self {
        let code = error.code();
        let message = format!("{code} {}", error.details().unwrap_or_default());
        match error.kind() {
            Some(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot) => {
                let hint = "this is a node of a cluster, and clusters are not supported yet";
                Failure::Configuration(format!("{message} ({hint})"))
            }
            Some(ServerErrorKind::NoPerm) => Failure::Configuration(message),
            Some(ServerErrorKind::ResponseError) if is_unknown(&message) => {
                Failure::Configuration(message)
            }
            Some(_) => Failure::Transient(message),
            None => match code {
                "NOAUTH" => {
                    let hint = "options 'user' and 'password' say who asks";
                    Failure::Configuration(format!("{message} ({hint})"))
                }
                "WRONGPASS" | "DENIED" | "NOPROTO" => Failure::Configuration(message),
                // BUSY, OOM, MISCONF, and what proxies invent: all of them may pass.
                _ => Failure::Transient(message),
            },
        }
    }

    /// Classifies what a server said to a connection's first commands: there, all but a few errors
    /// say that it is not the connection that was meant.
    pub(crate) fn said_at_first(error: &ServerError) -> Self {
        let message = format!("{} {}", error.code(), error.details().unwrap_or_default());
        match error.kind() {
            Some(ServerErrorKind::ResponseError) if !message.contains("max number of clients") => {
                Failure::Configuration(message)
            }
            _ => Self::said(error),
        }
    }
}

/// Says whether the server does not know a command.
fn is_unknown(message: &str) -> bool {
    message.starts_with("ERR unknown") || message.contains("wrong number of arguments")
}

#[cfg(test)]
mod tests {
    use farcall_udf::ErrorClass;
    use redis::Value;

    use super::*;

    fn error(said: &str) -> ServerError {
        match redis::parse_redis_value(format!("-{said}\r\n").as_bytes()).unwrap() {
            Value::ServerError(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn class(failure: Failure) -> ErrorClass {
        failure.of("users", &Secrets::default()).class()
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for said in [
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script.",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "CLUSTERDOWN The cluster is down",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "READONLY You can't write against a read only replica.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "ERR max number of clients reached",
            "ERR upstream failure",
        ] {
            assert_eq!(class(Failure::said(&error(said))), ErrorClass::Transient, "{said}");
        }
    }

    #[test]
    fn what_is_set_up_wrongly_ends_the_query() {
        for said in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOPERM this user has no permissions to run the 'mget' command",
            "DENIED Redis is running in protected mode",
            "ERR unknown command 'MGET', with args beginning with: ",
            "MOVED 3999 127.0.0.1:6381",
            "CROSSSLOT Keys in request don't hash to the same slot",
        ] {
            assert_eq!(class(Failure::said(&error(said))), ErrorClass::Configuration, "{said}");
        }
    }

    #[test]
    fn a_cluster_is_told_as_what_is_not_supported() {
        let failure = Failure::said(&error("MOVED 3999 127.0.0.1:6381"));
        assert_eq!(
            failure.of("users", &Secrets::default()).to_string(),
            "users is not set up correctly: MOVED 3999 127.0.0.1:6381 (this is a node of a \
             cluster, and clusters are not supported yet)"
        );
    }

    #[test]
    fn a_refused_greeting_ends_the_query_unless_the_server_is_full() {
        for (said, expected) in [
            (
                "ERR AUTH <password> called without any password configured",
                ErrorClass::Configuration,
            ),
            ("ERR DB index is out of range", ErrorClass::Configuration),
            ("ERR max number of clients reached", ErrorClass::Transient),
            ("LOADING Redis is loading the dataset in memory", ErrorClass::Transient),
        ] {
            assert_eq!(class(Failure::said_at_first(&error(said))), expected, "{said}");
        }
    }

    #[test]
    fn a_message_that_repeats_the_password_is_blotted_out() {
        let mut secrets = Secrets::default();
        secrets.add("hush-42");
        let told = Failure::Transient("no hush-42 here".into()).of("users", &secrets).to_string();
        assert_eq!(told, "users failed: no *** here");
    }
}
