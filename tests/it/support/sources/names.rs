//! Resolves paths to what they name, through re-exports.

use std::collections::BTreeSet;

use super::{Crate, Module, ident};

/// What a path names.
#[derive(Clone, Copy)]
pub enum Found<'c> {
    Module(&'c Module),
    /// An item of this module; what is made by a macro that was not expanded counts as the module's.
    Item(&'c Module),
    /// Something of another crate.
    Outside,
}

type Seen = BTreeSet<(Vec<String>, String)>;

impl Crate {
    /// Finds what a path names where it stands in `from`, and how the last part is called where it
    /// is declared.
    pub fn resolve<'c>(&'c self, from: &'c Module, path: &[String]) -> (Found<'c>, String) {
        self.walk(from, path, &mut Seen::new())
    }

    fn walk<'c>(
        &'c self,
        from: &'c Module,
        path: &[String],
        seen: &mut Seen,
    ) -> (Found<'c>, String) {
        let outside = (Found::Outside, String::new());
        let Some((first, mut rest)) = path.split_first() else {
            return (Found::Module(from), String::new());
        };
        let parent = |module: &Module| module.path.split_last().map(|(_, above)| above.to_vec());
        let (mut found, mut name) = match first.as_str() {
            "crate" => (Found::Module(&self.modules[0]), first.clone()),
            "self" => (Found::Module(from), first.clone()),
            "super" => match parent(from).and_then(|above| self.module(&above)) {
                Some(above) => (Found::Module(above), first.clone()),
                None => return outside,
            },
            first => match self.look_up(from, first, seen) {
                Some(found) => found,
                None => return outside,
            },
        };
        while let (Found::Module(module), Some((part, behind))) = (found, rest.split_first()) {
            rest = behind;
            (found, name) = match part.as_str() {
                "super" => match parent(module).and_then(|above| self.module(&above)) {
                    Some(above) => (Found::Module(above), part.clone()),
                    None => return outside,
                },
                "self" => (found, name),
                part => self
                    .look_up(module, part, seen)
                    .unwrap_or_else(|| (Found::Item(module), part.to_owned())),
            };
        }
        (found, name)
    }

    /// Finds a name in a module: among its children, its items and what it imports.
    ///
    /// `seen` holds what is being looked up already, which cannot be found that way.
    pub fn look_up<'c>(
        &'c self,
        module: &'c Module,
        name: &str,
        seen: &mut Seen,
    ) -> Option<(Found<'c>, String)> {
        let child: Vec<String> = module.path.iter().cloned().chain([name.to_owned()]).collect();
        if let Some(child) = self.module(&child) {
            return Some((Found::Module(child), name.to_owned()));
        }
        if module.items.iter().any(|item| ident(item).is_some_and(|declared| declared == name)) {
            return Some((Found::Item(module), name.to_owned()));
        }
        if !seen.insert((module.path.clone(), name.to_owned())) {
            return None;
        }
        let named = module.uses.iter().find(|import| import.name.as_deref() == Some(name));
        if let Some(import) = named {
            return Some(self.walk(module, &import.path, seen));
        }
        let globs = module.uses.iter().filter(|import| import.name.is_none());
        for glob in globs {
            if let (Found::Module(from), _) = self.walk(module, &glob.path, &mut seen.clone())
                && let Some(found) = self.look_up(from, name, seen)
            {
                return Some(found);
            }
        }
        None
    }
}
