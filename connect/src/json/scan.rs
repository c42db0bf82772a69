//! [`Scanner`], which walks over the values of a JSON text without copying them.
//!
//! It runs on text that serde_json has accepted, so it looks for the borders of values only; on
//! other text it returns `None` or a wrong border, never panics and never recurses.

/// What kind of value begins at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// Returns the kind of a value's text.
    pub(crate) fn of(value: &str) -> Kind {
        match value.as_bytes().first() {
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            _ => Kind::Number,
        }
    }

    /// Returns the kind as messages name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Boolean => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}

/// A place in a JSON text.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Steps over one byte if it is the expected one.
    fn step(&mut self, expected: u8) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    /// Steps over one value and returns its text.
    fn value(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => self.string()?,
            b'[' | b'{' => self.nested()?,
            _ => {
                let rest = &self.text.as_bytes()[self.at..];
                let ends = |b: &u8| matches!(b, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
                self.at += rest.iter().position(ends).unwrap_or(rest.len());
            }
        }
        // A walk that stands still on broken text would never end.
        self.text.get(start..self.at).filter(|value| !value.is_empty())
    }

    fn string(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            let rest = bytes.get(self.at..)?;
            self.at += rest.iter().position(|b| matches!(b, b'"' | b'\\'))?;
            if bytes[self.at] == b'"' {
                self.at += 1;
                return Some(());
            }
            self.at += 2;
        }
    }

    fn nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match *self.text.as_bytes().get(self.at)? {
                b'"' => self.string()?,
                b'[' | b'{' => {
                    depth += 1;
                    self.at += 1;
                }
                b']' | b'}' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
                _ => self.at += 1,
            }
        }
    }
}

/// Iterates over the elements of an array's text.
pub(crate) struct Elements<'a>(Scanner<'a>);

/// Returns the elements of an array, given its text.
pub(crate) fn elements(array: &str) -> Elements<'_> {
    let mut scanner = Scanner { text: array, at: 0 };
    scanner.step(b'[');
    Elements(scanner)
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let Elements(scanner) = self;
        scanner.step(b',');
        if scanner.peek()? == b']' {
            return None;
        }
        scanner.value()
    }
}

/// Iterates over the members of an object's text, as raw key and value.
pub(crate) struct Members<'a>(Scanner<'a>);

/// Returns the members of an object, given its text; keys keep their quotes and escapes.
pub(crate) fn members(object: &str) -> Members<'_> {
    let mut scanner = Scanner { text: object, at: 0 };
    scanner.step(b'{');
    Members(scanner)
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let Members(scanner) = self;
        scanner.step(b',');
        if scanner.peek()? == b'}' {
            return None;
        }
        let key = scanner.value()?;
        scanner.step(b':');
        Some((key, scanner.value()?))
    }
}

/// Says whether a raw key, with quotes and escapes, is this name.
pub(crate) fn key_is(raw: &str, name: &str) -> bool {
    let inner = raw.trim_matches('"');
    if inner.contains('\\') {
        return text_of(raw).is_some_and(|key| key == name);
    }
    inner == name
}

/// Returns the content of a string's text.
pub(crate) fn text_of(string: &str) -> Option<String> {
    serde_json::from_str(string).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_keep_their_exact_text() {
        let array = r#" [ 1.50 , "a,]\"", [2,[3]] ,{"k": "}"},null, true ]"#;
        let found: Vec<&str> = elements(array).collect();
        assert_eq!(found, ["1.50", r#""a,]\"""#, "[2,[3]]", r#"{"k": "}"}"#, "null", "true"]);
    }

    #[test]
    fn an_empty_array_has_no_elements() {
        assert_eq!(elements(" [ ] ").count(), 0);
    }

    #[test]
    fn members_are_pairs_of_raw_texts() {
        let found: Vec<_> = members(r#"{"a" : 1, "b":{"a":[2]} }"#).collect();
        assert_eq!(found, [(r#""a""#, "1"), (r#""b""#, r#"{"a":[2]}"#)]);
    }

    #[test]
    fn keys_compare_without_their_escapes() {
        assert!(key_is(r#""sc\u006fre""#, "score"));
        assert!(!key_is(r#""scores""#, "score"));
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let deep = format!("[{}{}]", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(elements(&deep).count(), 1);
    }

    #[test]
    fn broken_text_ends_the_walk() {
        for broken in ["", "[", "[\"", "[\"\\", "{\"a\"", "[1,", "[}", "]"] {
            assert!(elements(broken).count() < 3, "{broken}");
            assert!(members(broken).count() < 3, "{broken}");
        }
    }
}
