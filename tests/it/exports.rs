//! What each library exports, as golden files in `tests/data/exports`.
//!
//! An item that is added, removed or changed shows in the diff of a file, and wants a line in
//! CHANGELOG.

mod listing;
mod reached;
mod text;

use std::collections::BTreeSet;
use std::path::PathBuf;

use listing::exports;

use crate::support::root::root;
use crate::support::sources::{read_crate, workspace_libraries};

#[test]
fn each_library_exports_what_its_golden_file_says() {
    let accept = std::env::var_os("FARCALL_ACCEPT_EXPORTS").is_some();
    let mut wrong = Vec::new();
    let libraries = workspace_libraries();
    assert!(!libraries.is_empty(), "no library was found");
    for library in &libraries {
        let file = folder().join(format!("{}.txt", library.package));
        let exported = exports(library);
        assert!(!exported.is_empty(), "{} exports nothing", library.package);
        if accept {
            std::fs::write(&file, exported.join("\n") + "\n").unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        let golden: BTreeSet<&str> = golden.lines().collect();
        let exported: BTreeSet<&str> = exported.iter().map(String::as_str).collect();
        let removed = golden.difference(&exported).map(|line| format!("- {line}"));
        let added = exported.difference(&golden).map(|line| format!("+ {line}"));
        let changed: Vec<String> = removed.chain(added).collect();
        if !changed.is_empty() {
            wrong.push(format!("{}:\n{}", library.package, changed.join("\n")));
        }
    }
    assert!(
        wrong.is_empty(),
        "exports differ from tests/data/exports; if they should, run `FARCALL_ACCEPT_EXPORTS=1 \
         cargo test --workspace --test it exports` and read the diff\n{}",
        wrong.join("\n")
    );
}

#[test]
fn each_golden_file_belongs_to_a_library() {
    let known: BTreeSet<String> =
        workspace_libraries().iter().map(|library| format!("{}.txt", library.package)).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name), "tests/data/exports/{name} belongs to no library");
    }
}

fn folder() -> PathBuf {
    root().join("tests/data/exports")
}

#[test]
fn functions_and_methods_are_listed_with_their_types() {
    let lib = "
        pub fn free<'a, T: Into<String>>(names: &'a [T], _: fn(u8) -> std::io::Result<()>) -> impl Iterator<Item = &'a str> + use<'a, T> where T: Clone { todo!() }
        pub struct Handle;
        impl Handle {
            pub const LEAST: usize = 1;
            pub fn with_timeout(mut self, timeout: std::time::Duration) -> Self { self }
            pub async fn call(&mut self) -> Result<(), crate::Error> { todo!() }
            fn private(&self) {}
            pub(crate) fn of_the_crate(&self) {}
            #[doc(hidden)]
            pub fn hidden(&self) {}
        }
        pub type Error = Box<dyn std::error::Error + Send + Sync>;";
    assert_eq!(
        listed(&[("src/lib.rs", lib)]),
        [
            "type a::Error = Box<dyn Error + Send + Sync>",
            "struct a::Handle",
            "const a::Handle::LEAST: usize",
            "async fn a::Handle::call(&mut self) -> Result<(), Error>",
            "fn a::Handle::with_timeout(self, Duration) -> Self",
            "fn a::free<'a, T: Into<String>>(&'a [T], fn(u8) -> Result<()>) -> impl Iterator<Item = &'a str> + use<'a, T> where T: Clone",
        ]
    );
}

#[test]
fn fields_variants_and_members_of_traits_are_listed() {
    let lib = "
        #[derive(Debug, Clone)] #[non_exhaustive] pub struct Pair<T = u8> { pub left: Option<T>, right: T }
        pub struct Id(pub u64, ());
        pub enum Shape { Point, Circle { radius: f64 }, Both(u8, Box<Shape>) }
        pub trait Named: Send { const KIND: u8; type Out: Clone; fn name(&self) -> &str; fn long(&self) -> String { String::new() } }
        impl Named for Id { const KIND: u8 = 1; type Out = u8; fn name(&self) -> &str { \"\" } }
        impl<T> From<Pair<T>> for Id { fn from(_: Pair<T>) -> Self { todo!() } }
        impl Named for u8 {}
        struct Private;
        impl Named for Private {}
        trait Inner {}
        impl Inner for Id {}";
    assert_eq!(
        listed(&[("src/lib.rs", lib)]),
        [
            "struct a::Id { .. }",
            "impl From<Pair<T>> for a::Id",
            "impl Named for a::Id",
            "field a::Id::0: u64",
            "trait a::Named: Send",
            "impl Named for u8",
            "const a::Named::KIND: u8",
            "type a::Named::Out: Clone",
            "fn a::Named::long(&self) -> String (provided)",
            "fn a::Named::name(&self) -> &str",
            "struct a::Pair<T = u8> { .. } non_exhaustive",
            "impl Clone for a::Pair",
            "impl Debug for a::Pair",
            "field a::Pair::left: Option<T>",
            "enum a::Shape",
            "variant a::Shape::Both(u8, Box<Shape>)",
            "variant a::Shape::Circle { radius: f64 }",
            "variant a::Shape::Point",
        ]
    );
}

#[test]
fn what_is_reached_by_re_exports_is_listed_at_its_shortest_path() {
    let files = [
        (
            "src/lib.rs",
            "mod inner; pub mod shown; pub use inner::deep::{Deep as Renamed, *}; pub use other_crate as other; pub use other_crate::Thing;",
        ),
        ("src/inner/mod.rs", "pub mod deep; pub struct Unreached;"),
        (
            "src/inner/deep.rs",
            "pub struct Deep; pub fn starred() {} impl Deep { pub fn go(self) {} } pub(crate) fn f() {}",
        ),
        (
            "src/shown.rs",
            "pub use crate::inner::deep::Deep; #[doc(hidden)] pub fn hidden() {} #[cfg(test)] pub fn tested() {}",
        ),
    ];
    assert_eq!(
        listed(&files),
        [
            "struct a::Deep",
            "fn a::Deep::go(self)",
            "use a::Renamed = a::Deep",
            "use a::Thing = other_crate::Thing",
            "use a::other = other_crate",
            "mod a::shown",
            "use a::shown::Deep = a::Deep",
            "fn a::starred()",
        ]
    );
}

#[test]
fn what_macros_make_is_listed() {
    let lib = "
        macro_rules! options {
            ($($(#[$doc:meta])* $name:ident / $with:ident: $type:ty = $default:expr;)+) => {
                #[derive(Default)] pub struct Options { $($name: Option<$type>,)+ }
                impl Options { $($(#[$doc])* pub fn $with(mut self, value: $type) -> Self { self })+ }
            };
        }
        options! {
            /// Rows.
            rows / with_rows: usize = 1;
            /// Text.
            text / with_text: Option<&'static str> = None;
        }";
    assert_eq!(
        listed(&[("src/lib.rs", lib)]),
        [
            "struct a::Options { .. }",
            "impl Default for a::Options",
            "fn a::Options::with_rows(self, usize) -> Self",
            "fn a::Options::with_text(self, Option<&'static str>) -> Self",
        ]
    );
}

fn listed(files: &[(&str, &str)]) -> Vec<String> {
    let text = |file: &str| {
        files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned())
    };
    exports(&read_crate("a", "a", "src/lib.rs", &text))
}
