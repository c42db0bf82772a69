//! Options as a definition gives them, each under its one name.

use std::collections::BTreeMap;

use farcall_udf::{CallOptions, canonical};

/// Returns the one name of an option, for messages and to find what is given twice.
///
/// Hyphen and underscore are equal, and so are cases, up to a dot: what follows is the provider's.
pub(crate) fn option_name(option: &str) -> String {
    if let Some(name) = CallOptions::name_of(option) {
        return name.to_owned();
    }
    let (head, tail) = option.split_at(option.find('.').unwrap_or(option.len()));
    format!("{}{tail}", canonical(head))
}

/// Says that an option is given twice, in the same words everywhere.
pub(crate) fn given_twice(option: &str) -> String {
    format!("option '{}' is given twice", option_name(option))
}

/// Finds the option that is given twice.
pub(crate) fn find_twice(options: &BTreeMap<String, String>) -> Option<&str> {
    let mut names = Vec::with_capacity(options.len());
    for option in options.keys() {
        let name = option_name(option);
        if names.contains(&name) {
            return Some(option);
        }
        names.push(name);
    }
    None
}
