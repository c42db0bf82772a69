//! The SQL examples, as `scripts/test` runs them: beside stores that hold what they look up.

use std::process::Command;

use crate::support::root::root;

#[test]
fn the_sql_examples_give_what_is_expected() {
    let output = Command::new(root().join("scripts/with-stores"))
        .args([env!("CARGO_BIN_EXE_farcall"), "test", "sql-examples"])
        .current_dir(root())
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}\n{told}");
    let passed = report.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(passed >= 8, "only {passed} examples were found");
}
