//! Who imports what within a crate: `use` declarations and paths in code, resolved to files.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::support::sources::{Crate, Found, Module, imports, paths_in};

/// One import: the module that has it, the module that declares the name, and the name there.
pub struct Import<'c> {
    pub from: &'c Module,
    pub to: &'c Module,
    pub name: String,
}

/// Returns the imports between the modules of a crate.
///
/// A module alone is a way to a name and not a name that is used.
pub fn imports_of<'c>(of: &'c Crate) -> Vec<Import<'c>> {
    let mut found = Vec::new();
    for from in &of.modules {
        let mut paths = Paths::default();
        for item in &from.items {
            paths.visit_item(item);
        }
        let mut add = |(to, name): (Found<'c>, String)| {
            if let Found::Item(to) = to
                && to.file != from.file
            {
                found.push(Import { from, to, name });
            }
        };
        for path in &paths.paths {
            add(of.resolve(from, path));
        }
        for path in &paths.globs {
            let (Found::Module(brought), _) = of.resolve(from, path) else { continue };
            for word in &paths.words {
                if let Some(named) = of.look_up(brought, word, &mut BTreeSet::new()) {
                    add(named);
                }
            }
        }
    }
    found
}

/// Collects what a module names.
#[derive(Default)]
struct Paths {
    paths: BTreeSet<Vec<String>>,
    globs: BTreeSet<Vec<String>>,
    /// Every single word: `*` may bring it.
    words: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for import in imports(item) {
            match import.name {
                Some(_) => self.paths.insert(import.path),
                None => self.globs.insert(import.path),
            };
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        match parts.len() {
            0 | 1 => self.words.extend(parts),
            _ if path.leading_colon.is_some() => {}
            _ => {
                self.paths.insert(parts);
            }
        }
        visit::visit_path(self, path);
    }

    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        self.paths.extend(paths_in(tokens.clone()));
        self.words.extend(words(tokens.clone()));
    }

    /// Modules have their own turn, `pub(in path)` imports nothing.
    fn visit_item_mod(&mut self, _: &'ast syn::ItemMod) {}

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

fn words(tokens: TokenStream) -> Vec<String> {
    let mut words = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(word) => words.push(word.to_string()),
            TokenTree::Group(group) => words.extend(self::words(group.stream())),
            _ => {}
        }
    }
    words
}
