//! [`circles`], level by level: a file and its own children count as one.
//!
//! The modules that one module declares are a level. Each stands for all that is below it, so that
//! `foo.rs` is one with `foo/*`, and a folder one with its `mod.rs`. The module above, whose children
//! they are, has no part in their circles.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Graph;
use super::paths::imports_of;
use crate::support::sources::{Crate, Module};

/// Modules of one level that import each other, directly or not.
#[derive(Debug)]
pub struct Circle {
    /// Files, and folders with a slash at the end.
    pub members: Vec<String>,
    /// The shortest way around.
    pub chain: String,
    /// Every import among the members.
    pub imports: Vec<String>,
}

impl Circle {
    /// Says whether a folder takes part, and not files of one folder alone.
    pub fn is_between_folders(&self) -> bool {
        self.members.iter().any(|member| member.ends_with('/'))
    }
}

/// Returns all circles of a crate.
pub fn circles(of: &Crate) -> Vec<Circle> {
    let mut levels: BTreeMap<&[String], Graph> = BTreeMap::new();
    for import in imports_of(of) {
        let (from, to) = (&import.from.path, &import.to.path);
        let above = from.iter().zip(to).take_while(|(from, to)| from == to).count();
        if let (Some(from_entry), Some(to_entry)) =
            (entry(of, import.from, above), entry(of, import.to, above))
        {
            // A file that is a member itself is not named again.
            let file = if import.from.file == from_entry { "" } else { &import.from.file };
            let file = file.strip_prefix(from_entry.trim_end_matches(".rs")).unwrap_or(file);
            let graph = levels.entry(&from[..above]).or_default();
            graph.add(&from_entry, &to_entry, file.trim_start_matches('/'), &import.name);
        }
    }
    let mut circles = Vec::new();
    for graph in levels.values() {
        circles.extend(graph.circles().iter().map(|circle| Circle {
            members: circle.iter().map(|member| (*member).to_owned()).collect(),
            chain: graph.chain(circle),
            imports: graph.imports_within(circle),
        }));
    }
    circles
}

/// Returns the member of a level that a module belongs to; none for the module above the level.
fn entry(of: &Crate, module: &Module, above: usize) -> Option<String> {
    let file = &of.module(module.path.get(..=above)?)?.file;
    Some(file.strip_suffix("mod.rs").unwrap_or(file).to_owned())
}

/// Lists circles, one a line.
pub fn told<'c>(circles: impl IntoIterator<Item = &'c Circle>) -> String {
    let mut told = BTreeSet::new();
    for circle in circles {
        told.insert(format!("{} in a circle: {}", circle.members.len(), circle.chain));
    }
    told.into_iter().collect::<Vec<_>>().join("\n")
}
