//! [`CallOptions`], what was set of how a function is called: one struct for builders, SQL and plans.

mod check;
pub(crate) mod name;
pub(crate) mod table;
pub(crate) mod words;

use std::time::Duration;

use crate::error::CallError;
use crate::options::check::{any, from_one, from_zero, lasting, positive, share};
use crate::options::name::{quoted, resolve_name};
use crate::options::table::option_table;
use crate::options::words::{
    Cache, Mode, NullInput, OnError, OptionValue, OutputMode, RetryPredicate, RetryStrategy,
    TimeoutPolicy,
};

/// One row of the table of options, for documentation and for SHOW.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionInfo {
    /// The word used everywhere.
    pub name: &'static str,
    /// The default as it would be written in SQL.
    pub default: &'static str,
    /// What it means, its unit included.
    pub description: &'static str,
}

macro_rules! call_options {
    ($( $(#[doc = $doc:literal])+ $name:ident / $with:ident ($arg:ty): $ty:ty
        = $default:expr, $shown:literal, $check:ident; )+) => {
        /// What was set of how a function is called.
        ///
        /// Each option may be unset; what then holds, a wider level says, or the table of defaults
        /// ([`Resolved`](crate::Resolved)). A value is checked where it is set: a mistake is kept in
        /// its place, and told by [`CallOptions::build`] or when the options are resolved.
        ///
        /// ```
        /// use std::time::Duration;
        /// use farcall_udf::CallOptions;
        ///
        /// let options = CallOptions::new()
        ///     .with_max_batch_size(64)
        ///     .with_buffer_capacity(8)
        ///     .with_timeout(Duration::from_secs(30))
        ///     .build()?;
        /// assert_eq!(options.buffer_capacity(), Some(8));
        /// assert_eq!(options.max_attempts(), None);
        /// # Ok::<_, farcall_udf::CallError>(())
        /// ```
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct CallOptions {
            $(pub(crate) $name: Option<$ty>,)+
            /// The first value that was set and is none.
            mistake: Option<(&'static str, String)>,
        }

        impl CallOptions {
            /// Every option with its default and meaning, in the order of the documentation.
            pub const TABLE: &'static [OptionInfo] = &[$(
                OptionInfo {
                    name: stringify!($name),
                    default: $shown,
                    description: concat!($($doc),+),
                },
            )+];

            $(
                $(#[doc = $doc])+
                pub fn $with(mut self, value: $arg) -> Self {
                    let value: $ty = value.into();
                    match $check(&value) {
                        Ok(()) => self.$name = Some(value),
                        Err(message) => {
                            self.mistake.get_or_insert((stringify!($name), message));
                        }
                    }
                    self
                }

                $(#[doc = $doc])+
                ///
                /// `None` if it was not set.
                pub fn $name(&self) -> Option<$ty> {
                    self.$name.clone()
                }
            )+

            /// Lets the options that `narrower` sets win over these.
            pub fn overlay(&self, narrower: &CallOptions) -> CallOptions {
                CallOptions {
                    $($name: narrower.$name.clone().or_else(|| self.$name.clone()),)+
                    mistake: narrower.mistake.clone().or_else(|| self.mistake.clone()),
                }
            }

            /// Returns the options that were set, as SQL would write them.
            pub fn entries(&self) -> Vec<(&'static str, String)> {
                let mut entries = Vec::new();
                $(if let Some(value) = &self.$name {
                    entries.push((stringify!($name), value.write()));
                })+
                entries
            }

            fn parse_into(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
                match name {
                    $(stringify!($name) => Some(
                        <$ty as OptionValue>::parse(value)
                            .map_err(|accepted| {
                                format!("value '{value}' is not accepted, {accepted}")
                            })
                            .and_then(|value| {
                                $check(&value)?;
                                self.$name = Some(value);
                                Ok(())
                            }),
                    ),)+
                    _ => None,
                }
            }

            fn clear(&mut self, name: &str) -> bool {
                match name {
                    $(stringify!($name) => { self.$name = None; true })+
                    _ => false,
                }
            }
        }
    };
}

option_table!(call_options);

impl CallOptions {
    /// Makes options of which none is set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one option from text, as SQL does; hyphen and underscore are equal.
    ///
    /// # Errors
    /// [`CallError::BadOption`] names the option and what is accepted; what was set before stays.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), CallError> {
        let bad = |message: String| CallError::BadOption { option: name.to_owned(), message };
        match self.parse_into(&resolve_name(name), value) {
            None => Err(bad(format!("no such option, accepted are {}", quoted(&Self::names())))),
            Some(set) => set.map_err(bad),
        }
    }

    /// Forgets one option; `false` if there is none of that name.
    pub fn unset(&mut self, name: &str) -> bool {
        self.clear(&resolve_name(name))
    }

    /// Says whether an option of that name exists, synonyms included.
    pub fn is_option(name: &str) -> bool {
        Self::name_of(name).is_some()
    }

    /// Returns the one name of an option that may be written in other words, if there is one.
    pub fn name_of(name: &str) -> Option<&'static str> {
        let name = resolve_name(name);
        Self::TABLE.iter().map(|info| info.name).find(|known| *known == name)
    }

    /// Returns the names of all options.
    pub fn names() -> Vec<&'static str> {
        Self::TABLE.iter().map(|info| info.name).collect()
    }

    /// Returns the value of an option that was set, as SQL would write it.
    pub fn get(&self, name: &str) -> Option<String> {
        let name = resolve_name(name);
        self.entries().into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Tells the mistake that was made in setting options, if there is one.
    ///
    /// # Errors
    /// [`CallError::BadOption`] for a size of zero, a multiplier below 1, a zero time-out.
    pub fn build(self) -> Result<Self, CallError> {
        match self.mistake {
            Some((name, message)) => Err(CallError::BadOption { option: name.to_owned(), message }),
            None => Ok(self),
        }
    }

    /// Returns the first option that was set to a value that is none, and what is accepted.
    pub(crate) fn mistake(&self) -> Option<(&'static str, &str)> {
        self.mistake.as_ref().map(|(name, message)| (*name, message.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_set_has_no_value() {
        for info in CallOptions::TABLE {
            assert_eq!(CallOptions::new().get(info.name), None, "{}", info.name);
        }
        assert!(CallOptions::new().entries().is_empty());
    }

    #[test]
    fn a_limit_that_is_lifted_is_set() {
        let mut options = CallOptions::new().with_rpm(7);
        assert_eq!(options.rpm(), Some(Some(7)));
        options.set("rpm", "NONE").unwrap();
        assert_eq!((options.rpm(), options.get("rpm")), (Some(None), Some("none".to_owned())));
        assert_eq!(CallOptions::new().with_rpm(7).overlay(&options).rpm(), Some(None));
    }

    #[test]
    fn a_value_is_checked_where_it_is_set() {
        let options = CallOptions::new().with_max_batch_size(0).with_timeout(Duration::ZERO);
        assert_eq!(options.max_batch_size(), None);
        let error = options.build().unwrap_err().to_string();
        assert_eq!(error, "bad option max_batch_size: value 0 is not accepted, the least is 1");
    }

    #[test]
    fn a_value_that_is_refused_leaves_what_was_set() {
        let mut options = CallOptions::new().with_buffer_capacity(7);
        assert!(options.set("buffer_capacity", "0").is_err());
        assert!(options.set("buffer_capacity", "x").is_err());
        assert_eq!(options, CallOptions::new().with_buffer_capacity(7));
    }

    #[test]
    fn hyphens_cases_and_synonyms_are_accepted() {
        let mut options = CallOptions::new();
        options.set("Buffer-Capacity", "7").unwrap();
        assert_eq!(options.buffer_capacity(), Some(7));
        options.set("max_concurrent_operations", "8").unwrap();
        assert_eq!(options.buffer_capacity(), Some(8));
        options.set("retry-strategy", "FIXED_DELAY").unwrap();
        assert_eq!(options.retry_strategy(), Some(RetryStrategy::FixedDelay));
    }

    #[test]
    fn flinks_words_for_caches_are_accepted() {
        let mut options = CallOptions::new();
        for (name, value) in [
            ("lookup.cache", "PARTIAL"),
            ("lookup.partial-cache.max-rows", "10"),
            ("lookup.partial-cache.expire-after-write", "1h"),
            ("lookup.partial-cache.expire-after-access", "1min"),
            ("lookup.partial-cache.cache-missing-key", "false"),
            ("lookup.full-cache.periodic-reload.interval", "5min"),
        ] {
            options.set(name, value).unwrap();
        }
        let expected = CallOptions::new()
            .with_cache(Cache::Partial)
            .with_cache_max_rows(10)
            .with_cache_ttl(Duration::from_secs(3600))
            .with_cache_ttl_after_access(Duration::from_secs(60))
            .with_cache_missing_keys(false)
            .with_cache_reload_interval(Duration::from_secs(300));
        assert_eq!(options, expected);
        options.set("cache", "memory").unwrap();
        assert_eq!(options.get("cache").as_deref(), Some("partial"));
    }

    #[test]
    fn bad_values_name_the_option_and_what_is_accepted() {
        let mut options = CallOptions::new();
        for (name, value, message) in [
            ("buffer_capacity", "0", "value 0 is not accepted, the least is 1"),
            (
                "buffer_capacity",
                "-3",
                "value '-3' is not accepted, accepted are whole numbers from 1",
            ),
            ("timeout", "30", "a duration needs a unit, such as '30s' or '30ms'"),
            ("timeout", "-5s", "accepted are durations with a unit"),
            ("retry_strategy", "often", "'no_retry', 'fixed_delay', 'exponential_backoff'"),
            ("cache", "some", "accepted are 'none', 'partial', 'full'"),
            ("cache_max_rows", "0", "value 0 is not accepted, the least is 1"),
            ("cache_ttl_after_access", "0s", "it must be longer than 0"),
            ("cache_reload_interval", "5", "a duration needs a unit"),
            ("cost", "-1", "value -1 is not accepted, accepted are numbers from 0"),
            ("cost", "inf", "value inf is not accepted, accepted are numbers from 0"),
            ("selectivity", "1.5", "value 1.5 is not accepted, accepted are numbers from 0 to 1"),
            ("selectivity", "half", "accepted are numbers"),
            ("colour", "red", "no such option, accepted are 'mode'"),
        ] {
            let error = options.set(name, value).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(message), "{error}");
        }
        assert_eq!(options, CallOptions::new());
    }

    #[test]
    fn narrower_levels_win() {
        let session = CallOptions::new().with_buffer_capacity(5).with_max_attempts(9);
        let call = CallOptions::new().with_buffer_capacity(2);
        let merged = session.overlay(&call);
        assert_eq!((merged.buffer_capacity(), merged.max_attempts()), (Some(2), Some(9)));
    }
}
