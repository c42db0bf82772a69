//! Plans as text that is the same on every machine, with calls counted, for golden-file tests.
//!
//! A plan says where the calls of a query stand and for which rows; a test that pins it notices
//! when a change to the query, to its functions or to farcall would cost more calls.
//! [`snapshot`] plans a query, [`run_with_plan`] also runs it; [`SnapshotOptions`] chooses what is shown.
//!
//! ```
//! use farcall::udf::{CallError, async_fn};
//! use farcall::{FarcallSession, plans};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> datafusion::error::Result<()> {
//! let session = FarcallSession::new()?;
//! session.register(async_fn("double", |x: i64| async move { Ok::<i64, CallError>(2 * x) }));
//! let sql = "SELECT double(value) AS v FROM generate_series(1, 100) WHERE value <= 10";
//! let run = plans::run_with_plan(&session, sql).await?;
//! assert_eq!(run.snapshot().call_sites().of("double"), 1);
//! assert_eq!(run.calls().of("double"), 10);
//! // With insta: insta::assert_snapshot!(run);
//! assert!(run.to_string().contains("AsyncCalc: double(generate_series().value) AS __async_0"));
//! # Ok(())
//! # }
//! ```

mod counts;
mod text;

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::plan_err;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::DataFrame;
use farcall_exec::{AsyncCalcExec, ExecutionHandle};

use crate::session::FarcallSession;
use text::StableText;

pub use counts::CallCounts;
pub use text::section;

/// Plans a query and returns its plans as stable text, with the defaults of [`SnapshotOptions`].
///
/// # Errors
/// Those of planning; a planning error if the statement is no query.
pub async fn snapshot(session: &FarcallSession, sql: &str) -> Result<PlanSnapshot> {
    SnapshotOptions::new().snapshot(session, sql).await
}

/// Plans and runs a query and returns rows, plans and calls, with the defaults of
/// [`SnapshotOptions`].
///
/// # Errors
/// Those of [`snapshot`] and of running the query.
pub async fn run_with_plan(session: &FarcallSession, sql: &str) -> Result<PlannedRun> {
    SnapshotOptions::new().run(session, sql).await
}

/// How plans are made and what of them is shown.
///
/// The defaults: both plans, one partition. Left out are the sizes of tables, their numbers of
/// partitions and their files; names that the planner makes up are numbered as they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotOptions {
    logical: bool,
    physical: bool,
    target_partitions: usize,
    replacements: Vec<(String, String)>,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self { logical: true, physical: true, target_partitions: 1, replacements: vec![] }
    }
}

impl SnapshotOptions {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether the optimized logical plan is shown: one call per `AsyncCalc`.
    pub fn with_logical(mut self, shown: bool) -> Self {
        self.logical = shown;
        self
    }

    /// Says whether the physical plan is shown: operators, with the options of calls.
    pub fn with_physical(mut self, shown: bool) -> Self {
        self.physical = shown;
        self
    }

    /// Plans and runs with so many partitions, whatever the session says.
    ///
    /// DataFusion's own default is the number of cores, which a test must not depend on.
    pub fn with_target_partitions(mut self, target_partitions: usize) -> Self {
        self.target_partitions = target_partitions;
        self
    }

    /// Replaces a text in the plans: a temporary folder, a port, a date.
    pub fn with_replacement(mut self, text: impl Into<String>, by: impl Into<String>) -> Self {
        self.replacements.push((text.into(), by.into()));
        self
    }

    /// Plans a query; see [`snapshot`].
    ///
    /// # Errors
    /// Planning errors.
    pub async fn snapshot(&self, session: &FarcallSession, sql: &str) -> Result<PlanSnapshot> {
        self.snapshot_frame(session.sql(sql).await?).await
    }

    /// Plans a query of the DataFrame API; see [`snapshot`].
    ///
    /// # Errors
    /// Planning errors.
    pub async fn snapshot_frame(&self, frame: DataFrame) -> Result<PlanSnapshot> {
        Ok(self.plan(frame).await?.snapshot)
    }

    /// Plans and runs a query; see [`run_with_plan`].
    ///
    /// # Errors
    /// Planning errors, and those of reading the rows.
    pub async fn run(&self, session: &FarcallSession, sql: &str) -> Result<PlannedRun> {
        self.run_frame(session.sql(sql).await?).await
    }

    /// Plans and runs a query of the DataFrame API; see [`run_with_plan`].
    ///
    /// # Errors
    /// Planning errors, and those of reading the rows.
    pub async fn run_frame(&self, frame: DataFrame) -> Result<PlannedRun> {
        let Planned { snapshot, plan, mut state } = self.plan(frame).await?;
        let execution = Arc::new(ExecutionHandle::new());
        state.config_mut().set_extension(Arc::clone(&execution));
        let batches = collect(plan, state.task_ctx()).await?;
        // A function whose calls all turned out to be needless is counted, too.
        let mut calls = CallCounts::default();
        for (function, _) in snapshot.call_sites.iter() {
            calls.add(function, 0);
        }
        for (function, count) in execution.calls() {
            calls.add(&function, count);
        }
        Ok(PlannedRun { snapshot, batches, calls })
    }

    async fn plan(&self, frame: DataFrame) -> Result<Planned> {
        if self.target_partitions == 0 {
            return plan_err!(
                "a plan snapshot was asked for with 0 target partitions, at least 1 is needed"
            );
        }
        let (mut state, plan) = frame.into_parts();
        if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) {
            return plan_err!("a plan snapshot is made of the query itself, without EXPLAIN");
        }
        if plan.schema().fields().is_empty() {
            return plan_err!("a plan snapshot is made of a query, the statement is none");
        }
        state.config_mut().options_mut().execution.target_partitions = self.target_partitions;
        let logical = state.optimize(&plan)?;
        let plan = state.query_planner().create_physical_plan(&logical, &state).await?;
        // Both are always written, so that a name has the same number whichever is shown.
        let mut text = StableText::new(&self.replacements);
        let logical = text.of(&logical.display_indent().to_string());
        let physical = text.of(&displayable(plan.as_ref()).indent(false).to_string());
        let call_sites = calls_of(&plan)?;
        let snapshot = PlanSnapshot {
            logical: self.logical.then_some(logical),
            physical: self.physical.then_some(physical),
            call_sites,
        };
        Ok(Planned { snapshot, plan, state })
    }
}

struct Planned {
    snapshot: PlanSnapshot,
    plan: Arc<dyn ExecutionPlan>,
    state: SessionState,
}

/// Returns the call sites per function.
fn calls_of(plan: &Arc<dyn ExecutionPlan>) -> Result<CallCounts> {
    let mut sites = CallCounts::default();
    plan.apply(|node| {
        if let Some(calc) = node.downcast_ref::<AsyncCalcExec>() {
            for call in calc.calls() {
                // A function and its `try_` form share their answers, so they share their count.
                sites.add(call.function.tried().unwrap_or(&call.function).name(), 1);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(sites)
}

/// The plans of a query as stable text.
///
/// Shown as a golden file holds it: `logical_plan:` and `physical_plan:` with the plans indented
/// below, as far as they were asked for, and `call_sites: f 1, g 2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSnapshot {
    logical: Option<String>,
    physical: Option<String>,
    call_sites: CallCounts,
}

impl PlanSnapshot {
    /// Returns the optimized logical plan, if it was asked for.
    pub fn logical(&self) -> Option<&str> {
        self.logical.as_deref()
    }

    /// Returns the physical plan, if it was asked for.
    pub fn physical(&self) -> Option<&str> {
        self.physical.as_deref()
    }

    /// Returns the number of places in the plan where each function is called.
    pub fn call_sites(&self) -> &CallCounts {
        &self.call_sites
    }

    /// Writes the plans that were asked for, each below its title.
    pub fn sections(&self) -> String {
        let plans = [("logical_plan", &self.logical), ("physical_plan", &self.physical)];
        let shown =
            plans.into_iter().filter_map(|(title, plan)| Some(section(title, plan.as_ref()?)));
        shown.collect()
    }
}

impl fmt::Display for PlanSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}call_sites: {}", self.sections(), self.call_sites)
    }
}

/// The rows of a query, its plans and the calls made.
///
/// Shown as its [`PlanSnapshot`] and a line `calls: f 10`; rows are left to the test.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    snapshot: PlanSnapshot,
    batches: Vec<RecordBatch>,
    calls: CallCounts,
}

impl PlannedRun {
    /// Returns the plans.
    pub fn snapshot(&self) -> &PlanSnapshot {
        &self.snapshot
    }

    /// Returns the rows, those of the first partition first.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Returns the rows alone.
    pub fn into_batches(self) -> Vec<RecordBatch> {
        self.batches
    }

    /// Returns the calls sent per function: rows less those that needed no call, or shared the answer
    /// of an equal one.
    pub fn calls(&self) -> &CallCounts {
        &self.calls
    }
}

impl fmt::Display for PlannedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\ncalls: {}", self.snapshot, self.calls)
    }
}
