//! [`CallRule`], the frame of the physical rules: each leaves a plan without calls alone.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::plans::has_call;
use crate::{demand, output_order, stream_filters};

/// Returns the physical optimizer rules, to be appended to DataFusion's own, in this order.
///
/// Each leaves a plan without calls alone.
pub fn physical_optimizer_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let plain = Arc::new(Plain::default());
    let rule = |name, rewrite| -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
        Arc::new(CallRule { name, rewrite, plain: Arc::clone(&plain) })
    };
    vec![
        // Where partitions meet is settled first: the others look at what is left between calls.
        rule("demand", demand::demand),
        rule("stream_filters", stream_filters::stream_filters),
        // Last, since orderings that it gives up must not have been relied on below it.
        rule("output_order", output_order::output_order),
    ]
}

/// Rewrites a plan that makes calls; the schema stays.
type Rewrite = fn(Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>>;

/// A rule for plans that make calls.
#[derive(Debug)]
struct CallRule {
    name: &'static str,
    rewrite: Rewrite,
    plain: Arc<Plain>,
}

impl PhysicalOptimizerRule for CallRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.plain.is_plain(&plan) { Ok(plan) } else { (self.rewrite)(plan) }
    }

    fn name(&self) -> &str {
        self.name
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Knows the last plan that makes no call: the rules ask for the same plan one after another.
///
/// A plan is never changed in place, and a weak reference keeps its address from being given to
/// another one.
#[derive(Debug, Default)]
struct Plain(Mutex<Option<Weak<dyn ExecutionPlan>>>);

impl Plain {
    fn is_plain(&self, plan: &Arc<dyn ExecutionPlan>) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|known| std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(plan)))
        {
            return true;
        }
        let plain = !has_call(plan);
        if plain {
            *known = Some(Arc::downgrade(plan));
        }
        plain
    }
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::coop::CooperativeExec;
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::testing::{bare_session, register};

    #[tokio::test]
    async fn a_known_plan_does_not_hide_the_calls_of_another() {
        let session = bare_session(Default::default());
        let (function, _) = farcall_udf::testing::ScriptedFunction::new("f").build();
        register(&session, function);
        let frame = session.sql("SELECT f(1)").await.unwrap();
        let calling = frame.create_physical_plan().await.unwrap();
        let plain = Plain::default();
        let quiet: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(calling.schema()));
        for _ in 0..2 {
            assert!(plain.is_plain(&quiet));
            assert!(!plain.is_plain(&calling));
            let above: Arc<dyn ExecutionPlan> =
                Arc::new(CooperativeExec::new(Arc::clone(&calling)));
            assert!(!plain.is_plain(&above));
        }
    }

    #[tokio::test]
    async fn a_plan_without_calls_is_given_back_as_it_came() {
        let frame = SessionContext::new().sql("SELECT value FROM range(1, 9) LIMIT 3").await;
        let plan = frame.unwrap().create_physical_plan().await.unwrap();
        for rule in physical_optimizer_rules() {
            let kept = rule.optimize(Arc::clone(&plan), &ConfigOptions::new()).unwrap();
            assert!(Arc::ptr_eq(&kept, &plan), "{}", rule.name());
        }
    }
}
