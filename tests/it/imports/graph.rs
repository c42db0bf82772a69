//! [`Graph`], who imports what from whom, and the circles in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// By importer and imported: what is imported, for each file that does (none if it is the importer).
#[derive(Debug, Default)]
pub struct Graph(BTreeMap<String, BTreeMap<String, Uses>>);

type Uses = BTreeMap<String, BTreeSet<String>>;

/// Names are shown for so many files in a chain; the printed list has all.
const SHOWN_FILES: usize = 2;

impl Graph {
    pub fn add(&mut self, from: &str, to: &str, file: &str, name: &str) {
        let uses = self.0.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default();
        uses.entry(file.to_owned()).or_default().insert(name.to_owned());
    }

    /// Returns the circles, each with all that reach each other, the largest first.
    pub fn circles(&self) -> Vec<BTreeSet<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.0.keys().map(|node| (node.as_str(), self.reached(node))).collect();
        let mut circles = BTreeSet::new();
        for (node, reached_by_node) in &reached {
            let back = |other: &&&str| reached.get(**other).is_some_and(|of| of.contains(node));
            let circle: BTreeSet<&str> = reached_by_node.iter().filter(back).copied().collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        let mut circles: Vec<_> = circles.into_iter().collect();
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }

    fn reached(&self, start: &str) -> BTreeSet<&str> {
        let (mut waiting, mut reached) = (vec![start], BTreeSet::new());
        while let Some(node) = waiting.pop() {
            for next in self.0.get(node).into_iter().flat_map(|imported| imported.keys()) {
                if reached.insert(next.as_str()) {
                    waiting.push(next);
                }
            }
        }
        reached
    }

    /// Writes the shortest way around within a circle: `a.rs -> b.rs (uses B) -> a.rs (uses A)`.
    pub fn chain(&self, circle: &BTreeSet<&str>) -> String {
        let ways = circle.iter().filter_map(|start| self.way_around(circle, start));
        let Some(way) = ways.min_by_key(Vec::len) else { return String::new() };
        let steps = way.windows(2).map(|step| {
            let uses = shown(&self.0[step[0]][step[1]], SHOWN_FILES);
            format!(" -> {} ({uses})", step[1])
        });
        std::iter::once(way[0].to_owned()).chain(steps).collect()
    }

    /// Writes all imports within a circle, one a line.
    pub fn imports_within(&self, circle: &BTreeSet<&str>) -> Vec<String> {
        let mut lines = Vec::new();
        for from in circle {
            for (to, uses) in self.0.get(*from).into_iter().flatten() {
                if circle.contains(to.as_str()) {
                    lines.push(format!("{from} -> {to} ({})", shown(uses, usize::MAX)));
                }
            }
        }
        lines
    }

    /// Returns the shortest way from a node back to itself, both ends included.
    fn way_around<'g>(
        &'g self,
        circle: &BTreeSet<&'g str>,
        start: &'g str,
    ) -> Option<Vec<&'g str>> {
        let mut before: BTreeMap<&str, &str> = BTreeMap::new();
        let mut waiting = VecDeque::from([start]);
        while let Some(node) = waiting.pop_front() {
            for next in self.0.get(node)?.keys().map(String::as_str) {
                if next == start {
                    let mut way = vec![start, node];
                    while *way.last()? != start {
                        way.push(before[way.last()?]);
                    }
                    way.reverse();
                    return Some(way);
                }
                if circle.contains(next) && !before.contains_key(next) {
                    before.insert(next, node);
                    waiting.push_back(next);
                }
            }
        }
        None
    }
}

fn shown(uses: &Uses, most: usize) -> String {
    let phrases = uses.iter().take(most).map(|(file, names)| {
        let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let space = if file.is_empty() { "" } else { " " };
        format!("{file}{space}uses {names}")
    });
    let mut phrases: Vec<String> = phrases.collect();
    if uses.len() > most {
        phrases.push(format!("and {} files more", uses.len() - most));
    }
    phrases.join("; ")
}
