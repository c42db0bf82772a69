//! Which of the shell's statements are remembered, and where.

use std::ffi::OsString;
use std::path::PathBuf;

/// Words that may stand beside a secret: statements with one of them are not written to the disk.
const SECRET_WORDS: [&str; 8] =
    ["secret", "password", "token", "api_key", "api-key", "apikey", "headers", "authorization"];

/// Returns the history's file: FARCALL_HISTORY, else `farcall/history` in the user's state folder.
///
/// Nothing is remembered if FARCALL_HISTORY is empty or there is no home.
pub fn path() -> Option<PathBuf> {
    path_from(|name| std::env::var_os(name))
}

fn path_from(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(path) = variable("FARCALL_HISTORY") {
        return (!path.is_empty()).then(|| path.into());
    }
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The XDG rules: a relative path in the variable is ignored.
    let state = set("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("farcall").join("history"))
}

/// Says whether a statement may be written to the disk.
pub fn may_be_kept(statement: &str) -> bool {
    let lower = statement.to_lowercase();
    !SECRET_WORDS.iter().any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_variable_wins_and_may_switch_history_off() {
        let own = |name: &str| (name == "FARCALL_HISTORY").then(|| "/h".into());
        assert_eq!(path_from(own), Some("/h".into()));
        let empty = |name: &str| Some(if name == "FARCALL_HISTORY" { "" } else { "/x" }.into());
        assert_eq!(path_from(empty), None);
    }

    #[test]
    fn the_state_folder_follows_xdg_and_falls_back_to_home() {
        let both = |name: &str| match name {
            "XDG_STATE_HOME" => Some("/state".into()),
            "HOME" => Some("/home/me".into()),
            _ => None,
        };
        assert_eq!(path_from(both), Some("/state/farcall/history".into()));
        let home = |name: &str| (name == "HOME").then(|| "/home/me".into());
        assert_eq!(path_from(home), Some("/home/me/.local/state/farcall/history".into()));
        assert_eq!(path_from(|_| None), None);
    }

    #[test]
    fn statements_that_may_hold_a_secret_are_not_kept() {
        for text in [
            "CREATE SECRET s AS 'x'",
            "CREATE MODEL m WITH ('headers' = 'Authorization: Bearer x')",
            "SET x.API_KEY = 'x'",
        ] {
            assert!(!may_be_kept(text), "{text}");
        }
        assert!(may_be_kept("SELECT id, PREDICT(m, text) FROM reviews"));
    }
}
