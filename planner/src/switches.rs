//! What the session's options say to the planner.
//!
//! The switches of single rewritings are `farcall.planner.<name>`, each on unless it is `false`.

use datafusion_common::config::ConfigOptions;

/// `drop_inferred`: conditions that DataFusion infers from an equality are not tested a second time.
pub(crate) const DROP_INFERRED: &str = "drop_inferred";

/// Says whether a rewriting is switched on.
pub(crate) fn is_on(options: &ConfigOptions, name: &str) -> bool {
    // The options are known by name only here, they belong to the crate that runs the calls.
    !options.entries().iter().any(|entry| {
        entry.key.strip_prefix("farcall.planner.") == Some(name)
            && entry.value.as_deref() == Some("false")
    })
}
