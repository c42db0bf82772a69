//! [`With`], what the WITH clause of a model or a lookup table says, each option where it belongs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use farcall_connect::redact;
use farcall_udf::{CallError, CallOptions};

use crate::catalog::option_names::{find_twice, given_twice, option_name};

/// The object whose options are read, as messages name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object<'a> {
    kind: &'static str,
    name: &'a str,
    /// The option that names who makes the object.
    maker: &'static str,
}

impl<'a> Object<'a> {
    /// Names a model, which a provider makes.
    pub(crate) fn model(name: &'a str) -> Self {
        Self { kind: "model", name, maker: "provider" }
    }

    /// Names a lookup table, which a connector makes.
    pub(crate) fn lookup_table(name: &'a str) -> Self {
        Self { kind: "lookup table", name, maker: "connector" }
    }

    /// Makes the planning error for a bad option.
    pub(crate) fn bad_option(&self, option: &str, message: impl fmt::Display) -> DataFusionError {
        DataFusionError::Plan(format!("{self}: option '{option}': {message}"))
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The options of an object by their one name, sorted by whose they are.
pub(crate) struct With {
    /// Who makes the object, as it was written.
    maker: Option<String>,
    pub(crate) call_options: CallOptions,
    /// The others: the maker's own, and those that the object takes out.
    pub(crate) own: BTreeMap<String, String>,
}

impl With {
    /// Sorts the options of an object.
    ///
    /// # Errors
    /// A planning error that names object and option, for one that is given twice and for a bad
    /// value of a call option.
    pub(crate) fn read(object: Object<'_>, options: &BTreeMap<String, String>) -> Result<Self> {
        if let Some(option) = find_twice(options) {
            return plan_err!("{object}: {}", given_twice(option));
        }
        let (mut call_options, mut own) = (CallOptions::new(), BTreeMap::new());
        for (written, value) in options {
            let name = option_name(written);
            if !CallOptions::is_option(&name) {
                own.insert(name, value.clone());
                continue;
            }
            // Flink's words are told as they were written.
            call_options.set(&name, value).map_err(|error| match error {
                CallError::BadOption { message, .. } => object.bad_option(written, message),
                other => other.into(),
            })?;
        }
        let maker = own.remove(object.maker);
        Ok(Self { maker, call_options, own })
    }

    /// Finds who makes the object by the name that was given; upper and lower case are equal.
    ///
    /// # Errors
    /// A planning error that lists the names that there are.
    pub(crate) fn find_maker<T: ?Sized>(
        &self,
        object: Object<'_>,
        makers: &[Arc<T>],
        name: impl Fn(&T) -> &str,
    ) -> Result<Arc<T>> {
        let known: Vec<String> = makers.iter().map(|maker| format!("'{}'", name(maker))).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let option = object.maker;
        let Some(wanted) = &self.maker else {
            return Err(object.bad_option(option, format_args!("missing, accepted are {known}")));
        };
        match makers.iter().find(|maker| name(maker).eq_ignore_ascii_case(wanted.trim())) {
            Some(maker) => Ok(Arc::clone(maker)),
            None => Err(object
                .bad_option(option, format_args!("no {option} '{wanted}', accepted are {known}"))),
        }
    }

    /// Returns all options, the call options in the words in which they are always written.
    pub(crate) fn written(&self, object: Object<'_>) -> BTreeMap<String, String> {
        let mut written = self.own.clone();
        let call = self.call_options.entries().into_iter();
        written.extend(call.map(|(option, value)| (option.to_owned(), value)));
        written.extend(self.maker.iter().map(|maker| (object.maker.to_owned(), maker.clone())));
        written
    }

    /// Says whether no option holds a literal secret, so that the definition may travel.
    pub(crate) fn may_travel(&self, is_secret: impl Fn(&str) -> bool) -> bool {
        self.own.iter().all(|(option, value)| redact::may_travel(value, is_secret(option)))
    }
}
