//! [`TableName`], a name as the server folds and quotes it.

/// Writes a name so that the server takes it as it is.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name of a table of the server, with its schema if it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableName(Vec<String>);

impl TableName {
    /// Makes the name of a table that is called exactly so.
    pub(crate) fn exact(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }

    /// Reads a name as the server does: without quotes its ASCII letters are in lower case, and
    /// blanks around a part are none of it.
    ///
    /// # Errors
    /// A text that says what is expected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let read = || {
            let (mut parts, mut rest) = (Vec::new(), text);
            loop {
                let (part, behind) = next_part(rest)?;
                parts.push(part);
                match behind.trim_ascii_start() {
                    "" => return Some(parts),
                    behind => rest = behind.strip_prefix('.')?,
                }
            }
        };
        let is_name = |part: &String| !part.is_empty() && !part.contains('\0');
        let parts = read().filter(|parts| parts.len() <= 3 && parts.iter().all(is_name));
        parts.map(Self).ok_or_else(|| {
            "expected the name of a table, like 'users', 'shop.users' or '\"Shop\".\"Users\"'"
                .to_owned()
        })
    }

    pub(crate) fn quoted(&self) -> String {
        self.0.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".")
    }
}

/// Reads the first part of a name, and returns what is behind it; `None` if its quotes do not close.
pub(crate) fn next_part(text: &str) -> Option<(String, &str)> {
    let text = text.trim_ascii_start();
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(['.', '"']).unwrap_or(text.len());
        return Some((text[..end].trim_ascii_end().to_ascii_lowercase(), &text[end..]));
    };
    let mut name = String::new();
    loop {
        let (before, behind) = rest.split_once('"')?;
        name.push_str(before);
        match behind.strip_prefix('"') {
            None => return Some((name, behind)),
            Some(more) => {
                name.push('"');
                rest = more;
            }
        }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// How the table is called within a statement.
pub(crate) const ALIAS: &str = "t";

/// Names a column of the table in a statement.
pub(crate) fn named(column: &str) -> String {
    format!("{ALIAS}.{}", quoted(column))
}
