//! The SQL examples, as `farcall test sql-examples` runs them.

use std::path::Path;

use farcall::cli::test_runner;

#[tokio::test(flavor = "multi_thread")]
async fn the_sql_examples_give_what_is_expected() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql-examples");
    let mut report = vec![];
    let summary = test_runner::run(&[examples], false, &mut report).await.unwrap();
    assert_eq!(summary.failed, 0, "{}", String::from_utf8_lossy(&report));
    assert!(summary.passed >= 8, "only {} examples were found", summary.passed);
}
