//! Where in a plan farcall's calls happen, and for which rows: LogicalPlan to LogicalPlan.
//!
//! The crate never executes anything. An analyzer rule numbers the call sites ([`analyzer_rules`]),
//! optimizer rules move every call into a node of its own ([`optimizer_rules`], [`AsyncCalc`]), and
//! [`check_calls`] has the last word before physical planning.

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
