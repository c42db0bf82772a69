//! What EXPLAIN shows of lookups, and plans that travel.

use crate::support::lookups::Stores;
use crate::support::plans::plan_text;

#[tokio::test]
async fn explain_shows_table_key_type_columns_conditions_and_options() {
    let stores = Stores::new(1);
    let sql =
        "SELECT t.id, u.name FROM t LEFT JOIN users u ON t.k = u.id AND u.z > t.a AND t.a > 1";
    insta::assert_snapshot!(plan_text(&stores.farcall, sql).await, @"");
}

#[tokio::test]
async fn conditions_go_to_a_provider_that_takes_them() {
    let stores = Stores::new(1);
    let sql =
        "SELECT t.id FROM t WHERE EXISTS (SELECT 1 FROM names n WHERE n.code = t.s AND n.n > 2)";
    stores.check(sql).await;
    insta::assert_snapshot!(plan_text(&stores.farcall, sql).await, @"");
}
