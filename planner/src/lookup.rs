//! [`LookupTables`], how the planner learns which tables of a plan are looked up by key.

use std::fmt;
use std::sync::Arc;

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{Result, plan_err};
use datafusion_expr::{Expr, LogicalPlan, TableScan, TableSource};
use farcall_udf::{CallOptions, LookupTable};

use crate::presence::plan_has_lookup;
use crate::rules::{Planned, plan_join};

/// The name of the condition that carries the options of a LOOKUP hint to the table it names.
///
/// It is a function of two texts, the name that the hint uses and the options, one `name=value` a
/// line. It is always true and never called: the rule `lookup_join` takes it off.
pub const LOOKUP_HINT: &str = "__lookup_hint";

/// Finds the lookup tables of a session.
pub trait LookupTables: fmt::Debug + Send + Sync {
    /// Returns the lookup table behind a source, if it is one.
    fn find(&self, source: &dyn TableSource) -> Option<LookupSource>;
}

/// A lookup table as the planner sees it.
#[derive(Debug, Clone)]
pub struct LookupSource {
    /// The table.
    pub table: Arc<LookupTable>,
    /// Whether its rows can be read without a key, too.
    pub can_be_scanned: bool,
}

impl LookupSource {
    /// Finds the lookup table that a scan reads.
    pub(crate) fn of(scan: &TableScan, tables: &dyn LookupTables) -> Option<Self> {
        tables.find(scan.source.as_ref())
    }
}

/// Reads the options of a LOOKUP hint, if the condition is one.
pub(crate) fn hint_options(condition: &Expr) -> Result<Option<CallOptions>> {
    let Some((_, options)) = hint(condition) else { return Ok(None) };
    let mut read = CallOptions::new();
    for line in options.lines() {
        let Some((name, value)) = line.split_once('=') else {
            return plan_err!("LOOKUP hint: '{line}' is no option");
        };
        read.set(name, value)?;
    }
    Ok(Some(read))
}

/// Returns the table that a LOOKUP hint names and its options, if the expression is one.
pub(crate) fn hint(expr: &Expr) -> Option<(&str, &str)> {
    let Expr::ScalarFunction(function) = expr else { return None };
    let [Expr::Literal(table, _), Expr::Literal(options, _)] = function.args.as_slice() else {
        return None;
    };
    if function.name() != LOOKUP_HINT {
        return None;
    }
    table.try_as_str().flatten().zip(options.try_as_str().flatten())
}

/// Checks that every lookup table of a plan is looked up, or can be scanned.
///
/// A session runs this beside [`check_calls`](crate::check_calls), on every plan before it makes
/// operators. The error names the table and says what to write instead.
pub fn check_lookups(plan: &LogicalPlan, tables: &dyn LookupTables) -> Result<()> {
    if !plan_has_lookup(plan, tables)? {
        return Ok(());
    }
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(check_hint)?;
        match node {
            LogicalPlan::Join(join) => {
                if let Planned::Impossible(reason) = plan_join(join, tables)? {
                    return plan_err!("{reason}");
                }
            }
            LogicalPlan::TableScan(scan) => {
                if let Some(LookupSource { table, can_be_scanned: false }) =
                    LookupSource::of(scan, tables)
                {
                    let (name, key) = (table.name(), table.key_names());
                    return plan_err!(
                        "lookup table {name} cannot be scanned; join the table itself, by an equality on its key \
                         ({key})"
                    );
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Refuses a hint that no lookup took off.
fn check_hint(expr: &Expr) -> Result<TreeNodeRecursion> {
    expr.apply(|part| match hint(part) {
        Some((table, _)) => plan_err!(
            "LOOKUP hint: '{table}' is not looked up here; it must name a lookup table, by its \
             alias if it has one, that is joined by its key"
        ),
        None => Ok(TreeNodeRecursion::Continue),
    })
}
