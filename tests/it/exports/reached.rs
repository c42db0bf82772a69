//! [`Reached`], which items other crates can name, and by which paths.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use syn::{Item, Visibility};

use crate::support::sources::{Crate, Found, Import, Module, attributes, ident, is_hidden};

/// An item by the module that declares it, and its name there.
pub type Place = (Vec<String>, String);

/// What is reached from the root by public names.
#[derive(Default)]
pub struct Reached {
    paths: BTreeMap<Place, BTreeSet<String>>,
    /// Modules and what they are called first.
    modules: BTreeMap<Vec<String>, String>,
    /// Second names of modules, and names of what other crates have.
    pub others: Vec<(String, String)>,
}

impl Reached {
    pub fn of(library: &Crate) -> Self {
        let mut reached = Reached::default();
        let root = library.modules[0].path.clone();
        let mut waiting = VecDeque::from([(root, library.name.clone())]);
        while let Some((place, path)) = waiting.pop_front() {
            let Some(module) = library.module(&place) else { continue };
            if let Some(first) = reached.modules.get(&place) {
                if *first != path {
                    reached.others.push((path, first.clone()));
                }
                continue;
            }
            reached.modules.insert(place, path.clone());
            reached.names(library, module, &path, &mut waiting, &mut BTreeSet::new());
        }
        reached
    }

    /// Notes the public names of a module under a path, also those that `*` brings from others.
    fn names(
        &mut self,
        library: &Crate,
        module: &Module,
        path: &str,
        waiting: &mut VecDeque<(Vec<String>, String)>,
        seen: &mut BTreeSet<Vec<String>>,
    ) {
        if !seen.insert(module.path.clone()) {
            return;
        }
        for item in module.items.iter().filter(|item| is_shown(item)) {
            let Some(name) = ident(item) else { continue };
            if matches!(item, Item::Mod(_)) {
                let child = module.path.iter().cloned().chain([name.clone()]).collect();
                waiting.push_back((child, format!("{path}::{name}")));
            } else {
                self.note((module.path.clone(), name.clone()), format!("{path}::{name}"));
            }
        }
        for Import { path: imported, name, is_public } in &module.uses {
            if !is_public {
                continue;
            }
            let (found, declared) = library.resolve(module, imported);
            let shown = format!("{path}::{}", name.as_deref().unwrap_or("*"));
            match (found, name) {
                (Found::Item(place), Some(_)) => self.note((place.path.clone(), declared), shown),
                (Found::Module(module), Some(_)) => waiting.push_back((module.path.clone(), shown)),
                (Found::Module(module), None) => self.names(library, module, path, waiting, seen),
                (Found::Item(_) | Found::Outside, None) => {
                    self.others.push((shown, imported.join("::") + "::*"));
                }
                (Found::Outside, Some(_)) => self.others.push((shown, imported.join("::"))),
            }
        }
    }

    fn note(&mut self, place: Place, path: String) {
        self.paths.entry(place).or_default().insert(path);
    }

    /// Returns the shortest path of an item, if it is reached.
    pub fn path(&self, place: &Place) -> Option<&str> {
        let paths = self.paths.get(place)?.iter().map(String::as_str);
        paths.min_by_key(|path| (path.matches("::").count(), *path))
    }

    /// Returns every item with all its paths, and every module that is not the root.
    pub fn items(&self) -> impl Iterator<Item = (&Place, &BTreeSet<String>)> {
        self.paths.iter()
    }

    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().filter(|(place, _)| !place.is_empty()).map(|(_, path)| path.as_str())
    }
}

/// Says whether an item is public and shown in the documentation.
fn is_shown(item: &Item) -> bool {
    let visibility = match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Mod(item) => &item.vis,
        Item::Static(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::TraitAlias(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Union(item) => &item.vis,
        _ => return false,
    };
    matches!(visibility, Visibility::Public(_)) && !is_hidden(attributes(item))
}
