//! [`check`], which makes sure that everybody finds user and password of a URL in the same place.

/// Checks that all up to the last `@` of a URL is user and password, and nothing else could be.
///
/// Readers differ in where user and password end: at the first `@`, at the last, at a slash. What
/// one of them takes for a host another knows as a part of the password, and it would be shown.
///
/// # Errors
/// A text that says what to write, and repeats nothing.
pub(crate) fn check(url: &str) -> Result<(), String> {
    let behind_scheme = url.split_once("://").map_or(url, |(_, behind)| behind);
    match behind_scheme.rsplit_once('@') {
        Some((user, _)) if user.contains(['/', '?', '#', '@']) => Err(
            "percent-encode user and password ('/' is %2F, '?' is %3F, '#' is %23, '@' is %40), \
                 and an '@' anywhere else"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_letters_of_a_password_are_refused_and_not_shown() {
        for url in ["a://me:pa/ss@h/d", "a://me:pa@ss@h", "a://:12?ss@h", "a://me:pa#ss@h", "//@@"]
        {
            let error = check(url).unwrap_err();
            assert!(error.contains("percent-encode user and password"), "{error}");
            assert!(!error.contains("pa/") && !error.contains("me:"), "{error}");
        }
        for url in ["a://me:p%40ss@h:1/d?x=y", "a://h/d?x=y#z", "a://@h", "", "a://h"] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }
}
