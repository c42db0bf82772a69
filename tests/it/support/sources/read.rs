//! Reads the modules of a crate from its files.

use std::collections::BTreeMap;
use std::path::Path;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Item, ItemMod, ItemUse, Lit, Meta, Token, UseTree, Visibility};

use super::expand::Macros;
use super::{Crate, Import, Module};
use crate::support::root::root;
use crate::support::workspace::{Target, targets};

/// Reads every library and program of the workspace.
pub fn workspace_crates() -> Vec<Crate> {
    targets().iter().map(read_target).collect()
}

/// Reads every library of the workspace.
pub fn workspace_libraries() -> Vec<Crate> {
    targets().iter().filter(|target| target.is_library).map(read_target).collect()
}

fn read_target(target: &Target) -> Crate {
    let text = |file: &str| std::fs::read_to_string(root().join(file)).ok();
    read_crate(&target.package, &target.name, &target.file, &text)
}

/// Reads a crate from the file of its root module; `text` gives the text of a file if there is one.
pub fn read_crate(
    package: &str,
    name: &str,
    file: &str,
    text: &dyn Fn(&str) -> Option<String>,
) -> Crate {
    let mut reader = Reader { text, modules: Vec::new(), macros: Macros::default() };
    let folder = parent(file);
    reader.file(Vec::new(), file, &folder);
    let modules = reader.modules;
    let places = modules.iter().enumerate().map(|(place, module)| (module.path.clone(), place));
    let places: BTreeMap<_, _> = places.collect();
    Crate { name: name.to_owned(), package: package.to_owned(), modules, places }
}

struct Reader<'t> {
    text: &'t dyn Fn(&str) -> Option<String>,
    modules: Vec<Module>,
    macros: Macros,
}

impl Reader<'_> {
    /// Reads a module that has a file; `folder` is where the files of its children are.
    fn file(&mut self, path: Vec<String>, file: &str, folder: &str) {
        let Some(text) = (self.text)(file) else { panic!("no file {file}") };
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        self.module(path, file, folder, parsed.items);
    }

    fn module(&mut self, path: Vec<String>, file: &str, folder: &str, items: Vec<Item>) {
        let items =
            self.macros.expand_items(items.into_iter().filter(|item| !is_test(attributes(item))));
        let mut uses = Vec::new();
        for item in &items {
            if let Item::Use(item) = item {
                uses.extend(imports(item));
            }
        }
        let place = self.modules.len();
        self.modules.push(Module {
            path: path.clone(),
            file: file.to_owned(),
            items: vec![],
            uses,
        });
        for item in &items {
            if let Item::Mod(module) = item {
                self.child(&path, file, folder, module);
            }
        }
        self.modules[place].items = items;
    }

    fn child(&mut self, path: &[String], file: &str, folder: &str, module: &ItemMod) {
        let name = module.ident.to_string();
        let path: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
        let below = format!("{folder}/{name}");
        if let Some((_, items)) = &module.content {
            return self.module(path, file, &below, items.clone());
        }
        if let Some(named) = named_file(&module.attrs) {
            let file = format!("{}/{named}", parent(file));
            return self.file(path, &file, &parent(&file));
        }
        let beside = format!("{below}.rs");
        match (self.text)(&beside) {
            Some(_) => self.file(path, &beside, &below),
            None => self.file(path, &format!("{below}/mod.rs"), &below),
        }
    }
}

fn parent(file: &str) -> String {
    Path::new(file).parent().unwrap().to_str().unwrap().to_owned()
}

/// Returns what `#[path = ".."]` says.
fn named_file(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find(|attribute| attribute.path().is_ident("path")).map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { panic!("#[path] without a file") };
        let Expr::Lit(literal) = &pair.value else { panic!("#[path] without a text") };
        let Lit::Str(text) = &literal.lit else { panic!("#[path] without a text") };
        text.value()
    })
}

/// Says whether something with these attributes is there in tests only.
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<Meta>().is_ok_and(|condition| needs_test(&condition))
    })
}

fn needs_test(condition: &Meta) -> bool {
    let Meta::List(list) = condition else { return condition.path().is_ident("test") };
    let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).unwrap();
    if list.path.is_ident("all") {
        parts.iter().any(needs_test)
    } else {
        list.path.is_ident("any") && parts.iter().all(needs_test)
    }
}

/// Says whether `#[doc(hidden)]` is among the attributes.
pub fn is_hidden(attributes: &[Attribute]) -> bool {
    let mut docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    docs.any(|doc| {
        let words = doc.meta.to_token_stream().to_string();
        doc.meta.require_list().is_ok() && words.contains("hidden")
    })
}

/// Returns the attributes of an item.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Returns the name that an item declares.
pub fn ident(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Mod(item) => &item.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Returns the names of a `use` declaration, one by one.
pub fn imports(item: &ItemUse) -> Vec<Import> {
    let mut imports = Vec::new();
    let is_public = matches!(item.vis, Visibility::Public(_)) && !is_hidden(&item.attrs);
    let start = if item.leading_colon.is_some() { vec![String::new()] } else { vec![] };
    flatten(&item.tree, start, is_public, &mut imports);
    imports
}

fn flatten(tree: &UseTree, mut path: Vec<String>, is_public: bool, imports: &mut Vec<Import>) {
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            flatten(&part.tree, path, is_public, imports);
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, path.clone(), is_public, imports);
            }
        }
        UseTree::Glob(_) => imports.push(Import { path, name: None, is_public }),
        UseTree::Name(name) => {
            if name.ident != "self" {
                path.push(name.ident.to_string());
            }
            let name = path.last().cloned();
            imports.push(Import { path, name, is_public });
        }
        UseTree::Rename(part) => {
            if part.ident != "self" {
                path.push(part.ident.to_string());
            }
            imports.push(Import { path, name: Some(part.rename.to_string()), is_public });
        }
    }
}

/// Returns the paths of two or more parts that stand in the arguments of a macro.
pub fn paths_in(tokens: TokenStream) -> Vec<Vec<String>> {
    use proc_macro2::TokenTree;
    let mut paths = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut colons = 2;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if colons != 2 {
                    paths.push(std::mem::take(&mut path));
                }
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            other => {
                paths.push(std::mem::take(&mut path));
                colons = 2;
                if let TokenTree::Group(group) = other {
                    paths.extend(paths_in(group.stream()));
                }
            }
        }
    }
    paths.push(path);
    paths.retain(|path| path.len() > 1);
    paths
}
