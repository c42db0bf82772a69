//! The packages farcall is made of, against `deny.toml`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::root::root;
use crate::support::workspace::{members, metadata, text};

/// Which members a member may import, for tests too: to the right of udf and never back.
///
/// With their issues: `("farcall-store", &["farcall-udf"])`, which farcall-cli may import, and
/// `("farcall-python", &["farcall", "farcall-cli", "farcall-store"])`.
const IMPORTS: &[(&str, &[&str])] = &[
    ("farcall-udf", &[]),
    ("farcall-planner", &["farcall-udf"]),
    ("farcall-exec", &["farcall-planner", "farcall-udf"]),
    ("farcall-connect", &["farcall-udf"]),
    ("farcall", &["farcall-connect", "farcall-exec", "farcall-planner", "farcall-udf"]),
    ("farcall-cli", &["farcall"]),
];

/// Members that may import what they like: nobody imports them.
const FREE: [&str; 1] = ["farcall-benches"];

/// What the two lower crates depend on, tests aside: who adds to it says why.
const DIRECT: [(&str, &[&str]); 2] = [
    (
        "farcall-udf",
        &[
            "arrow",
            "async-trait",
            "backon",
            "datafusion-common",
            "datafusion-common-runtime",
            "datafusion-execution",
            "datafusion-expr",
            "fastrand",
            "futures",
            "hashbrown",
            "humantime",
            "indexmap",
            "lru",
            "smallvec",
            "thiserror",
            "tokio",
            "tokio-util",
            "tracing",
            "uuid",
        ],
    ),
    (
        "farcall-planner",
        &["arrow", "datafusion-common", "datafusion-expr", "datafusion-optimizer", "farcall-udf"],
    ),
];

/// Network and TLS packages, none of which the two lower crates may reach.
const NETWORK: [&str; 4] = ["axum", "hyper", "reqwest", "rustls"];

#[test]
fn every_licence_is_allowed() {
    let allowed: BTreeSet<_> = deny_toml("allow = [").iter().map(|line| quoted(line)).collect();
    let refused: Vec<_> = packages()
        .filter(|package| !is_allowed(text(package, "license"), &allowed))
        .map(|package| format!("{}: {}", text(&package, "name"), text(&package, "license")))
        .collect();
    assert_eq!(refused, Vec::<String>::new());
}

#[test]
fn every_allowed_licence_is_needed() {
    let allowed: BTreeSet<_> = deny_toml("allow = [").iter().map(|line| quoted(line)).collect();
    let licences: Vec<_> = packages().map(|package| text(&package, "license").to_owned()).collect();
    for licence in &allowed {
        let mut fewer = allowed.clone();
        fewer.remove(licence);
        assert!(licences.iter().any(|l| !is_allowed(l, &fewer)), "{licence} is not needed");
    }
}

#[test]
fn banned_packages_are_absent_and_single_ones_single() {
    let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
    for package in packages() {
        let version = text(&package, "version").to_owned();
        versions.entry(text(&package, "name").to_owned()).or_default().insert(version);
    }
    let rules = deny_toml("deny = [");
    assert!(rules.len() > 5, "deny.toml was not read: {rules:?}");
    for rule in rules {
        let most = usize::from(rule.contains("deny-multiple-versions = true"));
        let name = quoted(&rule);
        let found = versions.get(&name).map_or(0, BTreeSet::len);
        assert!(found <= most, "{name}: {found} versions where {most} are allowed");
    }
}

#[test]
fn all_packages_come_from_crates_io() {
    let source = "registry+https://github.com/rust-lang/crates.io-index";
    for package in packages().filter(|package| !package["source"].is_null()) {
        assert_eq!(text(&package, "source"), source, "{}", text(&package, "name"));
    }
}

#[test]
fn the_lower_crates_know_no_network() {
    let metadata = metadata();
    for member in ["farcall-udf", "farcall-planner"] {
        let reached = reached(&metadata, member);
        assert!(reached.contains("datafusion-common"), "the graph of {member} was not read");
        let network: Vec<_> = NETWORK.iter().filter(|name| reached.contains(**name)).collect();
        assert!(network.is_empty(), "{member} depends on {network:?}");
    }
}

#[test]
fn members_import_only_what_the_table_allows() {
    let members = members(&metadata());
    let names: BTreeSet<&str> = members.iter().map(|member| text(member, "name")).collect();
    for member in &members {
        let name = text(member, "name");
        let imported: Vec<&str> =
            dependencies(member, |_| true).into_iter().filter(|of| names.contains(of)).collect();
        let nobody_free = imported.iter().all(|of| !FREE.contains(of));
        assert!(nobody_free, "{name} imports one of {FREE:?}: {imported:?}");
        if FREE.contains(&name) {
            continue;
        }
        let line = IMPORTS.iter().find(|(of, _)| *of == name);
        let Some((_, allowed)) = line else { panic!("{name} is missing from the table") };
        let refused: Vec<_> = imported.iter().filter(|of| !allowed.contains(of)).collect();
        assert!(refused.is_empty(), "{name} imports {refused:?}, allowed are {allowed:?}");
    }
    let lines = IMPORTS.iter().flat_map(|(name, allowed)| [name].into_iter().chain(*allowed));
    for name in lines.chain(&FREE) {
        assert!(names.contains(name), "the table names {name}, which is no member");
    }
}

#[test]
fn farcall_without_features_knows_no_network_and_no_program() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "-p", "farcall", "--no-default-features"])
        .args(["-e", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    let packages = String::from_utf8(tree.stdout).unwrap();
    let packages: BTreeSet<&str> =
        packages.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(packages.contains("datafusion"), "{packages:?}");
    for refused in [
        "reqwest",
        "hyper",
        "redis",
        "tokio-postgres",
        "axum",
        "rustyline",
        "clap",
        "indicatif",
        "vader-sentimental",
    ] {
        assert!(!packages.contains(refused), "farcall without features depends on {refused}");
    }
}

#[test]
fn the_table_of_imports_runs_one_way() {
    for (place, (name, allowed)) in IMPORTS.iter().enumerate() {
        for of in *allowed {
            let earlier = IMPORTS[..place].iter().any(|(earlier, _)| earlier == of);
            assert!(earlier, "{name} may import {of}, which stands no earlier in the table");
        }
    }
}

#[test]
fn the_lower_crates_depend_on_these_packages_and_no_others() {
    let members = members(&metadata());
    for (name, expected) in DIRECT {
        let member = members.iter().find(|member| text(member, "name") == name).unwrap();
        let direct = dependencies(member, |kind| kind.is_null());
        assert_eq!(direct, BTreeSet::from_iter(expected.iter().copied()), "{name}");
    }
}

#[test]
fn the_planner_names_no_runtime_and_no_physical_crate() {
    let package = packages().find(|package| text(package, "name") == "farcall-planner").unwrap();
    let direct = dependencies(&package, |kind| kind.is_null());
    assert!(direct.contains("farcall-udf"), "{direct:?}");
    let refused = |name: &&&str| {
        matches!(**name, "datafusion" | "datafusion-execution" | "tokio" | "tokio-util")
            || name.contains("physical")
    };
    assert_eq!(direct.iter().filter(refused).collect::<Vec<_>>(), Vec::<&&str>::new());
}

/// Says whether a licence expression can be satisfied; `/` is an old way to write OR.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = expression.split_whitespace().peekable();
    either(&mut words, allowed)
}

type Words<'a, 'b> = &'b mut std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: Words<'_, '_>, allowed: &BTreeSet<String>) -> bool {
    let mut satisfied = both(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        satisfied |= both(words, allowed);
    }
    satisfied
}

fn both(words: Words<'_, '_>, allowed: &BTreeSet<String>) -> bool {
    let mut satisfied = licence(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        satisfied &= licence(words, allowed);
    }
    satisfied
}

fn licence(words: Words<'_, '_>, allowed: &BTreeSet<String>) -> bool {
    match words.next() {
        Some("(") => {
            let satisfied = either(words, allowed);
            assert_eq!(words.next(), Some(")"));
            satisfied
        }
        Some(name) if words.next_if_eq(&"WITH").is_some() => {
            allowed.contains(&format!("{name} WITH {}", words.next().unwrap_or_default()))
        }
        Some(name) => allowed.contains(name),
        None => false,
    }
}

/// Returns the lines of a list of `deny.toml` without its comments.
fn deny_toml(list: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let lines = text.lines().map(str::trim).skip_while(|line| *line != list).skip(1);
    let lines = lines.take_while(|line| *line != "]").filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

fn quoted(line: &str) -> String {
    line.split('"').nth(1).unwrap_or_else(|| panic!("no quoted word in {line}")).to_owned()
}

/// Returns the names of what a package depends on directly, of the kinds that are wanted: null for
/// an ordinary one, "dev" and "build".
fn dependencies(package: &Value, wanted: impl Fn(&Value) -> bool) -> BTreeSet<&str> {
    let direct = package["dependencies"].as_array().unwrap().iter();
    direct.filter(|one| wanted(&one["kind"])).map(|one| text(one, "name")).collect()
}

/// Returns the names of all packages that a member needs, tests and build scripts aside.
fn reached(metadata: &Value, member: &str) -> BTreeSet<String> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let nodes: BTreeMap<_, _> = nodes.iter().map(|node| (text(node, "id"), node)).collect();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeMap<_, _> = packages.iter().map(|p| (text(p, "id"), text(p, "name"))).collect();
    let (start, _) = names.iter().find(|(_, name)| **name == member).unwrap();
    let (mut waiting, mut seen) = (vec![*start], BTreeSet::new());
    while let Some(id) = waiting.pop() {
        if seen.insert(id) {
            let needed = nodes[id]["deps"].as_array().unwrap().iter().filter(|dep| {
                dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null())
            });
            waiting.extend(needed.map(|dep| text(dep, "pkg")));
        }
    }
    seen.into_iter().map(|id| names[id].to_owned()).collect()
}

fn packages() -> impl Iterator<Item = Value> {
    let Value::Array(packages) = metadata()["packages"].take() else { panic!("no packages") };
    packages.into_iter()
}
