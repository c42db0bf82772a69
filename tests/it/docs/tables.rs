//! The tables of pages that list what the code has.

use std::collections::BTreeSet;

use farcall::udf::{CallError, CallOptions, async_fn};

use crate::support::remote::{rows, session};
use crate::support::root::root;

/// The most lines that somebody in a hurry reads.
const README_LINES: usize = 200;

#[test]
fn the_page_of_options_lists_every_option_with_default_and_meaning() {
    let page = page("docs/options.md");
    let table: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("<!-- The table is compared with the code"))
        .skip_while(|line| !line.starts_with("| option | default |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(table, option_rows());
}

#[tokio::test]
async fn the_page_of_metrics_lists_every_metric_with_its_kind() {
    let session = session(1);
    session.register(async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x) }));
    rows(&session, "SELECT f(id) FROM t").await.unwrap();
    let counted = "SELECT DISTINCT metric, kind FROM farcall.metrics WHERE function = 'f'";
    let counted: BTreeSet<String> = rows(&session, counted).await.unwrap().into_iter().collect();
    let page = page("docs/metrics.md");
    let table = page.lines().skip_while(|line| !line.starts_with("| metric | kind |")).skip(2);
    let listed = table.take_while(|line| line.starts_with('|')).flat_map(|line| {
        let mut cells = line.trim_matches('|').split(" | ");
        let (metrics, kind) = (cells.next().unwrap(), cells.next().unwrap());
        let metrics = metrics.split('`').skip(1).step_by(2);
        metrics.map(move |metric| format!("|{metric}|{kind}|")).collect::<Vec<_>>()
    });
    assert_eq!(listed.collect::<BTreeSet<_>>(), counted);
}

#[test]
fn the_readme_is_short() {
    let lines = page("README.md").lines().count();
    assert!(lines <= README_LINES, "{lines} lines, where {README_LINES} are read");
}

fn option_rows() -> Vec<String> {
    CallOptions::TABLE
        .iter()
        .map(|info| format!("| `{}` | {} | {} |", info.name, info.default, info.description.trim()))
        .collect()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}
