//! [`plan_has_call`] and [`plan_has_lookup`], which the rules ask first and which are cheap for a plan
//! that holds neither.
//!
//! Twenty rules run one after another, up to three times, over plans most of which hold no call at
//! all. Asking each time by a walk over all expressions would be a noticeable part of planning. So
//! the answer "none" is remembered by the identity of the root's inputs: while they are the same
//! allocations, only the root itself is looked at.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::thread::LocalKey;

use datafusion_common::Result;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_expr::{Distinct, DistinctOn, Expr, LogicalPlan};

use crate::calls::{any_part, is_async};
use crate::lookup::{LookupSource, LookupTables, hint};

/// The inputs of the last plan that was found to hold nothing of a kind.
///
/// An optimizer runs its rules on one thread. A weak reference keeps the address from being given to
/// another plan, and what is shared is never changed in place: `Arc::make_mut` moves it away from its
/// weak references first. So an input that is alive at the same address is the same.
type Without = LocalKey<RefCell<Vec<Weak<LogicalPlan>>>>;

thread_local! {
    static WITHOUT_CALL: RefCell<Vec<Weak<LogicalPlan>>> = const { RefCell::new(Vec::new()) };
    static WITHOUT_LOOKUP: RefCell<Vec<Weak<LogicalPlan>>> = const { RefCell::new(Vec::new()) };
}

/// Says whether an async call stands anywhere in the plan, in its subqueries too; also one of a
/// function that nobody has wrapped yet.
pub(crate) fn plan_has_call(plan: &LogicalPlan) -> Result<bool> {
    plan_holds(plan, &WITHOUT_CALL, |_| false, is_async)
}

/// Says whether the plan reads a lookup table or holds a hint for one, in its subqueries too.
pub(crate) fn plan_has_lookup(plan: &LogicalPlan, tables: &dyn LookupTables) -> Result<bool> {
    let reads = |node: &LogicalPlan| match node {
        LogicalPlan::TableScan(scan) => LookupSource::of(scan, tables).is_some(),
        _ => false,
    };
    plan_holds(plan, &WITHOUT_LOOKUP, reads, |part| hint(part).is_some())
}

/// Says whether one of the tests holds for a node of the plan or for a part of its expressions.
fn plan_holds(
    plan: &LogicalPlan,
    without: &'static Without,
    node: impl Fn(&LogicalPlan) -> bool,
    part: impl Fn(&Expr) -> bool,
) -> Result<bool> {
    let inputs = shared_inputs(plan);
    if is_known(&inputs, without) {
        let (found, subquery) = look_at_root(plan, &part)?;
        // A subquery of the root is taken for one that was never looked at.
        return if subquery { walk(plan, &node, &part) } else { Ok(found) };
    }
    let found = walk(plan, &node, &part)?;
    if !found {
        let inputs = inputs.into_iter().map(Arc::downgrade).collect();
        without.with_borrow_mut(|known| *known = inputs);
    }
    Ok(found)
}

fn walk(
    plan: &LogicalPlan,
    node_test: impl Fn(&LogicalPlan) -> bool,
    part_test: impl Fn(&Expr) -> bool,
) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= node_test(node);
        if !found {
            node.apply_expressions(|expr| {
                found |= any_part(expr, &part_test);
                Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })?;
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Looks at the expressions of one node: for what is sought, and for subqueries.
fn look_at_root(plan: &LogicalPlan, test: impl Fn(&Expr) -> bool) -> Result<(bool, bool)> {
    let (mut found, mut subquery) = (false, false);
    plan.apply_expressions(|expr| {
        found |= any_part(expr, |part| {
            subquery |= matches!(
                part,
                Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::SetComparison(_)
                    | Expr::ScalarSubquery(_)
            );
            test(part)
        });
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok((found, subquery))
}

fn is_known(inputs: &[&Arc<LogicalPlan>], without: &'static Without) -> bool {
    without.with_borrow(|known| {
        !inputs.is_empty()
            && inputs.len() == known.len()
            && inputs.iter().zip(known).all(|(input, known)| Arc::as_ptr(input) == known.as_ptr())
    })
}

/// Returns the inputs that a node shares; none of the nodes that are not worth remembering.
fn shared_inputs(plan: &LogicalPlan) -> Vec<&Arc<LogicalPlan>> {
    match plan {
        LogicalPlan::Projection(node) => vec![&node.input],
        LogicalPlan::Filter(node) => vec![&node.input],
        LogicalPlan::Window(node) => vec![&node.input],
        LogicalPlan::Aggregate(node) => vec![&node.input],
        LogicalPlan::Sort(node) => vec![&node.input],
        LogicalPlan::Limit(node) => vec![&node.input],
        LogicalPlan::SubqueryAlias(node) => vec![&node.input],
        LogicalPlan::Distinct(Distinct::All(input) | Distinct::On(DistinctOn { input, .. })) => {
            vec![input]
        }
        LogicalPlan::Join(node) => vec![&node.left, &node.right],
        LogicalPlan::Union(node) => node.inputs.iter().collect(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use datafusion_expr::{LogicalPlanBuilder, col, lit};

    use super::*;
    use crate::testing::{call, table};

    #[test]
    fn a_known_input_does_not_hide_a_call_above_it() {
        let input = Arc::new(table("t"));
        let plain = filter(&input, col("x").gt(lit(1)));
        let calling = filter(&input, call("p", vec![col("x")]));
        for _ in 0..2 {
            assert!(!plan_has_call(&plain).unwrap());
            assert!(plan_has_call(&calling).unwrap());
        }
    }

    #[test]
    fn a_known_input_does_not_hide_a_call_in_a_subquery_above_it() {
        let input = Arc::new(table("t"));
        assert!(!plan_has_call(&filter(&input, col("x").gt(lit(1)))).unwrap());
        let calling = filter(&Arc::new(table("b")), call("p", vec![col("y")]));
        let exists = datafusion_expr::exists(Arc::new(calling));
        assert!(plan_has_call(&filter(&input, exists)).unwrap());
    }

    #[test]
    fn an_input_that_changed_is_looked_at_again() {
        let mut input = Arc::new(table("t"));
        assert!(!plan_has_call(&filter(&input, col("x").gt(lit(1)))).unwrap());
        let calling = LogicalPlanBuilder::from(table("t"))
            .project([call("f", vec![col("x")]).alias("x")])
            .and_then(LogicalPlanBuilder::build);
        // The way in which DataFusion's optimizer changes a plan in place.
        *Arc::make_mut(&mut input) = calling.unwrap();
        assert!(plan_has_call(&filter(&input, col("x").gt(lit(1)))).unwrap());
    }

    fn filter(input: &Arc<LogicalPlan>, predicate: Expr) -> LogicalPlan {
        LogicalPlan::Filter(datafusion_expr::Filter::try_new(predicate, Arc::clone(input)).unwrap())
    }
}
