//! [`Resolved`], what holds for one call, and who said so.

use std::time::Duration;

use crate::contract::estimate::{Estimate, Estimated};
use crate::error::CallError;
use crate::options::CallOptions;
use crate::options::table::option_table;
use crate::options::words::{
    Cache, Mode, NullInput, OnError, OptionValue, OutputMode, RetryPredicate, RetryStrategy,
    TimeoutPolicy,
};
use crate::settings::level::Level;

macro_rules! resolved {
    ($( $(#[doc = $doc:literal])+ $name:ident / $with:ident ($arg:ty): $ty:ty
        = $default:expr, $shown:literal, $check:ident; )+) => {
        /// What holds for one call: every option has a value, and a level that it comes from.
        ///
        /// Made by [`FarcallConfig::resolve`](crate::FarcallConfig::resolve).
        ///
        /// ```
        /// use farcall_udf::{AsyncFunction, CallError, CallOptions, FarcallConfig, Level, async_fn};
        ///
        /// let f: AsyncFunction = async_fn("f", |x: i64| async move { Ok::<_, CallError>(x) }).into();
        /// let call = CallOptions::new().with_buffer_capacity(8);
        /// let options = FarcallConfig::default().resolve(&f, &call)?;
        /// assert_eq!((options.buffer_capacity(), options.max_attempts()), (8, 3));
        /// assert_eq!(options.level("buffer_capacity"), Some(Level::Call));
        /// # Ok::<_, datafusion_common::DataFusionError>(())
        /// ```
        #[derive(Debug, Clone, PartialEq)]
        pub struct Resolved {
            $(pub(super) $name: ($ty, Level),)+
        }

        impl Resolved {
            $(
                $(#[doc = $doc])+
                pub fn $name(&self) -> $ty {
                    self.$name.0.clone()
                }
            )+

            /// What holds where nobody says anything.
            pub(super) fn defaults() -> Self {
                Self { $($name: ($default, Level::Default),)+ }
            }

            /// Takes over what a narrower level sets.
            pub(super) fn take(&mut self, set: &CallOptions, level: Level) {
                $(if let Some(value) = &set.$name {
                    self.$name = (value.clone(), level);
                })+
            }

            /// Returns every option with its value as SQL would write it, and its level.
            pub fn entries(&self) -> Vec<(&'static str, String, Level)> {
                vec![$((stringify!($name), self.$name.0.write(), self.$name.1),)+]
            }

            /// Reads [`Resolved::entries`] again.
            ///
            /// # Errors
            /// [`CallError::BadOption`] for an option that is missing, unknown or has no such value.
            pub fn from_entries(
                entries: impl IntoIterator<Item = (String, String, Level)>,
            ) -> Result<Self, CallError> {
                $(let mut $name = None;)+
                for (name, value, level) in entries {
                    let mut set = CallOptions::new();
                    set.set(&name, &value)?;
                    $(if let Some(value) = set.$name {
                        $name = Some((value, level));
                    })+
                }
                let missing = |name: &str| CallError::BadOption {
                    option: name.to_owned(),
                    message: "it is missing".to_owned(),
                };
                Ok(Self { $($name: $name.ok_or_else(|| missing(stringify!($name)))?,)+ })
            }
        }
    };
}

option_table!(resolved);

impl Resolved {
    /// Returns the value of an option as SQL would write it.
    pub fn get(&self, name: &str) -> Option<String> {
        self.entry(name).map(|(value, _)| value)
    }

    /// Returns who said what an option is.
    pub fn level(&self, name: &str) -> Option<Level> {
        self.entry(name).map(|(_, level)| level)
    }

    fn entry(&self, name: &str) -> Option<(String, Level)> {
        let name = CallOptions::name_of(name)?;
        let mut entries = self.entries().into_iter();
        entries.find(|(known, ..)| *known == name).map(|(_, value, level)| (value, level))
    }

    /// Returns how often a request is tried in total: once without a strategy for retries.
    pub fn attempts(&self) -> u32 {
        match self.retry_strategy() {
            RetryStrategy::NoRetry => 1,
            RetryStrategy::FixedDelay | RetryStrategy::ExponentialBackoff => self.max_attempts(),
        }
    }

    /// Says whether somebody asked for retries, which a function with side effects needs.
    pub(crate) fn has_retry_options(&self) -> bool {
        self.max_attempts.1 != Level::Default || self.retry_strategy.1 != Level::Default
    }

    /// Returns what somebody said of a call's cost and answer.
    pub fn estimate(&self) -> Estimate {
        let declared = |(number, level): (f64, Level)| {
            (level != Level::Default).then_some(Estimated::Declared(number))
        };
        Estimate { cost: declared(self.cost), selectivity: declared(self.selectivity) }
    }
}

#[cfg(test)]
impl Resolved {
    /// What a call says, over the defaults of no function.
    pub(crate) fn of_call(options: &CallOptions) -> Self {
        let mut resolved = Self::defaults();
        resolved.take(options, Level::Call);
        resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_table() {
        for (info, (name, value, level)) in
            CallOptions::TABLE.iter().zip(Resolved::defaults().entries())
        {
            let documented = match name {
                "max_batch_size" => "1",
                "null_input" => "skip",
                "adaptive" => "false",
                "cost" => "1",
                "selectivity" => "0.5",
                _ => info.default,
            };
            assert_eq!((info.name, documented, Level::Default), (name, value.as_str(), level));
        }
    }

    #[test]
    fn every_option_and_its_level_survives_text() {
        let mut options = Resolved::defaults();
        options.take(&CallOptions::new().with_rpm(7).with_dedup(false), Level::Hint);
        let entries = |options: &Resolved| {
            let entries = options.entries().into_iter();
            entries.map(|(name, value, level)| (name.to_owned(), value, level)).collect::<Vec<_>>()
        };
        assert_eq!(Resolved::from_entries(entries(&options)).unwrap(), options);
        let error = Resolved::from_entries(entries(&options).split_off(1)).unwrap_err();
        assert_eq!(error.to_string(), "bad option mode: it is missing");
    }
}
