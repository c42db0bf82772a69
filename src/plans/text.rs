//! [`StableText`], which takes out of plans what differs between machines and runs.

use std::collections::HashMap;

use farcall_planner::GENERATED_PREFIX;

/// What precedes a size, a list of files, or a number of partitions of a table.
const ELIDED: [&str; 3] = ["file_groups=", "partition_sizes=", ": partitions="];

/// What precedes a number that statistics or earlier queries gave.
const BOUNDS: [&str; 5] =
    [", calls<=", ", calls~", ", requests~", ", observed_cost=", ", observed_selectivity="];

/// The prefixes of names that the planner makes up; a number follows.
const GENERATED: [&str; 5] = [
    GENERATED_PREFIX,
    "__common_expr_",
    "__correlated_sq_",
    "__datafusion_extracted_",
    "__scalar_sq_",
];

/// Rewrites texts of one query, whose generated names keep their meaning from text to text.
#[derive(Debug, Default)]
pub(super) struct StableText<'a> {
    replacements: &'a [(String, String)],
    names: HashMap<String, String>,
    numbers: HashMap<&'static str, usize>,
}

impl<'a> StableText<'a> {
    /// Makes the replacements of a user, after all else.
    pub(super) fn new(replacements: &'a [(String, String)]) -> Self {
        Self { replacements, ..Self::default() }
    }

    /// Rewrites the text of a plan.
    pub(super) fn of(&mut self, plan: &str) -> String {
        let lines = plan.lines().map(|line| {
            let line = ELIDED.iter().fold(line.to_owned(), |line, key| elide(&line, key));
            let line = BOUNDS.iter().fold(line, |line, key| without(&line, key));
            let line = self.renumber(&line);
            let replaced = self.replacements.iter();
            let line = replaced.fold(line, |line, (text, by)| line.replace(text, by));
            line.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Numbers generated names in the order in which they are met, each kind from 0.
    fn renumber(&mut self, line: &str) -> String {
        let mut text = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(start) = rest.find(is_word) {
            let length = rest[start..].find(|c| !is_word(c)).unwrap_or(rest.len() - start);
            let word = &rest[start..start + length];
            text.push_str(&rest[..start]);
            match self.generated(word) {
                Some(name) => text.push_str(&name),
                None => text.push_str(word),
            }
            rest = &rest[start + length..];
        }
        text + rest
    }

    fn generated(&mut self, word: &str) -> Option<String> {
        let prefix = GENERATED.iter().find(|prefix| {
            word.strip_prefix(**prefix).is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
        })?;
        let numbers = &mut self.numbers;
        let name = self.names.entry(word.to_owned()).or_insert_with(|| {
            let number = numbers.entry(prefix).or_default();
            *number += 1;
            format!("{prefix}{}", *number - 1)
        });
        Some(name.clone())
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Replaces the number, or what stands in brackets, behind each occurrence of a key by `..`.
fn elide(line: &str, key: &str) -> String {
    let mut parts = line.split(key);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let length = value_length(part);
        let value = &part[..length];
        let brackets = value.chars().next().zip(value.chars().last());
        text.push_str(key);
        match brackets.filter(|(open, _)| !open.is_ascii_digit()) {
            Some((open, close)) => text.extend([open, '.', '.', close]),
            None if length > 0 => text.push_str(".."),
            None => {}
        }
        text.push_str(&part[length..]);
    }
    text
}

/// Removes a key where a number follows, and the number.
fn without(line: &str, key: &str) -> String {
    let mut parts = line.split(key);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        if rest.len() == part.len() {
            text.push_str(key);
        }
        text.push_str(rest);
    }
    text
}

/// Returns the length of the number or the bracketed text with which a text begins; 0 for neither.
fn value_length(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '[' | '{' | '(' if depth > 0 || at == 0 => depth += 1,
            ']' | '}' | ')' if depth == 1 => return at + 1,
            ']' | '}' | ')' if depth > 1 => depth -= 1,
            c if depth == 0 && !c.is_ascii_digit() => return at,
            _ => {}
        }
    }
    if depth == 0 { text.len() } else { 0 }
}

/// Writes a text indented below its title.
pub fn section(title: &str, text: &str) -> String {
    let mut written = format!("{title}:\n");
    for line in text.lines() {
        written.push_str(format!("  {line}").trim_end());
        written.push('\n');
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_files_and_partitions_of_tables_are_elided() {
        for (line, stable) in [
            (
                "DataSourceExec: partitions=2, partition_sizes=[1, 1], fetch=5",
                "DataSourceExec: partitions=.., partition_sizes=[..], fetch=5",
            ),
            (
                "DataSourceExec: file_groups={2 groups: [[a/b.csv:0..9], [c.csv]]}, file_type=csv",
                "DataSourceExec: file_groups={..}, file_type=csv",
            ),
            (
                "DataSinkExec: sink=CsvSink(file_groups=[])",
                "DataSinkExec: sink=CsvSink(file_groups=[..])",
            ),
            ("StreamingTableExec: partition_sizes=4", "StreamingTableExec: partition_sizes=.."),
            (
                "RepartitionExec: partitioning=Hash([k@0], 4), input_partitions=4",
                "RepartitionExec: partitioning=Hash([k@0], 4), input_partitions=4",
            ),
            (
                "AsyncCalcExec: f(x@0) AS y [async, calls<=100, requests~4], g(x@0) AS z [sync, calls~7]",
                "AsyncCalcExec: f(x@0) AS y [async], g(x@0) AS z [sync]",
            ),
            (
                "FilterExec: file_groups= and partition_sizes=[",
                "FilterExec: file_groups= and partition_sizes=[",
            ),
        ] {
            assert_eq!(StableText::default().of(line), stable);
        }
    }

    #[test]
    fn generated_names_are_numbered_as_they_come_over_all_texts_of_a_query() {
        let mut text = StableText::default();
        let logical = "Projection: __async_7 + __async_3, __common_expr_4, __async_x, a__async_1";
        assert_eq!(
            text.of(logical),
            "Projection: __async_0 + __async_1, __common_expr_0, __async_x, a__async_1"
        );
        assert_eq!(text.of("[__async_3@1, __async_9@2]"), "[__async_1@1, __async_2@2]");
    }

    #[test]
    fn a_users_replacements_come_last() {
        let replacements = [("/tmp/x17".to_owned(), "DIR".to_owned())];
        let mut text = StableText::new(&replacements);
        assert_eq!(text.of("CopyTo: /tmp/x17/a.csv  \n  Scan: b"), "CopyTo: DIR/a.csv\n  Scan: b");
    }

    #[test]
    fn a_section_is_indented_below_its_title() {
        assert_eq!(section("plan", "a\n  b \n"), "plan:\n  a\n    b\n");
    }
}
