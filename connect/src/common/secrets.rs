//! [`Secrets`], which keeps what must not be shown out of the texts that errors quote.

use std::fmt;

/// How much of a remote side's text a message shows, in characters.
const SHOWN_CHARS: usize = 200;
/// Secrets shorter than this are not looked for: they would blot out ordinary words.
const MIN_SECRET_LEN: usize = 4;
/// Words of an Authorization header that everybody knows.
const SCHEMES: [&str; 4] = ["Basic", "Bearer", "Digest", "Token"];

/// Texts that must not be shown: header values and the values of a URL's query.
///
/// A remote side may repeat what it was sent, a wrong key for instance, in its error.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Adds a text, and the words of it, since `Bearer abc` may come back as `abc`.
    pub(crate) fn add(&mut self, secret: &str) {
        for part in secret.split_whitespace().chain([secret]) {
            let is_known = SCHEMES.iter().any(|scheme| scheme.eq_ignore_ascii_case(part))
                || self.0.iter().any(|known| known == part);
            if part.len() >= MIN_SECRET_LEN && !is_known {
                self.0.push(part.to_owned());
            }
        }
        // Longest first, so that the whole goes before its parts.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// Returns the beginning of a text on one line and without secrets.
    pub(crate) fn excerpt(&self, text: &str) -> String {
        // What is cut off could begin inside a secret, so the secrets go first.
        let mut shown: String = text.chars().take(8 * SHOWN_CHARS).collect();
        for secret in &self.0 {
            shown = shown.replace(secret.as_str(), "***");
        }
        let words: Vec<&str> = shown
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
            .collect();
        let line = words.join(" ");
        match line.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) => format!("{}..", &line[..end]),
            None => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(texts: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        texts.iter().for_each(|text| secrets.add(text));
        secrets
    }

    #[test]
    fn secrets_and_their_words_are_blotted_out() {
        let secrets = secrets(&["Bearer sk-12345"]);
        let shown = secrets.excerpt("bad Bearer token sk-12345 (Bearer sk-12345)");
        assert_eq!(shown, "bad Bearer token *** (***)");
    }

    #[test]
    fn long_texts_are_cut_to_one_line() {
        let shown = Secrets::default().excerpt(&"a\n\tb\u{0}é ".repeat(500));
        assert_eq!(shown.chars().count(), SHOWN_CHARS + 2);
        assert!(shown.starts_with("a b é a b é"));
    }

    #[test]
    fn a_secret_at_the_cut_does_not_show_its_beginning() {
        let text = format!("{} sk-12345-67890", "x".repeat(SHOWN_CHARS - 8));
        assert!(!secrets(&["sk-12345-67890"]).excerpt(&text).contains("sk-"));
    }

    #[test]
    fn short_words_stay_readable() {
        assert_eq!(secrets(&["a"]).excerpt("a bad answer"), "a bad answer");
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", secrets(&["sk-12345"])).contains("12345"));
    }
}
