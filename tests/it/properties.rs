//! What is known of a plan's rows stays known above calls: no sort and no shuffle is added.

use std::sync::Arc;

use datafusion::physical_plan::displayable;
use datafusion::prelude::SessionContext;

use crate::support::twins::{Twins, table_t};

/// Twins over `t`, and over `s`, which is `t` in one partition sorted by `x`.
fn twins(partitions: usize) -> Twins {
    let twins = Twins::new(partitions);
    for context in [twins.farcall.context(), &twins.plain] {
        let order = vec![vec![datafusion::logical_expr::col("x").sort(true, false)]];
        context.register_table("s", Arc::new(table_t().with_sort_order(order))).unwrap();
    }
    twins
}

/// Returns the names of operators that sort, shuffle or merge, from the top down.
async fn movers(context: &SessionContext, sql: &str) -> Vec<String> {
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let text = displayable(plan.as_ref()).indent(false).to_string();
    let moves = ["SortExec", "RepartitionExec: partitioning=Hash", "SortPreservingMergeExec"];
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| moves.iter().any(|operator| line.starts_with(operator)));
    lines.map(|line| line.split(':').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn calls_add_no_sort_and_no_shuffle() {
    for partitions in [1, 4] {
        let twins = twins(partitions);
        for (sql, calls) in [
            ("SELECT x, f(x) AS v FROM s ORDER BY x", &[("f", 10_000)][..]),
            ("SELECT x FROM s WHERE p(x) ORDER BY x", &[("p", 10_000)]),
            ("SELECT x, g(k) AS v FROM s WHERE p(x) ORDER BY x", &[("p", 10_000), ("g", 50)]),
            ("SELECT a.x, f(a.x) AS v FROM s a JOIN b ON a.k = b.y ORDER BY a.x", &[("f", 10_000)]),
            (
                "SELECT k, max(v) AS v FROM (SELECT k, c, f(k) AS v FROM \
                 (SELECT k, count(*) AS c FROM t GROUP BY k) q) r GROUP BY k ORDER BY k",
                &[("f", 100)],
            ),
            (
                "SELECT x, sum(v) OVER (ORDER BY x) AS w FROM (SELECT x, f(x) AS v FROM s) q",
                &[("f", 10_000)],
            ),
        ] {
            let ours = movers(twins.farcall.context(), sql).await;
            let mut plain = movers(&twins.plain, sql).await;
            for operator in ours {
                let found = plain.iter().position(|other| *other == operator);
                let found = found.unwrap_or_else(|| panic!("{operator} is new: {sql}"));
                plain.remove(found);
            }
            twins.check(sql, calls).await;
        }
    }
}

#[tokio::test]
async fn a_single_partition_stays_single() {
    let twins = Twins::new(4);
    for sql in ["SELECT f(y) FROM b", "SELECT f(y) + 1, g(k) FROM b", "SELECT y FROM b WHERE p(y)"]
    {
        let plan = twins.farcall.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let text = displayable(plan.as_ref()).indent(false).to_string();
        assert_eq!(plan.properties().partitioning.partition_count(), 1, "{text}");
        assert!(!text.contains("RepartitionExec"), "{text}");
    }
}

#[tokio::test]
async fn plans_without_calls_are_datafusions_own() {
    for partitions in [1, 4] {
        let twins = twins(partitions);
        for sql in [
            "SELECT x FROM t WHERE k < 10 LIMIT 20",
            "SELECT x FROM s WHERE k < 10 ORDER BY x LIMIT 20 OFFSET 3",
            "SELECT k, count(*) FROM t WHERE x > 3 GROUP BY k ORDER BY k",
            "SELECT t.x FROM t JOIN b ON t.k = b.y WHERE b.z < 3",
            "SELECT max(x), sum(k) FROM t WHERE n IS NULL",
        ] {
            let text = async |context: &SessionContext| {
                let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
                displayable(plan.as_ref()).indent(true).to_string()
            };
            assert_eq!(text(twins.farcall.context()).await, text(&twins.plain).await, "{sql}");
        }
    }
}
