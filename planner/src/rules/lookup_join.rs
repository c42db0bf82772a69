//! [`LookupJoin`] finds the rows of a lookup table by the keys of the rows it is joined to.
//!
//! ```text
//! Before:                                   After:
//! Left Join: t.k = u.id Filter: t.x > u.z   AsyncLookupJoin: Left users found=__async_0 columns=[u.id, u.z] filter=t.x > u.z
//!   TableScan: t                              AsyncCalc: users[id, z](t.k) AS __async_0
//!   SubqueryAlias: u                            TableScan: t
//!     TableScan: users
//! ```
//! Safe: the key is an equality, so a row of the table that no key asks for joins nothing, and NULL
//! equals nothing. What else the join says is tested on the pairs, before a row without one is
//! extended by NULL. Conditions that read the joined rows and the key alone decide whether there is
//! anything to ask for: they guard the call. What stands between table and join (an alias, columns,
//! conditions) is kept, on what was found; a limit that DataFusion put there is not needed below its own.
//! Declines: no lookup table; a table that can be scanned where a lookup is not possible. What
//! cannot be planned at all is left, and [`check_lookups`](crate::check_lookups) says why.
//! Needs: runs after `split_join_condition`, which makes calls in keys and conditions; before the
//! rules that split projections, since calls over found columns are left in one.

mod key;
mod limit;
mod pairs;
mod side;

use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{JoinType, Result};
use datafusion_expr::{Join, LogicalPlan};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::Names;
use crate::logical::LookupJoinType;
use crate::lookup::LookupTables;
use crate::presence::plan_has_lookup;
use crate::sites::SiteCounter;
use key::find_key;
use limit::look_up_below;
use pairs::Pairs;
pub(crate) use side::LookupSide;

/// Turns joins with lookup tables into lookups by key.
#[derive(Debug)]
pub struct LookupJoin {
    tables: Arc<dyn LookupTables>,
    sites: Arc<SiteCounter>,
}

impl LookupJoin {
    /// Finds tables by `tables`, and numbers the lookups as the session numbers its call sites.
    pub fn new(tables: Arc<dyn LookupTables>, sites: Arc<SiteCounter>) -> Self {
        Self { tables, sites }
    }
}

impl OptimizerRule for LookupJoin {
    fn name(&self) -> &str {
        "lookup_join"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !plan_has_lookup(&plan, self.tables.as_ref())? {
            return Ok(Transformed::no(plan));
        }
        let mut names = Names::after(&plan)?;
        let mut look_up = |join: &Join| match plan_join(join, self.tables.as_ref())? {
            Planned::Lookup(pairs) => {
                pairs.into_plan(join, self.sites.next(), &mut names).map(Some)
            }
            Planned::Other | Planned::Impossible(_) => Ok(None),
        };
        plan.transform_up_with_subqueries(|node| {
            let plan = match &node {
                LogicalPlan::Join(join) => look_up(join)?,
                LogicalPlan::Limit(limit) => look_up_below(limit, &mut look_up)?,
                _ => None,
            };
            Ok(plan.map_or_else(|| Transformed::no(node), Transformed::yes))
        })
    }
}

/// Something, or why it cannot be.
pub(crate) type Reasoned<T> = std::result::Result<T, String>;

/// What a join is to lookups.
pub(crate) enum Planned {
    /// No lookup table stands on either side, or one that is scanned.
    Other,
    /// The rows of one side are looked up.
    Lookup(Box<Pairs>),
    /// A side can only be looked up, and is not: why.
    Impossible(String),
}

/// Finds out whether one side of a join can be looked up for the rows of the other.
pub(crate) fn plan_join(join: &Join, tables: &dyn LookupTables) -> Result<Planned> {
    let mut impossible = None;
    for table_is_left in [false, true] {
        let plan = if table_is_left { &join.left } else { &join.right };
        let Some(side) = LookupSide::find(plan, tables)? else { continue };
        let can_be_scanned = side.source.can_be_scanned;
        match plan_side(join, side, table_is_left)? {
            Ok(pairs) => return Ok(Planned::Lookup(Box::new(pairs))),
            Err(reason) if !can_be_scanned => impossible = impossible.or(Some(reason)),
            Err(_) => {}
        }
    }
    Ok(impossible.map_or(Planned::Other, Planned::Impossible))
}

fn plan_side(join: &Join, side: LookupSide, table_is_left: bool) -> Result<Reasoned<Pairs>> {
    let join_type = match lookup_type(join, &side, table_is_left) {
        Ok(join_type) => join_type,
        Err(reason) => return Ok(Err(reason)),
    };
    let rows = if table_is_left { &join.right } else { &join.left };
    match find_key(join, &side, rows.schema(), table_is_left)? {
        Err(reason) => Ok(Err(reason)),
        Ok((key, residual)) => {
            Pairs::try_new(side, Arc::clone(rows), table_is_left, join_type, key, residual)
        }
    }
}

/// Returns the kind of lookup join, with the joined rows on the left, or why there is none.
fn lookup_type(join: &Join, side: &LookupSide, table_is_left: bool) -> Reasoned<LookupJoinType> {
    let table = side.source.table.name();
    if join.null_aware {
        return Err(format!(
            "NOT IN needs all rows of lookup table {table}, which is only looked up by key; write \
             NOT EXISTS"
        ));
    }
    match (join.join_type, table_is_left) {
        (JoinType::Inner, _) => Ok(LookupJoinType::Inner),
        (JoinType::Left, false) | (JoinType::Right, true) => Ok(LookupJoinType::Left),
        (JoinType::LeftSemi, false) | (JoinType::RightSemi, true) => Ok(LookupJoinType::Semi),
        (JoinType::LeftAnti, false) | (JoinType::RightAnti, true) => Ok(LookupJoinType::Anti),
        (JoinType::Full, _) => Err(format!(
            "a FULL JOIN gives all rows of lookup table {table}, which is only looked up by key; \
             keep the rows of the other side alone, by a LEFT JOIN"
        )),
        (JoinType::Left, true) | (JoinType::Right, false) => Err(format!(
            "an outer join that keeps all rows of lookup table {table} cannot be made, it is only \
             looked up by key; keep the rows of the other side"
        )),
        (JoinType::LeftMark | JoinType::RightMark, _) => Err(format!(
            "EXISTS or IN beside other conditions cannot look up table {table}; join it by a LEFT \
             JOIN and test a column of its key"
        )),
        (JoinType::LeftSemi | JoinType::LeftAnti, true)
        | (JoinType::RightSemi | JoinType::RightAnti, false) => Err(format!(
            "the rows of lookup table {table} cannot be read for EXISTS or IN, they are only \
             looked up by key"
        )),
    }
}

#[cfg(test)]
mod tests;
