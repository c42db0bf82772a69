//! What a script's results look like in an `.expected` file: the same on every machine.

use std::path::Path;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::config::FormatOptions;
use datafusion::error::Result;
use farcall::plans::section;

use super::output::{Encoder, Format};

/// A statement's first characters that head its result; longer ones are cut here.
const MAX_HEAD_CHARS: usize = 76;

/// Writes the line that heads a statement's result.
pub fn head(sql: &str) -> String {
    let lines = sql.lines().filter(|line| !line.trim_start().starts_with("--"));
    let words: Vec<_> = lines.flat_map(str::split_whitespace).collect();
    let text = words.join(" ");
    match text.char_indices().nth(MAX_HEAD_CHARS) {
        Some((at, _)) => format!("> {} ..\n", text[..at].trim_end()),
        None => format!("> {text}\n"),
    }
}

/// Writes a result: `ok` without columns, a plan as it is, anything else as a table.
///
/// Plans stand without a frame: its width would follow the paths in the plan, and a plan's change
/// would change every line.
pub fn result(
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    config: &FormatOptions,
    places: &Places,
) -> Result<String> {
    if schema.fields().is_empty() {
        return Ok("ok\n".into());
    }
    if is_plan(&schema) {
        return plan(&batches, places);
    }
    let mut encoder = Encoder::new(Format::Table, schema, config);
    for batch in batches {
        encoder.batch(batch)?;
    }
    Ok(String::from_utf8_lossy(&encoder.finish()?).into_owned())
}

fn is_plan(schema: &SchemaRef) -> bool {
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names == ["plan_type", "plan"]
        && schema.fields().iter().all(|field| {
            matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
        })
}

fn plan(batches: &[RecordBatch], places: &Places) -> Result<String> {
    let mut text = String::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let kind = array_value_to_string(batch.column(0).as_ref() as &dyn Array, row)?;
            let plan = array_value_to_string(batch.column(1).as_ref() as &dyn Array, row)?;
            let plan: Vec<_> = places.hide(&plan).lines().map(hide_measurements).collect();
            text.push_str(&section(&kind, &plan.join("\n")));
        }
    }
    Ok(text)
}

/// The folders and ports that differ from machine to machine.
#[derive(Debug)]
pub struct Places {
    /// Texts to be removed, the longest first.
    folders: Vec<String>,
}

impl Places {
    /// Takes the folders below which a script finds files.
    pub fn new(folders: &[&Path]) -> Self {
        let mut texts = vec![];
        for folder in folders {
            let path = folder.display().to_string();
            // Plans name a file by its place in the object store, without the first slash.
            texts.push(format!("{}/", path.trim_start_matches('/')));
            texts.push(format!("{path}/"));
            texts.push(path);
        }
        texts.retain(|text| !text.trim_matches('/').is_empty());
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Places { folders: texts }
    }

    /// Removes the folders, and the ports of this machine's servers.
    pub fn hide(&self, text: &str) -> String {
        let mut text = text.to_string();
        for folder in &self.folders {
            text = text.replace(folder.as_str(), "");
        }
        for host in ["127.0.0.1:", "localhost:", "[::1]:"] {
            text = hide_port(&text, host);
        }
        text
    }
}

fn hide_port(text: &str, host: &str) -> String {
    let mut parts = text.split(host);
    let mut hidden = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        hidden.push_str(host);
        hidden.push_str(if rest.len() < part.len() { "PORT" } else { "" });
        hidden.push_str(rest);
    }
    hidden
}

/// Hides times and sizes in the `metrics=[..]` of EXPLAIN ANALYZE; whole numbers stay.
fn hide_measurements(line: &str) -> String {
    let Some((before, rest)) = line.split_once("metrics=[") else { return line.to_string() };
    let Some((metrics, after)) = rest.rsplit_once(']') else { return line.to_string() };
    let metrics: Vec<_> = metrics
        .split(", ")
        .map(|metric| match metric.split_once('=') {
            Some((name, value)) if value.parse::<u64>().is_err() => format!("{name}=_"),
            _ => metric.to_string(),
        })
        .collect();
    format!("{before}metrics=[{}]{after}", metrics.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_one_short_line() {
        assert_eq!(head("SELECT a,\n       b\n  -- why\nFROM t"), "> SELECT a, b FROM t\n");
        let long = head(&"word ".repeat(40));
        assert_eq!(long.chars().count(), MAX_HEAD_CHARS + "> ".len() + " ..\n".len());
    }

    #[test]
    fn folders_vanish_with_and_without_their_first_slash() {
        let places = Places::new(&[Path::new("/a/b c"), Path::new("/a/b c/d")]);
        let text = "[[a/b c/data/x.csv]] [[a/b c/y.csv]] /a/b c/d/z.csv in /a/b c";
        assert_eq!(places.hide(text), "[[data/x.csv]] [[y.csv]] z.csv in ");
    }

    #[test]
    fn ports_of_this_machine_are_hidden() {
        let places = Places::new(&[]);
        let text = "http://127.0.0.1:4711/x, localhost:80 but 10.0.0.1:80 and localhost:";
        let hidden = "http://127.0.0.1:PORT/x, localhost:PORT but 10.0.0.1:80 and localhost:";
        assert_eq!(places.hide(text), hidden);
    }

    #[test]
    fn counts_stay_and_measurements_go() {
        let line = "Scan: x, metrics=[output_rows=12, elapsed_compute=31.5µs, bytes=1.5 KB]";
        let hidden = "Scan: x, metrics=[output_rows=12, elapsed_compute=_, bytes=_]";
        assert_eq!(hide_measurements(line), hidden);
        assert_eq!(hide_measurements("Filter: a > 1"), "Filter: a > 1");
    }
}
