//! Where in a plan farcall's calls happen, and for which rows: LogicalPlan to LogicalPlan.
//!
//! The crate never executes anything. An analyzer rule numbers the call sites ([`analyzer_rules`]),
//! optimizer rules move every call into a node of its own ([`optimizer_rules`], [`AsyncCalc`]), and
//! [`check_calls`] has the last word before physical planning.
//!
//! ```
//! use std::sync::Arc;
//! use datafusion::execution::SessionStateBuilder;
//! use datafusion::prelude::SessionContext;
//! use farcall_planner::{SiteCounter, analyzer_rules, check_calls, optimizer_rules};
//! use farcall_udf::{AsyncUdf, CallError, async_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> datafusion::error::Result<()> {
//! let mut state = SessionStateBuilder::new().with_default_features();
//! for rule in analyzer_rules(Arc::new(SiteCounter::default())) {
//!     state = state.with_analyzer_rule(rule);
//! }
//! for rule in optimizer_rules() {
//!     state = state.with_optimizer_rule(rule);
//! }
//! let session = SessionContext::new_with_state(state.build());
//! let f = async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x) });
//! session.register_udf(AsyncUdf::new(f).into_scalar_udf());
//! let sql = "SELECT f(x) FROM (VALUES (1), (2)) AS t (x) WHERE x > 1";
//! let plan = session.sql(sql).await?.into_optimized_plan()?;
//! check_calls(&plan)?;
//! assert!(plan.to_string().contains("AsyncCalc"), "{plan}");
//! # Ok(())
//! # }
//! ```

mod calls;
mod check;
#[cfg(test)]
mod contexts;
mod cost;
mod extract;
mod fallible;
mod free;
mod guard;
mod hint;
pub mod logical;
mod lookup;
mod placeholder;
mod plain;
mod presence;
mod rewrite;
pub mod rules;
mod sites;
mod switches;
#[cfg(test)]
mod testing;

pub use calls::GENERATED_PREFIX;
pub use check::{check_calls, check_lookups, check_options};
pub use hint::LOOKUP_HINT;
pub use logical::{
    AsyncCalc, AsyncLookupJoin, CallColumn, LookupColumn, LookupJoinType, Resolve, ResolveKind,
    ResolveOutput, RowId, TableCall,
};
pub use lookup::{LookupSource, LookupTables};
pub use placeholder::Placeholder;
pub use plain::Plain;
pub use rules::{
    EstimateCalls, Estimates, analyzer_rules, optimizer_rules, optimizer_rules_with_lookups,
};
pub use sites::SiteCounter;
