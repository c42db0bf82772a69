//! [`Session`], in which the SQL of a page runs as the program would run it.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use farcall::FarcallSession;
use farcall::udf::{CallError, async_table_fn};
use farcall_cli::{Encoder, Files, Format, Script, ScriptStatement};

use crate::support::remote::message;

use super::compare::compare;
use super::places::Places;

/// The comment that announces an error, before a part of its message.
const ERROR_COMMENT: &str = "error:";

/// The session of a page, in the page's folder.
pub struct Session<'a> {
    places: &'a Places,
    files: Files,
    session: FarcallSession,
}

impl<'a> Session<'a> {
    /// Makes a session of one partition, with the table function `search` that pages call.
    pub fn new(folder: &Path, places: &'a Places) -> Self {
        let files = Files::new(folder);
        let session = farcall_cli::session(&files).unwrap();
        let state = session.context().state_ref();
        state.write().config_mut().options_mut().execution.target_partitions = 1;
        session.register(async_table_fn("search", ["rank", "title"], |word: String| async move {
            let titles = ["Rust in Action", "Rust for Rustaceans", "SQL Antipatterns"];
            let hits = titles.into_iter().filter(|title| title.contains(&word));
            let rows = (1_i64..).zip(hits.map(str::to_owned)).collect();
            Ok::<Vec<(i64, String)>, CallError>(rows)
        }));
        Self { places, files, session }
    }

    /// Runs the statements of a block and compares what they give, if the page shows it.
    pub async fn run(&self, text: &str, shown: Option<&str>) -> Result<(), String> {
        let text = self.places.put_in(text);
        let mut given = String::new();
        for statement in Script::new(&text).statements() {
            let comments: Vec<_> = statement.comments().collect();
            if comments.iter().any(|comment| comment.starts_with("pin:")) {
                return Err("plans are pinned by `farcall test`: write the block to a file".into());
            }
            let announced = comments.iter().find_map(|comment| comment.strip_prefix(ERROR_COMMENT));
            let head = statement.text().lines().next().unwrap_or_default();
            match (self.statement(&statement).await, announced.map(str::trim)) {
                (Ok(result), None) => given.push_str(&result),
                (Err(error), Some(part)) if error.contains(part) => {
                    given.push_str(&format!("error: {error}\n"));
                }
                (Ok(_), Some(part)) => return Err(format!("{head}: no error with: {part}")),
                (Err(error), _) => return Err(format!("{head}: {error}")),
            }
        }
        shown.map_or(Ok(()), |shown| compare(shown, &given))
    }

    async fn statement(&self, statement: &ScriptStatement<'_>) -> Result<String, String> {
        let mut given = String::new();
        for mut statement in self.session.parse(&statement.padded()).map_err(|e| message(&e))? {
            self.files.resolve(&mut statement);
            let frame = self.session.execute(statement).await.map_err(|e| message(&e))?;
            let schema = frame.schema().inner().clone();
            let batches = frame.collect().await.map_err(|e| message(&e))?;
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            if names == ["plan_type", "plan"] {
                given.push_str(&plans(&batches));
            } else if !names.is_empty() {
                let config = self.session.context().state().config_options().format.clone();
                let mut encoder = Encoder::new(Format::Table, schema, &config);
                batches.into_iter().for_each(|batch| drop(encoder.batch(batch).unwrap()));
                given.push_str(&String::from_utf8(encoder.finish().unwrap()).unwrap());
            }
        }
        Ok(given)
    }
}

/// Writes plans without a frame, whose width would follow the paths in them.
fn plans(batches: &[RecordBatch]) -> String {
    let mut text = String::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let [title, plan] =
                [0, 1].map(|column| array_value_to_string(batch.column(column), row).unwrap());
            text.push_str(&format!("{title}:\n"));
            plan.lines().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
    }
    text
}
