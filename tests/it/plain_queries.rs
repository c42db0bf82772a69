//! Queries without async calls: their plans are DataFusion's own, to the byte.

use datafusion::physical_plan::displayable;
use datafusion::prelude::SessionContext;
use farcall::FarcallSession;

use crate::shapes::QUERIES;
use crate::support::twins::Twins;

#[tokio::test]
async fn their_plans_are_those_of_datafusion() {
    let mut planned = 0;
    for partitions in [1, 4] {
        // The shapes, with the synchronous functions on both sides.
        let plain = Twins::small(partitions).plain;
        let farcall = FarcallSession::builder().with_state(plain.state()).build().unwrap();
        let shapes = QUERIES.iter().flat_map(|(_, shapes)| shapes.iter());
        for sql in shapes.filter(|script| !script.contains(';')) {
            let ours = plans(farcall.context(), sql).await;
            assert_eq!(ours, plans(&plain, sql).await, "{sql}");
            planned += usize::from(ours.is_ok());
        }
    }
    assert!(planned >= 300, "only {planned} plans");
}

/// Returns the optimized logical and the physical plan as text, or the error.
async fn plans(context: &SessionContext, sql: &str) -> Result<String, String> {
    let plans = async {
        let (state, plan) = context.sql(sql).await?.into_parts();
        let logical = state.optimize(&plan)?;
        let physical = state.query_planner().create_physical_plan(&logical, &state).await?;
        let physical = displayable(physical.as_ref()).indent(true).to_string();
        Ok(format!("{}\n{physical}", logical.display_indent_schema()))
    };
    plans.await.map_err(|error: datafusion::error::DataFusionError| error.strip_backtrace())
}
