//! [`CallError`], the one enum of everything that can go wrong with a call, and its classes.

use std::borrow::Cow;
use std::time::Duration;

use datafusion_common::DataFusionError;

/// What a failure means for the request, for its rows and for the query.
///
/// Every [`CallError`] has exactly one class ([`CallError::class`]); retry, isolation and the
/// limiter decide by class alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorClass {
    /// The remote side may answer next time: retried.
    Transient,
    /// The remote side asks for fewer requests: retried after its delay, without using up attempts.
    Throttled,
    /// A quota or a budget is used up: never retried, ends the query.
    Exhausted,
    /// The content was refused: not retried, but the request is bisected to find the bad row.
    Rejected,
    /// The call cannot work as it is set up: never retried, ends the query at once.
    Configuration,
    /// The answer does not fit the request: retried once, then isolated.
    Malformed,
    /// The function itself failed (a panic, an error of user code): not retried, not isolated.
    Internal,
    /// The query was cancelled or has already failed elsewhere.
    Cancelled,
}

impl ErrorClass {
    /// All classes, in the order in which the documentation lists them.
    pub const ALL: [ErrorClass; 8] = [
        ErrorClass::Transient,
        ErrorClass::Throttled,
        ErrorClass::Exhausted,
        ErrorClass::Rejected,
        ErrorClass::Configuration,
        ErrorClass::Malformed,
        ErrorClass::Internal,
        ErrorClass::Cancelled,
    ];

    /// Returns the class as it is written in metrics, `try_` results and documentation.
    pub fn as_str(&self) -> &'static str {
        match self {
            ErrorClass::Transient => "transient",
            ErrorClass::Throttled => "throttled",
            ErrorClass::Exhausted => "exhausted",
            ErrorClass::Rejected => "rejected",
            ErrorClass::Configuration => "configuration",
            ErrorClass::Malformed => "malformed",
            ErrorClass::Internal => "internal",
            ErrorClass::Cancelled => "cancelled",
        }
    }

    /// Says whether the whole query must end, whatever `on_error` says.
    ///
    /// A wrong key or an empty account fails every row alike: going on would only spend time.
    pub fn ends_query(&self) -> bool {
        match self {
            ErrorClass::Exhausted | ErrorClass::Configuration | ErrorClass::Cancelled => true,
            ErrorClass::Transient
            | ErrorClass::Throttled
            | ErrorClass::Rejected
            | ErrorClass::Malformed
            | ErrorClass::Internal => false,
        }
    }

    /// Says whether one bad row may be to blame, so that halving the request helps.
    pub fn isolates(&self) -> bool {
        matches!(self, ErrorClass::Rejected | ErrorClass::Malformed)
    }
}

/// What the text form of an error begins with, its version included; class, bytes of the message and
/// the message follow. Processes of different versions read it.
const TEXT: &str = "farcall.error/1 ";

/// Everything that can go wrong with a call.
///
/// Messages name the function and carry the numbers; none holds a header, a key, a token or the
/// query part of a URL. The source is kept and not printed by `Display`.
///
/// The error crosses into DataFusion as `External`, so that callers can downcast it:
///
/// ```
/// use datafusion_common::DataFusionError;
/// use farcall_udf::{CallError, ErrorClass};
///
/// let error: DataFusionError = CallError::rejected("score", "text too long").into();
/// let call = CallError::find(&error).expect("a call error");
/// assert_eq!(call.class(), ErrorClass::Rejected);
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// One attempt took longer than `attempt_timeout`.
    #[error("{function} timed out after {} on attempt {attempt} (attempt_timeout)", humantime::format_duration(*.timeout))]
    AttemptTimeout {
        /// The function called.
        function: String,
        /// The limit that was exceeded.
        timeout: Duration,
        /// The attempt, counted from 1.
        attempt: u32,
    },
    /// The request, with all its attempts and delays, took longer than `timeout`.
    #[error("{function} timed out after {} and {} (timeout){}", humantime::format_duration(*.timeout), counted(*.attempts as usize, "attempt"), last_failure(.last))]
    Timeout {
        /// The function called.
        function: String,
        /// The limit that was exceeded.
        timeout: Duration,
        /// The attempts made, the one cut off included.
        attempts: u32,
        /// What the last finished attempt failed with.
        last: Option<Box<CallError>>,
    },
    /// The attempts were used up.
    #[error("{function} failed after {attempts} of {}: {last}", counted(*.max_attempts as usize, "attempt"))]
    AttemptsExhausted {
        /// The function called.
        function: String,
        /// The attempts made.
        attempts: u32,
        /// The option `max_attempts`.
        max_attempts: u32,
        /// What the last attempt failed with.
        #[source]
        last: Box<CallError>,
    },
    /// The answer has another number of rows than the request.
    #[error("{function} answered {} for a request of {}", counted(*.got, "row"), counted(*.sent, "row"))]
    RowCount {
        /// The function called.
        function: String,
        /// Rows in the request.
        sent: usize,
        /// Rows in the answer.
        got: usize,
    },
    /// The answer has another type than the function declares.
    #[error("{function} answered values of type {got} where {declared} is declared")]
    WrongType {
        /// The function called.
        function: String,
        /// The declared type.
        declared: String,
        /// The type of the answer.
        got: String,
    },
    /// The answer cannot be read.
    #[error("{function} answered something malformed: {message}")]
    Malformed {
        /// The function called.
        function: String,
        /// What is wrong with it.
        message: String,
    },
    /// The remote side asks for fewer requests.
    #[error("{function} was throttled: {message}{}", after(.retry_after))]
    Throttled {
        /// The function called.
        function: String,
        /// What the remote side said.
        message: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// A quota, a balance or a budget is used up.
    #[error("{function} has no quota left: {message}")]
    Exhausted {
        /// The function called.
        function: String,
        /// What the remote side said.
        message: String,
    },
    /// The content of the request was refused.
    #[error("{function} rejected the request: {message}")]
    Rejected {
        /// The function called.
        function: String,
        /// What the remote side said.
        message: String,
    },
    /// The remote side failed in a way that may pass.
    #[error("{function} failed: {message}{}", after(.retry_after))]
    Remote {
        /// The function called.
        function: String,
        /// What the remote side said.
        message: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The remote side could not be reached, or the connection broke.
    #[error("{function} could not be reached: {message}")]
    Transport {
        /// The function called.
        function: String,
        /// What broke, without secrets.
        message: String,
    },
    /// The call cannot work as it is set up.
    #[error("{function} is not set up correctly: {message}")]
    Configuration {
        /// The function called.
        function: String,
        /// What is wrong with it.
        message: String,
    },
    /// An option has a name or a value that is not accepted.
    #[error("bad option {option}: {message}")]
    BadOption {
        /// The option as the user wrote it.
        option: String,
        /// What is accepted instead.
        message: String,
    },
    /// The function itself failed.
    #[error("{function} failed: {message}")]
    Function {
        /// The function called.
        function: String,
        /// What it failed with.
        message: String,
    },
    /// The function panicked.
    #[error("{function} panicked: {message}")]
    Panicked {
        /// The function called.
        function: String,
        /// The panic's message.
        message: String,
    },
    /// Arguments or answers could not be converted.
    #[error("{function} cannot convert {what}: {message}")]
    Conversion {
        /// The function called.
        function: String,
        /// What was converted, "an argument" or "an answer".
        what: String,
        /// Why it failed.
        message: String,
    },
    /// A lookup found nothing, and `retry_predicate` wants it tried again.
    #[error("{function} has no row of the key")]
    LookupMiss {
        /// The lookup table.
        function: String,
    },
    /// The call failed in another process, from which nothing but its class and its message came.
    #[error("{message}")]
    Elsewhere {
        /// The class of the error.
        class: ErrorClass,
        /// Its message.
        message: String,
    },
    /// The query was cancelled before the call was answered.
    #[error("{function} was cancelled")]
    Cancelled {
        /// The function called.
        function: String,
    },
}

fn after(retry_after: &Option<Duration>) -> String {
    match retry_after {
        Some(delay) => format!(" (retry after {})", humantime::format_duration(*delay)),
        None => String::new(),
    }
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn last_failure(last: &Option<Box<CallError>>) -> String {
    match last {
        Some(last) => format!(": {last}"),
        None => String::new(),
    }
}

impl CallError {
    /// Makes a [`CallError::Rejected`].
    pub fn rejected(function: impl Into<String>, message: impl Into<String>) -> Self {
        CallError::Rejected { function: function.into(), message: message.into() }
    }

    /// Makes a [`CallError::Remote`] without a delay, the usual transient failure.
    pub fn transient(function: impl Into<String>, message: impl Into<String>) -> Self {
        CallError::Remote { function: function.into(), message: message.into(), retry_after: None }
    }

    /// Makes a [`CallError::Configuration`].
    pub fn configuration(function: impl Into<String>, message: impl Into<String>) -> Self {
        CallError::Configuration { function: function.into(), message: message.into() }
    }

    /// Makes a [`CallError::Malformed`].
    pub fn malformed(function: impl Into<String>, message: impl Into<String>) -> Self {
        CallError::Malformed { function: function.into(), message: message.into() }
    }

    /// Makes a [`CallError::Function`] from an error of user code.
    pub fn function(function: impl Into<String>, error: impl std::fmt::Display) -> Self {
        CallError::Function { function: function.into(), message: error.to_string() }
    }

    /// Classifies the error; the only place that does.
    pub fn class(&self) -> ErrorClass {
        match self {
            CallError::AttemptTimeout { .. }
            | CallError::Timeout { .. }
            | CallError::Remote { .. }
            | CallError::LookupMiss { .. }
            | CallError::Transport { .. } => ErrorClass::Transient,
            CallError::AttemptsExhausted { last, .. } => last.class(),
            CallError::Throttled { .. } => ErrorClass::Throttled,
            CallError::Exhausted { .. } => ErrorClass::Exhausted,
            CallError::Rejected { .. } => ErrorClass::Rejected,
            CallError::Configuration { .. } | CallError::BadOption { .. } => {
                ErrorClass::Configuration
            }
            CallError::RowCount { .. }
            | CallError::WrongType { .. }
            | CallError::Malformed { .. } => ErrorClass::Malformed,
            CallError::Function { .. }
            | CallError::Panicked { .. }
            | CallError::Conversion { .. } => ErrorClass::Internal,
            CallError::Cancelled { .. } => ErrorClass::Cancelled,
            CallError::Elsewhere { class, .. } => *class,
        }
    }

    /// Says whether the error may be retried within `max_attempts`.
    pub fn is_retryable(&self) -> bool {
        match self.class() {
            ErrorClass::Transient | ErrorClass::Throttled | ErrorClass::Malformed => true,
            ErrorClass::Exhausted
            | ErrorClass::Rejected
            | ErrorClass::Configuration
            | ErrorClass::Internal
            | ErrorClass::Cancelled => false,
        }
    }

    /// Returns the attempts that were made in vain, as far as the error knows.
    pub fn attempts(&self) -> u32 {
        match self {
            CallError::AttemptsExhausted { attempts, .. } | CallError::Timeout { attempts, .. } => {
                *attempts
            }
            CallError::AttemptTimeout { attempt, .. } => *attempt,
            _ => 1,
        }
    }

    /// Says whether all that is wrong is that a lookup found nothing.
    pub(crate) fn is_lookup_miss(&self) -> bool {
        match self {
            CallError::LookupMiss { .. } => true,
            CallError::AttemptsExhausted { last, .. }
            | CallError::Timeout { last: Some(last), .. } => last.is_lookup_miss(),
            _ => false,
        }
    }

    /// Returns how long the remote side asks to wait, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            CallError::Throttled { retry_after, .. } | CallError::Remote { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }

    /// Writes the class and the message of a call error into a DataFusion error as text, for a reader
    /// that will have the text only; other errors are given back as they are.
    pub fn in_text(error: DataFusionError) -> DataFusionError {
        let Some(text) = CallError::find(&error).map(|call| call.to_text()) else { return error };
        error.context(text)
    }

    /// Finds the call error inside a DataFusion error, through contexts and shared errors.
    ///
    /// Where an error came as text from another process, [`CallError::in_text`] having been applied
    /// there, it is a [`CallError::Elsewhere`].
    pub fn find(error: &DataFusionError) -> Option<Cow<'_, CallError>> {
        let typed = CallError::find_typed(error).map(Cow::Borrowed);
        typed.or_else(|| CallError::from_text(&error.to_string()).map(Cow::Owned))
    }

    fn to_text(&self) -> String {
        let message = self.to_string();
        format!("{TEXT}{} {} {message}", self.class().as_str(), message.len())
    }

    /// Reads the first error that stands in a text as [`CallError::in_text`] writes it.
    fn from_text(text: &str) -> Option<CallError> {
        let (_, rest) = text.split_once(TEXT)?;
        let (class, rest) = rest.split_once(' ')?;
        let (length, rest) = rest.split_once(' ')?;
        let class = ErrorClass::ALL.into_iter().find(|known| known.as_str() == class)?;
        // A text that was cut off tells what is left of it.
        let message = rest.get(..length.parse().ok()?).unwrap_or(rest);
        Some(CallError::Elsewhere { class, message: message.to_owned() })
    }

    fn find_typed(error: &DataFusionError) -> Option<&CallError> {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = next {
            if let Some(call) = error.downcast_ref::<CallError>() {
                return Some(call);
            }
            if let Some(DataFusionError::External(inner)) = error.downcast_ref::<DataFusionError>()
                && let Some(call) = inner.downcast_ref::<CallError>()
            {
                return Some(call);
            }
            next = error.source();
        }
        None
    }
}

impl From<CallError> for DataFusionError {
    fn from(error: CallError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hopeless_classes_end_the_query() {
        let ending: Vec<_> = ErrorClass::ALL.into_iter().filter(ErrorClass::ends_query).collect();
        assert_eq!(
            ending,
            [ErrorClass::Exhausted, ErrorClass::Configuration, ErrorClass::Cancelled]
        );
    }

    #[test]
    fn exhausted_attempts_keep_the_class_of_the_last_failure() {
        let error = CallError::AttemptsExhausted {
            function: "f".into(),
            attempts: 3,
            max_attempts: 3,
            last: Box::new(CallError::transient("f", "503")),
        };
        assert_eq!(error.class(), ErrorClass::Transient);
        assert_eq!(error.to_string(), "f failed after 3 of 3 attempts: f failed: 503");
    }

    #[test]
    fn is_found_inside_a_context_of_datafusion() {
        let error = DataFusionError::from(CallError::rejected("f", "no"))
            .context("while running the query");
        assert!(matches!(CallError::find(&error).as_deref(), Some(CallError::Rejected { .. })));
    }

    #[test]
    fn keeps_class_and_message_where_only_text_comes() {
        for (class, error) in [
            (ErrorClass::Configuration, CallError::configuration("f", "401\nno key: \u{e4}")),
            (
                ErrorClass::Throttled,
                CallError::Throttled {
                    function: "f".into(),
                    message: String::new(),
                    retry_after: None,
                },
            ),
        ] {
            let message = error.to_string();
            let sent = CallError::in_text(error.into());
            assert!(matches!(CallError::find(&sent), Some(Cow::Borrowed(_))));
            let come = DataFusionError::Execution(format!("task 3 failed: {sent} (stage 1)"));
            let found = CallError::find(&come).unwrap();
            assert_eq!((found.class(), found.to_string()), (class, message));
        }
        for text in ["farcall.error/1 strange 1 x", "farcall.error/2 rejected 1 x", "no"] {
            assert!(CallError::find(&DataFusionError::Execution(text.into())).is_none(), "{text}");
        }
        let cut = DataFusionError::Execution("farcall.error/1 rejected 99 f rejec".into());
        assert_eq!(CallError::find(&cut).unwrap().to_string(), "f rejec");
        let other = CallError::in_text(DataFusionError::Execution("no".into()));
        assert_eq!(other.to_string(), "Execution error: no");
    }
}
