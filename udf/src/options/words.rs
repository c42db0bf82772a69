//! The values of options: how they are read, checked and written.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use datafusion_common::Result;

use crate::options::name::{canonical, quoted};

/// Declares an option whose values are words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$vdoc:meta])* $variant:ident = $word:literal $(| $synonym:literal)?),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match canonical(text).as_str() {
                    $($word $(| $synonym)? => Ok(Self::$variant),)+
                    _ => Err(format!("accepted are {}", quoted(Self::WORDS))),
                }
            }
        }
    };
}

words! {
    /// Whether requests of one call site run at the same time.
    Mode {
        /// Up to `buffer_capacity` requests at the same time.
        Async = "async",
        /// One request at a time; batches are formed all the same.
        Sync = "sync",
    }
}

words! {
    /// The order of the result rows.
    OutputMode {
        /// Input order.
        Ordered = "ordered",
        /// As answers come.
        AllowUnordered = "allow_unordered",
    }
}

words! {
    /// What a request that exceeded `timeout` means for its rows.
    TimeoutPolicy {
        /// The rows fail, and `on_error` decides.
        FailOnTimeout = "fail_on_timeout",
        /// Rows without an answer become NULL.
        AllowPartial = "allow_partial",
    }
}

words! {
    /// Where answers are kept for later queries.
    Cache {
        /// Nowhere.
        None = "none",
        /// Each as it comes, in the memory of the runtime that the sessions share.
        Partial = "partial" | "memory",
        /// A lookup table as a whole, read before its first lookup, in the same memory.
        Full = "full",
    }
}

words! {
    /// How the delay between attempts develops.
    RetryStrategy {
        /// One attempt.
        NoRetry = "no_retry",
        /// The same delay each time.
        FixedDelay = "fixed_delay",
        /// A growing, capped, fully jittered delay.
        ExponentialBackoff = "exponential_backoff",
    }
}

words! {
    /// What happens to a row that has a NULL among its arguments.
    #[derive(Default)]
    NullInput {
        /// The row is not sent; its result is NULL.
        #[default]
        Skip = "skip",
        /// The row is sent as it is.
        Send = "send",
    }
}

words! {
    /// What is tried again, besides calls that failed.
    RetryPredicate {
        /// Nothing else.
        Failure = "failure",
        /// Keys that a lookup did not find: a row may come late.
        LookupMiss = "lookup_miss",
    }
}

/// What a call that failed for good gives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OnError {
    /// The query fails.
    Fail,
    /// The row's value is NULL.
    Null,
    /// The row's value is this text, cast to the function's type.
    Default(String),
}

impl fmt::Display for OnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OnError::Fail => f.write_str("fail"),
            OnError::Null => f.write_str("null"),
            OnError::Default(text) => write!(f, "default:{text}"),
        }
    }
}

impl FromStr for OnError {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "fail" => return Ok(OnError::Fail),
            "null" => return Ok(OnError::Null),
            _ => {}
        }
        match text.split_once(':') {
            Some((head, value)) if head.eq_ignore_ascii_case("default") => {
                Ok(OnError::Default(value.to_owned()))
            }
            _ => Err("accepted are 'fail', 'null', 'default:VALUE'".into()),
        }
    }
}

/// A value of an option: how it is read, checked and written.
pub(crate) trait OptionValue: Sized {
    fn parse(text: &str) -> Result<Self, String>;
    fn write(&self) -> String;
}

macro_rules! from_str_values {
    ($($ty:ty),+) => {$(
        impl OptionValue for $ty {
            fn parse(text: &str) -> Result<Self, String> {
                text.parse()
            }
            fn write(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

from_str_values!(
    Mode,
    OutputMode,
    Cache,
    TimeoutPolicy,
    RetryStrategy,
    RetryPredicate,
    NullInput,
    OnError
);

macro_rules! integer_values {
    ($($ty:ty),+) => {$(
        impl OptionValue for $ty {
            fn parse(text: &str) -> Result<Self, String> {
                match text.trim().parse::<i128>() {
                    Ok(number) => <$ty>::try_from(number).map_err(|_| {
                        format!("accepted are whole numbers from 1 to {}", <$ty>::MAX)
                    }),
                    Err(_) => Err("accepted are whole numbers".into()),
                }
            }
            fn write(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

integer_values!(usize, u32);

impl OptionValue for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("accepted are 'true', 'false'".into()),
        }
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl OptionValue for f64 {
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| "accepted are numbers".into())
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl OptionValue for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.parse::<f64>().is_ok() {
            return Err(format!("a duration needs a unit, such as '{text}s' or '{text}ms'"));
        }
        humantime::parse_duration(text).map_err(|_| {
            "accepted are durations with a unit, such as '30s', '100ms', '3min'".into()
        })
    }
    fn write(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

/// A limit that may be lifted.
impl<T: OptionValue> OptionValue for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().eq_ignore_ascii_case("none") {
            true => Ok(None),
            false => T::parse(text).map(Some),
        }
    }
    fn write(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), T::write)
    }
}
