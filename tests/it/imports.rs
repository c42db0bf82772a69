//! Who imports whom within a crate: no circle between folders, few between files.
//!
//! `FARCALL_PRINT_IMPORTS=1` prints every import of every circle: `FARCALL_PRINT_IMPORTS=1 cargo test
//! --workspace --test it imports -- --nocapture`.

mod graph;
mod levels;
mod paths;

use levels::{Circle, circles, told};

use crate::support::sources::{Crate, read_crate, workspace_crates};

/// Circles of files that stay, by their members, each with the reason why. At most three.
const REASONS: &[(&[&str], &str)] = &[
    (
        &["planner/src/rules/place_calls/defer.rs", "planner/src/rules/place_calls/top_k.rs"],
        "one recursion: deferral goes through a TopK, and a TopK defers what stands below it",
    ),
    (
        &[
            "planner/src/rules/place_calls/chain.rs",
            "planner/src/rules/place_calls/join.rs",
            "planner/src/rules/place_calls/pairs.rs",
            "planner/src/rules/place_calls/rise.rs",
        ],
        "one recursion: a chain goes on below nodes through which conditions rise, and a join tests pairs of a chain",
    ),
];

#[test]
fn no_folders_import_each_other() {
    let circles = all_circles();
    let wrong: Vec<_> = circles.iter().filter(|circle| circle.is_between_folders()).collect();
    assert!(wrong.is_empty(), "{} circles with a folder:\n{}", wrong.len(), told(wrong));
}

#[test]
fn files_import_each_other_only_with_a_reason() {
    assert!(REASONS.len() <= 3, "more than three circles of files");
    let circles = all_circles();
    let of_files = || circles.iter().filter(|circle| !circle.is_between_folders());
    let reason = |circle: &Circle| REASONS.iter().any(|(members, _)| circle.members == **members);
    let wrong: Vec<_> = of_files().filter(|circle| !reason(circle)).collect();
    assert!(
        wrong.is_empty(),
        "{} circles of files without a reason:\n{}",
        wrong.len(),
        told(wrong)
    );
    for (members, reason) in REASONS {
        assert!(of_files().any(|circle| circle.members == **members), "no circle of {members:?}");
        assert!(!reason.trim().is_empty(), "no reason for {members:?}");
    }
}

/// Returns the circles of all crates, and prints them if that is asked for.
fn all_circles() -> Vec<Circle> {
    let crates = workspace_crates();
    assert!(crates.iter().map(|one| one.modules.len()).sum::<usize>() > 100, "nothing was read");
    let circles: Vec<Circle> = crates.iter().flat_map(circles).collect();
    if std::env::var_os("FARCALL_PRINT_IMPORTS").is_some() {
        for circle in &circles {
            let kind = if circle.is_between_folders() { "folders" } else { "files" };
            println!("{} in a circle of {kind}: {}", circle.members.len(), circle.chain);
            circle.imports.iter().for_each(|import| println!("    {import}"));
        }
    }
    circles
}

#[test]
fn a_circle_is_told_as_a_chain() {
    let circles = circles_of(&[
        ("src/lib.rs", "mod a; mod b; mod c;"),
        ("src/a.rs", "use crate::b::B; pub struct A(B);"),
        ("src/b.rs", "pub struct B; fn f() { crate::c::g(); }"),
        ("src/c.rs", "pub fn g() { let _ = format!(\"{}\", super::a::A); }"),
    ]);
    let [circle] = circles.as_slice() else { panic!("{circles:?}") };
    let chain = "src/a.rs -> src/b.rs (uses B) -> src/c.rs (uses g) -> src/a.rs (uses A)";
    assert_eq!(circle.chain, chain);
    assert!(!circle.is_between_folders());
}

#[test]
fn a_name_comes_from_where_it_is_declared() {
    let circles = circles_of(&[
        ("src/lib.rs", "mod a; mod b; mod c; pub use b::Renamed; pub use c::*;"),
        ("src/a.rs", "use crate::{C, Renamed}; pub struct A(Renamed, C);"),
        ("src/b.rs", "pub use inner::B as Renamed; mod inner { pub struct B; }"),
        ("src/c.rs", "pub struct C; fn f(a: crate::a::A) {}"),
    ]);
    let [circle] = circles.as_slice() else { panic!("{circles:?}") };
    assert_eq!(circle.chain, "src/a.rs -> src/c.rs (uses C) -> src/a.rs (uses A)");
}

#[test]
fn names_that_a_star_or_a_macro_brings_count() {
    let circles = circles_of(&[
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "use crate::b::*; pub fn a() { make() }"),
        (
            "src/b.rs",
            "macro_rules! one { ($n:ident) => { pub fn $n() {} } } one!(make); use crate::a::a;",
        ),
    ]);
    let [circle] = circles.as_slice() else { panic!("{circles:?}") };
    assert_eq!(circle.chain, "src/a.rs -> src/b.rs (uses make) -> src/a.rs (uses a)");
}

#[test]
fn what_tests_import_does_not_count() {
    let circles = circles_of(&[
        ("src/lib.rs", "mod a; mod b; #[cfg(test)] mod testing;"),
        ("src/a.rs", "use crate::b::B; pub struct A; #[cfg(test)] use crate::testing::T;"),
        ("src/b.rs", "pub struct B; #[cfg(all(test, unix))] mod tests { use crate::a::A; }"),
    ]);
    assert!(circles.is_empty(), "{circles:?}");
}

#[test]
fn a_file_and_its_children_count_as_one() {
    let circles = circles_of(&[
        ("src/lib.rs", "mod a; mod b; pub struct Root; pub use a::A;"),
        ("src/a.rs", "mod part; use crate::Root; pub struct A(part::P);"),
        ("src/a/part.rs", "use super::A; pub struct P;"),
        ("src/b.rs", "pub struct B;"),
    ]);
    assert!(circles.is_empty(), "{circles:?}");
    let circles = circles_of(&[
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "mod part; pub struct A; use crate::b::B;"),
        ("src/a/part.rs", "pub struct P;"),
        ("src/b.rs", "pub struct B; use crate::a::part::P;"),
    ]);
    assert_eq!(circles.len(), 1, "{circles:?}");
}

#[test]
fn folders_are_told_apart_from_files_and_name_who_imports() {
    let circles = circles_of(&[
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a/mod.rs", "pub mod one; pub mod two;"),
        ("src/a/one.rs", "use crate::b::three::T; pub struct One;"),
        ("src/a/two.rs", "pub struct Two;"),
        ("src/b/mod.rs", "pub mod three; pub mod four;"),
        ("src/b/three.rs", "pub struct T;"),
        ("src/b/four.rs", "use crate::a::two::Two;"),
    ]);
    let [circle] = circles.as_slice() else { panic!("{circles:?}") };
    let chain = "src/a/ -> src/b/ (one.rs uses T) -> src/a/ (four.rs uses Two)";
    assert_eq!(circle.chain, chain);
    assert!(circle.is_between_folders());
}

fn circles_of(files: &[(&str, &str)]) -> Vec<Circle> {
    let text = |file: &str| {
        files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned())
    };
    let of: Crate = read_crate("a-crate", "a_crate", "src/lib.rs", &text);
    circles(&of)
}
