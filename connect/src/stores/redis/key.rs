//! [`KeyTemplate`], how the columns of a key become the name of a Redis key, and back.

use std::fmt;

/// A template such as `user:{id}`: texts with the columns of the key between them.
///
/// It can be read backwards: the first occurrence of a text ends the column before it. So a value
/// that holds the text behind it has no Redis key, and no two keys share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyTemplate {
    parts: Vec<Part>,
    /// The text behind the last column.
    end: String,
}

/// A column with the text before it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    before: String,
    /// The column's position in the key.
    column: usize,
    name: String,
}

/// A value that holds the text which ends it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous<'a> {
    /// The column of the value.
    pub(crate) column: &'a str,
    /// The text behind the column.
    pub(crate) separator: &'a str,
}

impl KeyTemplate {
    /// Makes the default: the table's name and the columns of its key, with `:` between them.
    pub(crate) fn of_table(table: &str, key: &[&str]) -> Self {
        let part = |(column, name): (usize, &&str)| Part {
            before: if column == 0 { format!("{table}:") } else { ":".to_owned() },
            column,
            name: (*name).to_owned(),
        };
        Self { parts: key.iter().enumerate().map(part).collect(), end: String::new() }
    }

    /// Reads a template; `{{` and `}}` are braces of the text itself.
    ///
    /// The error names what is wrong, without the option.
    pub(crate) fn parse(template: &str, key: &[&str]) -> Result<Self, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut text = String::new();
        let mut rest = template.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '{' | '}' if rest.next_if_eq(&c).is_some() => text.push(c),
                '{' => {
                    let mut name = String::new();
                    while let Some(c) = rest.next_if(|c| *c != '}') {
                        name.push(c);
                    }
                    rest.next().ok_or_else(|| format!("{{{name} is not closed by a }}"))?;
                    let before = std::mem::take(&mut text);
                    parts.push(Part::new(before, name, parts.last(), key)?);
                }
                '}' => return Err("a } closes nothing; a brace itself is written }}".to_owned()),
                c => text.push(c),
            }
        }
        let template = Self { parts, end: text };
        template.check(key)?;
        Ok(template)
    }

    fn check(&self, key: &[&str]) -> Result<(), String> {
        for (column, name) in key.iter().enumerate() {
            match self.parts.iter().filter(|part| part.column == column).count() {
                1 => {}
                0 => return Err(format!("key column {{{name}}} is missing in it")),
                _ => return Err(format!("key column {{{name}}} is in it twice")),
            }
        }
        Ok(())
    }

    /// Writes the Redis key of the values of a key, given in the order of the key.
    pub(crate) fn write(&self, values: &[&[u8]]) -> Result<Vec<u8>, Ambiguous<'_>> {
        let mut key = Vec::with_capacity(32);
        for (index, part) in self.parts.iter().enumerate() {
            let value = values[part.column];
            key.extend_from_slice(part.before.as_bytes());
            key.extend_from_slice(value);
            if let Some(Part { before: separator, .. }) = self.parts.get(index + 1) {
                let start = key.len() - value.len();
                key.extend_from_slice(separator.as_bytes());
                let is_clear = find(&key[start..], separator.as_bytes()) == Some(value.len());
                key.truncate(start + value.len());
                if !is_clear {
                    return Err(Ambiguous { column: &part.name, separator });
                }
            }
        }
        key.extend_from_slice(self.end.as_bytes());
        Ok(key)
    }

    /// Reads the values back, in the order of the key; `None` for the name of another key.
    pub(crate) fn read<'k>(&self, key: &'k [u8]) -> Option<Vec<&'k [u8]>> {
        let mut values: Vec<&[u8]> = vec![&[]; self.parts.len()];
        let mut rest = key.strip_prefix(self.parts.first()?.before.as_bytes())?;
        for (index, part) in self.parts.iter().enumerate() {
            values[part.column] = match self.parts.get(index + 1) {
                Some(Part { before: separator, .. }) => {
                    let (value, behind) = rest.split_at(find(rest, separator.as_bytes())?);
                    rest = &behind[separator.len()..];
                    value
                }
                None => rest.strip_suffix(self.end.as_bytes())?,
            };
        }
        Some(values)
    }

    /// Returns the pattern of Redis's SCAN that all keys of the template match.
    pub(crate) fn pattern(&self) -> String {
        let mut pattern = String::new();
        let texts = self.parts.iter().map(|part| &part.before).chain([&self.end]);
        for (index, text) in texts.enumerate() {
            if index > 0 {
                pattern.push('*');
            }
            for c in text.chars() {
                if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
                    pattern.push('\\');
                }
                pattern.push(c);
            }
        }
        pattern
    }
}

impl Part {
    fn new(
        before: String,
        name: String,
        previous: Option<&Part>,
        key: &[&str],
    ) -> Result<Self, String> {
        let Some(column) = key.iter().position(|column| *column == name) else {
            let columns: Vec<String> = key.iter().map(|column| format!("{{{column}}}")).collect();
            let columns = columns.join(", ");
            return Err(format!(
                "{{{name}}} is no column of the key, which are {columns}; a brace itself is written {{{{"
            ));
        };
        if let Some(previous) = previous.filter(|_| before.is_empty()) {
            let previous = &previous.name;
            return Err(format!(
                "{{{previous}}}{{{name}}} have no text between them that tells keys apart"
            ));
        }
        Ok(Self { before, column, name })
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            write!(f, "{}{{{}}}", part.before, part.name)?;
        }
        f.write_str(&self.end)
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(template: &str, key: &[&str]) -> KeyTemplate {
        KeyTemplate::parse(template, key).unwrap()
    }

    #[test]
    fn columns_stand_where_the_template_says() {
        let template = parse("{{x}}:{b}-{a}:end", &["a", "b"]);
        assert_eq!(template.write(&[b"1", b"2"]).unwrap(), b"{x}:2-1:end");
        assert_eq!(template.read(b"{x}:2-1:end"), Some(vec![&b"1"[..], &b"2"[..]]));
        assert_eq!(template.to_string(), "{x}:{b}-{a}:end");
    }

    #[test]
    fn the_default_is_the_table_and_the_columns_with_colons() {
        let template = KeyTemplate::of_table("cells", &["a", "b"]);
        assert_eq!(template.write(&[b"1", b"x"]).unwrap(), b"cells:1:x");
        assert_eq!(KeyTemplate::of_table("users", &["id"]), parse("users:{id}", &["id"]));
    }

    #[test]
    fn no_two_keys_share_a_name_and_every_name_is_read_back() {
        let mut values = vec![String::new()];
        for length in 0..4 {
            let longer = values.iter().filter(|value| value.len() == length);
            let longer: Vec<_> =
                longer.flat_map(|value| ["a", ":"].map(|c| format!("{value}{c}"))).collect();
            values.extend(longer);
        }
        for text in ["{a}:{b}", "x{a}::{b}:", "{b}a:a{a}"] {
            let template = parse(text, &["a", "b"]);
            let (mut written, mut refused) = (0, 0);
            for (a, b) in values.iter().flat_map(|a| values.iter().map(move |b| (a, b))) {
                let key = vec![a.as_bytes(), b.as_bytes()];
                match template.write(&key) {
                    Ok(name) => {
                        assert_eq!(template.read(&name), Some(key), "{text}");
                        written += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
            assert!(written > 100 && refused > 100, "{text}: {written}, {refused}");
        }
    }

    #[test]
    fn a_value_that_holds_its_separator_is_refused_with_both_named() {
        let template = KeyTemplate::of_table("cells", &["a", "b"]);
        let refused = Ambiguous { column: "a", separator: ":" };
        assert_eq!(template.write(&[b"x:y", b"z"]), Err(refused));
        assert_eq!(template.write(&[b"x", b"y:z"]).unwrap(), b"cells:x:y:z");
    }

    #[test]
    fn the_only_column_may_hold_any_bytes() {
        let template = parse("u:{id}:u", &["id"]);
        let name = template.write(&[b":u:\0\xff*"]).unwrap();
        assert_eq!(template.read(&name), Some(vec![&b":u:\0\xff*"[..]]));
    }

    #[test]
    fn names_of_other_keys_are_no_keys() {
        let template = parse("u:{a}:{b}:v", &["a", "b"]);
        for name in ["", "u:", "u:1", "u:1:2", "x:1:2:v", "u:1:2:w"] {
            assert_eq!(template.read(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_pattern_takes_the_text_literally() {
        assert_eq!(parse("a[*]?{id}\\", &["id"]).pattern(), r"a\[\*\]\?*\\");
    }

    #[test]
    fn a_template_that_cannot_work_is_refused() {
        for (template, message) in [
            ("user", "key column {a} is missing in it"),
            ("{a}", "key column {b} is missing in it"),
            ("{a}:{b}:{a}", "key column {a} is in it twice"),
            ("{a}{b}", "{a}{b} have no text between them that tells keys apart"),
            (
                "{c}",
                "{c} is no column of the key, which are {a}, {b}; a brace itself is written {{",
            ),
            ("{b}:{a", "{a is not closed by a }"),
            ("a}", "a } closes nothing; a brace itself is written }}"),
        ] {
            assert_eq!(KeyTemplate::parse(template, &["a", "b"]), Err(message.to_owned()));
        }
    }
}
