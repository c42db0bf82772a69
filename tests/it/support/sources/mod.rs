//! [`Crate`], the modules of a crate as its sources have them, tests aside.

mod expand;
mod names;
mod read;

use std::collections::BTreeMap;

use syn::Item;

pub use names::Found;
pub use read::{
    attributes, ident, imports, is_hidden, is_test, paths_in, read_crate, workspace_crates,
    workspace_libraries,
};

/// A library or a program: its root module first, then the modules below it.
pub struct Crate {
    /// As other crates import it: `farcall_udf`.
    pub name: String,
    /// The package that holds it.
    pub package: String,
    pub modules: Vec<Module>,
    places: BTreeMap<Vec<String>, usize>,
}

/// A module, and what it declares: items that macros of the crate make are expanded.
pub struct Module {
    /// The names of the modules from the root down to this one.
    pub path: Vec<String>,
    /// The file, from the root of the repository.
    pub file: String,
    pub items: Vec<Item>,
    pub uses: Vec<Import>,
}

/// One name of a `use` declaration.
#[derive(Debug, Clone)]
pub struct Import {
    /// The path as it is written, without the last part if that is `*`.
    pub path: Vec<String>,
    /// The name by which it is known here: `_` for none, `None` for `*`.
    pub name: Option<String>,
    /// Whether others may use it from here, and are told.
    pub is_public: bool,
}

impl Crate {
    /// Returns the module of a path below the root.
    pub fn module(&self, path: &[String]) -> Option<&Module> {
        self.places.get(path).map(|place| &self.modules[*place])
    }
}
