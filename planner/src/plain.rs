//! [`Plain`], which keeps plain plans from farcall's rules.
//!
//! Twenty rules run one after another, up to three times, over plans most of which hold no call at
//! all. Asking each time by a walk over all expressions would be a noticeable part of planning. So
//! the rules of a session share a [`Plain`], which remembers the last plan without calls and lookups
//! by the identity of its root's inputs: while they are the same allocations, only the root itself
//! is looked at.

use std::slice::from_ref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use datafusion_common::Result;
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::{Distinct, DistinctOn, Expr, LogicalPlan};
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};

use crate::calls::is_async;
use crate::hint::hint;
use crate::lookup::LookupTables;
use crate::presence::{Look, holds, look, reads_lookup};

/// Knows the last plan of a session that holds no call, no lookup, and nothing that becomes one.
///
/// What it remembers cannot be taken for another plan: a weak reference keeps the address of an input
/// from being given away, and what is shared is never changed in place (`Arc::make_mut` moves it away
/// from its weak references first). So an input at the same address is the same, and what stands
/// above it is looked at each time.
#[derive(Debug)]
pub struct Plain {
    tables: Arc<dyn LookupTables>,
    becomes_call: fn(&Expr) -> bool,
    inputs: Mutex<Vec<Weak<LogicalPlan>>>,
}

impl Plain {
    /// Makes the memory of a session; `becomes_call` says of an expression that a rule turns it into
    /// a call.
    pub fn new(tables: Arc<dyn LookupTables>, becomes_call: fn(&Expr) -> bool) -> Self {
        Self { tables, becomes_call, inputs: Mutex::default() }
    }

    /// Says whether farcall has nothing to do in a plan.
    ///
    /// # Errors
    /// What walking the plan fails with.
    pub fn is_plain(&self, plan: &LogicalPlan) -> Result<bool> {
        let part_test =
            |part: &Expr| is_async(part) || hint(part).is_some() || (self.becomes_call)(part);
        let inputs = shared_inputs(plan);
        if self.knows(inputs) {
            let Look { found, subquery } = look(plan, &part_test)?;
            // A subquery of the root is taken for one that was never looked at.
            if found || !subquery {
                return Ok(!found);
            }
        }
        let found = holds(plan, |node| reads_lookup(node, self.tables.as_ref()), part_test)?;
        if !found {
            let inputs = inputs.0.iter().chain(inputs.1).map(Arc::downgrade).collect();
            *self.remembered() = inputs;
        }
        Ok(!found)
    }

    fn knows(&self, (left, right): (&[Arc<LogicalPlan>], &[Arc<LogicalPlan>])) -> bool {
        let known = self.remembered();
        !left.is_empty()
            && left.len() + right.len() == known.len()
            && left
                .iter()
                .chain(right)
                .zip(known.iter())
                .all(|(input, known)| Arc::as_ptr(input) == known.as_ptr())
    }

    fn remembered(&self) -> MutexGuard<'_, Vec<Weak<LogicalPlan>>> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an analyzer rule see only plans in which farcall has something to do.
    pub fn spare_analyzer(
        self: &Arc<Self>,
        rule: Arc<dyn AnalyzerRule + Send + Sync>,
    ) -> Arc<dyn AnalyzerRule + Send + Sync> {
        Arc::new(Spared { rule, plain: Arc::clone(self) })
    }

    /// Lets an optimizer rule see only plans in which farcall has something to do.
    pub fn spare_optimizer(
        self: &Arc<Self>,
        rule: Arc<dyn OptimizerRule + Send + Sync>,
    ) -> Arc<dyn OptimizerRule + Send + Sync> {
        Arc::new(Spared { rule, plain: Arc::clone(self) })
    }
}

/// Returns the inputs that a node shares; none of the nodes that are not worth remembering.
fn shared_inputs(plan: &LogicalPlan) -> (&[Arc<LogicalPlan>], &[Arc<LogicalPlan>]) {
    let input = match plan {
        LogicalPlan::Projection(node) => &node.input,
        LogicalPlan::Filter(node) => &node.input,
        LogicalPlan::Window(node) => &node.input,
        LogicalPlan::Aggregate(node) => &node.input,
        LogicalPlan::Sort(node) => &node.input,
        LogicalPlan::Limit(node) => &node.input,
        LogicalPlan::SubqueryAlias(node) => &node.input,
        LogicalPlan::Distinct(Distinct::All(input) | Distinct::On(DistinctOn { input, .. })) => {
            input
        }
        LogicalPlan::Join(node) => return (from_ref(&node.left), from_ref(&node.right)),
        LogicalPlan::Union(node) => return (&node.inputs, &[]),
        _ => return (&[], &[]),
    };
    (from_ref(input), &[])
}

/// A rule that plain plans are kept from; it has the name of that rule.
#[derive(Debug)]
struct Spared<R: ?Sized> {
    plain: Arc<Plain>,
    rule: Arc<R>,
}

impl AnalyzerRule for Spared<dyn AnalyzerRule + Send + Sync> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        if self.plain.is_plain(&plan)? { Ok(plan) } else { self.rule.analyze(plan, config) }
    }
}

impl OptimizerRule for Spared<dyn OptimizerRule + Send + Sync> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match self.plain.is_plain(&plan)? {
            true => Ok(Transformed::no(plan)),
            false => self.rule.rewrite(plan, config),
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion_expr::{LogicalPlanBuilder, TableSource, col, lit};

    use super::*;
    use crate::lookup::LookupSource;
    use crate::testing::{call, table};

    #[test]
    fn a_known_input_does_not_hide_a_call_above_it() {
        let (plain, input) = (plain(), Arc::new(table("t")));
        let (calling, quiet) = (call("p", vec![col("x")]), col("x").gt(lit(1)));
        for _ in 0..2 {
            assert!(plain.is_plain(&filter(&input, quiet.clone())).unwrap());
            assert!(!plain.is_plain(&filter(&input, calling.clone())).unwrap());
            // However deep it stands.
            let deep = col("x").gt(lit(1)).and(lit(true).eq(calling.clone()).is_true());
            assert!(!plain.is_plain(&filter(&input, deep)).unwrap());
        }
    }

    #[test]
    fn a_known_input_does_not_hide_a_call_in_a_subquery_above_it() {
        let (plain, input) = (plain(), Arc::new(table("t")));
        assert!(plain.is_plain(&filter(&input, col("x").gt(lit(1)))).unwrap());
        let calling = filter(&Arc::new(table("b")), call("p", vec![col("y")]));
        let exists = datafusion_expr::exists(Arc::new(calling));
        assert!(!plain.is_plain(&filter(&input, exists)).unwrap());
    }

    #[test]
    fn an_input_that_changed_is_looked_at_again() {
        let (plain, mut input) = (plain(), Arc::new(table("t")));
        assert!(plain.is_plain(&filter(&input, col("x").gt(lit(1)))).unwrap());
        let calling = LogicalPlanBuilder::from(table("t"))
            .project([call("f", vec![col("x")]).alias("x")])
            .and_then(LogicalPlanBuilder::build);
        // The way in which DataFusion's optimizer changes a plan in place.
        *Arc::make_mut(&mut input) = calling.unwrap();
        assert!(!plain.is_plain(&filter(&input, col("x").gt(lit(1)))).unwrap());
    }

    #[test]
    fn one_known_side_of_a_join_does_not_hide_a_call_in_the_other() {
        let (plain, t, b) = (plain(), table("t"), table("b"));
        let join = |right| LogicalPlanBuilder::from(t.clone()).cross_join(right).unwrap().build();
        assert!(plain.is_plain(&join(b.clone()).unwrap()).unwrap());
        let calling = filter(&Arc::new(b), call("p", vec![col("y")]));
        assert!(!plain.is_plain(&join(calling).unwrap()).unwrap());
    }

    #[test]
    fn what_becomes_a_call_is_not_plain() {
        let plain = Plain::new(Arc::new(NoTables), |expr| matches!(expr, Expr::IsNull(_)));
        let input = Arc::new(table("t"));
        assert!(plain.is_plain(&filter(&input, col("x").gt(lit(1)))).unwrap());
        assert!(!plain.is_plain(&filter(&input, col("x").is_null())).unwrap());
    }

    #[test]
    fn a_spared_rule_keeps_its_name_and_sees_plans_with_calls() {
        #[derive(Debug)]
        struct Refuse;
        impl OptimizerRule for Refuse {
            fn name(&self) -> &str {
                "refuse"
            }
            fn rewrite(
                &self,
                _: LogicalPlan,
                _: &dyn OptimizerConfig,
            ) -> Result<Transformed<LogicalPlan>> {
                datafusion_common::plan_err!("seen")
            }
        }
        let rule = Arc::new(plain()).spare_optimizer(Arc::new(Refuse));
        let config = datafusion_optimizer::OptimizerContext::new();
        assert_eq!(rule.name(), "refuse");
        let kept = rule.rewrite(table("t"), &config).unwrap();
        assert!(!kept.transformed && kept.data == table("t"));
        let calling = filter(&Arc::new(table("t")), call("p", vec![col("x")]));
        assert!(rule.rewrite(calling, &config).is_err());
    }

    #[derive(Debug)]
    struct NoTables;

    impl LookupTables for NoTables {
        fn find(&self, _: &dyn TableSource) -> Option<LookupSource> {
            None
        }
    }

    fn plain() -> Plain {
        Plain::new(Arc::new(NoTables), |_| false)
    }

    fn filter(input: &Arc<LogicalPlan>, predicate: Expr) -> LogicalPlan {
        LogicalPlan::Filter(datafusion_expr::Filter::try_new(predicate, Arc::clone(input)).unwrap())
    }
}
