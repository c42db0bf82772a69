//! [`exports`], the exported items of a library, one a line.

use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Fields, ImplItem, Item, ItemEnum, ItemImpl, ItemStruct, ItemTrait, Path, Token,
    TraitItem, Type, Visibility,
};

use super::reached::{Place, Reached};
use super::text::{conditions, list, parameters, signature, tidy};
use crate::support::sources::{Crate, Found, Module, attributes, ident, is_hidden, is_test};

/// Lists what other crates can name, sorted by path.
pub fn exports(library: &Crate) -> Vec<String> {
    let reached = Reached::of(library);
    let mut listing = Listing { library, reached: &reached, lines: Vec::new() };
    for (place, paths) in reached.items() {
        listing.item(place, paths.iter().map(String::as_str));
    }
    for path in reached.modules() {
        listing.line(path, format!("mod {path}"));
    }
    for (path, other) in &reached.others {
        listing.line(path, format!("use {path} = {other}"));
    }
    for module in &library.modules {
        for item in &module.items {
            match item {
                Item::Impl(item) => listing.implementation(module, item),
                Item::Macro(item) if has(&item.attrs, "macro_export") => {
                    let path = format!("{}::{}", library.name, item.ident.to_token_stream());
                    listing.line(&path, format!("macro {path}"));
                }
                _ => {}
            }
        }
    }
    listing.lines.sort();
    listing.lines.dedup();
    listing.lines.into_iter().map(|(.., line)| line).collect()
}

/// Whose a type or a trait is.
enum Known<'l> {
    /// Of the library, under this path.
    Exported(&'l str),
    /// Of the library, and nobody else's matter.
    Private,
    /// Of another crate, or any type.
    Foreign,
}

struct Listing<'l> {
    library: &'l Crate,
    reached: &'l Reached,
    /// Each with what it is sorted by: its path, and whether it is an `impl`.
    lines: Vec<(String, bool, String)>,
}

impl<'l> Listing<'l> {
    fn line(&mut self, path: &str, line: String) {
        self.lines.push((path.to_owned(), line.starts_with("impl "), line));
    }

    fn item<'p>(&mut self, place: &Place, paths: impl Iterator<Item = &'p str>) {
        let Some(path) = self.reached.path(place) else { return };
        let Some(module) = self.library.module(&place.0) else { return };
        let named = |item: &&Item| ident(item).is_some_and(|name| name == place.1);
        let items: Vec<&Item> = module.items.iter().filter(named).collect();
        if items.iter().any(|item| is_hidden(attributes(item))) {
            return;
        }
        for second in paths.filter(|second| *second != path) {
            self.line(second, format!("use {second} = {path}"));
        }
        if items.is_empty() {
            // A macro that was not expanded made it: that it is there is all that is known.
            self.line(path, format!("item {path}"));
        }
        for item in items {
            self.declaration(path, item);
        }
    }

    fn declaration(&mut self, path: &str, item: &Item) {
        let line = match item {
            Item::Const(item) => format!("const {path}: {}", tidy(&item.ty)),
            Item::Static(item) => format!("static {path}: {}", tidy(&item.ty)),
            Item::Fn(item) => signature(path, &item.sig),
            Item::Type(item) => {
                format!("type {path}{} = {}", parameters(&item.generics), tidy(&item.ty))
            }
            Item::Struct(item) => return self.structure(path, item),
            Item::Enum(item) => return self.enumeration(path, item),
            Item::Trait(item) => return self.interface(path, item),
            other => format!("item {path} ({})", tidy(other.to_token_stream())),
        };
        self.line(path, line);
    }

    fn structure(&mut self, path: &str, item: &ItemStruct) {
        let generics = parameters(&item.generics) + &conditions(&item.generics);
        let is_public = |field: &syn::Field| matches!(field.vis, Visibility::Public(_));
        let closed = if item.fields.iter().all(is_public) { "" } else { " { .. }" };
        self.line(path, format!("struct {path}{generics}{closed}{}", openness(&item.attrs)));
        for (number, field) in item.fields.iter().enumerate() {
            if is_public(field) && !is_hidden(&field.attrs) {
                let name = field.ident.as_ref().map_or(number.to_string(), ToString::to_string);
                let field_path = format!("{path}::{name}");
                self.line(&field_path, format!("field {field_path}: {}", tidy(&field.ty)));
            }
        }
        self.derives(path, &item.attrs);
    }

    fn enumeration(&mut self, path: &str, item: &ItemEnum) {
        let generics = parameters(&item.generics) + &conditions(&item.generics);
        self.line(path, format!("enum {path}{generics}{}", openness(&item.attrs)));
        for variant in item.variants.iter().filter(|variant| !is_hidden(&variant.attrs)) {
            let variant_path = format!("{path}::{}", variant.ident);
            let fields = fields(&variant.fields);
            let openness = openness(&variant.attrs);
            self.line(&variant_path, format!("variant {variant_path}{fields}{openness}"));
        }
        self.derives(path, &item.attrs);
    }

    fn interface(&mut self, path: &str, item: &ItemTrait) {
        let above = match item.supertraits.is_empty() {
            true => String::new(),
            false => format!(": {}", tidy(&item.supertraits)),
        };
        let (parameters, conditions) = (parameters(&item.generics), conditions(&item.generics));
        self.line(path, format!("trait {path}{parameters}{above}{conditions}"));
        for member in &item.items {
            let (attributes, name, line): (_, _, &dyn Fn(&str) -> String) = match member {
                TraitItem::Fn(member) => (&member.attrs, &member.sig.ident, &|path| {
                    let provided = if member.default.is_some() { " (provided)" } else { "" };
                    signature(path, &member.sig) + provided
                }),
                TraitItem::Const(member) => (&member.attrs, &member.ident, &|path| {
                    format!("const {path}: {}", tidy(&member.ty))
                }),
                TraitItem::Type(member) => (&member.attrs, &member.ident, &|path| {
                    let bounds = tidy(&member.bounds);
                    let colon = if bounds.is_empty() { "" } else { ": " };
                    format!("type {path}{}{colon}{bounds}", parameters_of(member))
                }),
                _ => continue,
            };
            if !is_hidden(attributes) {
                let path = format!("{path}::{name}");
                self.line(&path, line(&path));
            }
        }
    }

    fn derives(&mut self, path: &str, attributes: &[Attribute]) {
        for attribute in attributes.iter().filter(|one| one.path().is_ident("derive")) {
            let derived = Punctuated::<Path, Token![,]>::parse_terminated;
            for name in attribute.parse_args_with(derived).unwrap() {
                self.line(path, format!("impl {} for {path}", tidy(name)));
            }
        }
    }

    /// Lists what a block adds to an exported type, or for whom it makes an exported trait.
    fn implementation(&mut self, module: &Module, item: &ItemImpl) {
        let own = match item.self_ty.as_ref() {
            Type::Path(own) if own.qself.is_none() => self.known(module, &own.path),
            _ => Known::Foreign,
        };
        let Some((of, _)) = &item.trait_ else {
            if let Known::Exported(path) = own {
                self.members(path, item);
            }
            return;
        };
        match (own, self.known(module, of)) {
            (Known::Private, _) | (_, Known::Private) | (Known::Foreign, Known::Foreign) => {}
            (Known::Exported(path), _) => {
                let written = tidy(&item.self_ty);
                let arguments = written.find('<').map_or("", |start| &written[start..]);
                self.line(path, format!("impl {} for {path}{arguments}", tidy(of)));
            }
            (Known::Foreign, Known::Exported(path)) => {
                self.line(path, format!("impl {} for {}", tidy(of), tidy(&item.self_ty)));
            }
        }
    }

    fn known(&self, module: &Module, path: &Path) -> Known<'l> {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        match self.library.resolve(module, &parts) {
            (Found::Item(place), name) => {
                let path = self.reached.path(&(place.path.clone(), name));
                path.map_or(Known::Private, Known::Exported)
            }
            _ => Known::Foreign,
        }
    }

    fn members(&mut self, path: &str, item: &ItemImpl) {
        for member in &item.items {
            let (attributes, visibility, name) = match member {
                ImplItem::Fn(member) => (&member.attrs, &member.vis, &member.sig.ident),
                ImplItem::Const(member) => (&member.attrs, &member.vis, &member.ident),
                ImplItem::Type(member) => (&member.attrs, &member.vis, &member.ident),
                _ => continue,
            };
            if !matches!(visibility, Visibility::Public(_))
                || is_hidden(attributes)
                || is_test(attributes)
            {
                continue;
            }
            let path = format!("{path}::{name}");
            let line = match member {
                ImplItem::Fn(member) => signature(&path, &member.sig),
                ImplItem::Const(member) => format!("const {path}: {}", tidy(&member.ty)),
                ImplItem::Type(member) => format!("type {path} = {}", tidy(&member.ty)),
                _ => continue,
            };
            self.line(&path, line);
        }
    }
}

fn parameters_of(member: &syn::TraitItemType) -> String {
    parameters(&member.generics)
}

fn fields(fields: &Fields) -> String {
    match fields {
        Fields::Unit => String::new(),
        Fields::Unnamed(fields) => {
            format!("({})", list(fields.unnamed.iter().map(|field| tidy(&field.ty))))
        }
        Fields::Named(fields) => {
            let named = fields
                .named
                .iter()
                .map(|field| format!("{}: {}", field.ident.to_token_stream(), tidy(&field.ty)));
            format!(" {{ {} }}", list(named))
        }
    }
}

fn openness(attributes: &[Attribute]) -> &'static str {
    if has(attributes, "non_exhaustive") { " non_exhaustive" } else { "" }
}

fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident(name))
}
