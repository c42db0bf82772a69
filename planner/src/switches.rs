//! What the session's options say to the planner.
//!
//! The switches of single rewritings are `farcall.planner.<name>`, each on unless it is `false`.

use datafusion_common::config::ConfigOptions;

/// `drop_inferred`: conditions that DataFusion infers from an equality are not tested a second time.
pub(crate) const DROP_INFERRED: &str = "drop_inferred";
/// `join_on_calls`: an equality with a call joins where nothing cheaper does, and only there.
pub(crate) const JOIN_ON_CALLS: &str = "join_on_calls";
/// `wait_for_conditions`: conditions with calls wait for the cheap conditions above them.
pub(crate) const WAIT_FOR_CONDITIONS: &str = "wait_for_conditions";

/// Says whether a rewriting is switched on.
pub(crate) fn is_on(options: &ConfigOptions, name: &str) -> bool {
    // The options are known by name only here, they belong to the crate that runs the calls.
    !options.entries().iter().any(|entry| {
        entry.key.strip_prefix("farcall.planner.") == Some(name)
            && entry.value.as_deref() == Some("false")
    })
}
