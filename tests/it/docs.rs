//! The documentation says what the code does: its blocks run, its tables and links are right.

mod blocks;
mod compare;
mod links;
mod places;
mod rust;
mod shell;
mod sql;
mod tables;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;

use blocks::{Block, Language, Page};
use places::Places;
use shell::Shell;
use sql::Session;

/// Every block runs, in the order of its page: SQL in one session a page, shell commands in one folder a page. A result
/// that a page shows behind a block is compared.
#[tokio::test]
async fn every_block_of_readme_and_docs_runs() {
    let pages = blocks::pages();
    let places = Places::start().await;
    let shell = Shell::new(&places);
    let (mut failures, mut counts) = (Vec::new(), BTreeMap::<_, usize>::new());
    for page in &pages {
        match page.blocks() {
            Ok(blocks) => {
                blocks.iter().for_each(|block| *counts.entry(block.language).or_default() += 1);
                failures.extend(run(page, &blocks, &places, &shell).await);
            }
            Err(error) => failures.push(error),
        }
    }
    println!("{} pages, {counts:?}", pages.len());
    failures.extend(shell.unused());
    failures.extend(places.unused());
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

/// Runs the blocks of a page and says which fail.
async fn run(page: &Page, blocks: &[Block], places: &Places, shell: &Shell<'_>) -> Vec<String> {
    let folder = places::folder();
    let session = Session::new(folder.path(), places);
    places.servers.forget();
    let mut failures = Vec::new();
    for block in blocks {
        let shown = block.shown.as_deref();
        let ran = match block.language {
            Language::Sql => match &block.file {
                Some(file) => write(folder.path(), file, &places.put_in(&block.text)),
                None => session.run(&block.text, shown).await,
            },
            Language::Sh => shell.run(folder.path(), &block.text, shown),
            Language::Json => places.servers.exchanged(&block.text),
            Language::Rust => rust::is_a_doc_test(&page.name),
            Language::Toml => rust::is_a_manifest(folder.path(), &block.text),
        };
        if let Err(error) = ran {
            failures.push(format!("{}:{}: {error}", page.name, block.line));
        }
    }
    failures
}

fn write(folder: &Path, file: &str, text: &str) -> Result<(), String> {
    std::fs::write(folder.join(file), text).map_err(|error| format!("{file}: {error}"))
}
