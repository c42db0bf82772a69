//! [`FarcallQueryPlanner`], which makes operators of logical plans.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use farcall_exec::{NodePlanner, QueryRootExec};
use farcall_planner::{Plain, check_calls, check_lookups, check_options};
use farcall_udf::FarcallConfig;

use crate::catalog::table::CatalogLookups;

/// Plans queries with async functions: checks that every call stands in a node of farcall's own,
/// then lets DataFusion plan the rest and makes the plan's executions end with their streams.
pub struct FarcallQueryPlanner {
    plain: Arc<Plain>,
    others: Vec<Arc<dyn ExtensionPlanner + Send + Sync>>,
}

impl FarcallQueryPlanner {
    /// Makes the planner of a session whose rules share `plain`; `others` plan the extension nodes
    /// that are not farcall's.
    pub fn new(plain: Arc<Plain>, others: Vec<Arc<dyn ExtensionPlanner + Send + Sync>>) -> Self {
        Self { plain, others }
    }
}

impl fmt::Debug for FarcallQueryPlanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FarcallQueryPlanner").finish_non_exhaustive()
    }
}

#[async_trait]
impl QueryPlanner for FarcallQueryPlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // Rules can be skipped by configuration; the last word is here.
        if !self.plain.is_plain(logical_plan)? {
            check_calls(logical_plan)?;
            check_lookups(logical_plan, &CatalogLookups)?;
            check_options(logical_plan, &FarcallConfig::of(session.config_options()))?;
        }
        let mut planners: Vec<Arc<dyn ExtensionPlanner + Send + Sync>> =
            vec![Arc::new(NodePlanner)];
        planners.extend(self.others.iter().cloned());
        let planner = DefaultPhysicalPlanner::with_extension_planners(planners);
        let plan = planner.create_physical_plan(logical_plan, session).await?;
        // After all rules: they look at operators, and this one stands for another.
        Ok(QueryRootExec::over(plan))
    }
}
