//! What compiles the Rust of pages, and what reads their manifests.

use std::path::Path;
use std::process::Command;

use crate::support::root::root;

/// Checks that a page's Rust is a doc test of the library, which compiles and runs it.
pub fn is_a_doc_test(page: &str) -> Result<(), String> {
    let library = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let included = format!("#[doc = include_str!(\"../{page}\")]");
    match library.lines().any(|line| line.trim() == included) {
        true => Ok(()),
        false => Err(format!("src/lib.rs does not run the page's Rust: add {included}")),
    }
}

/// Checks that cargo can read a part of a manifest.
pub fn is_a_manifest(folder: &Path, text: &str) -> Result<(), String> {
    let package = "[package]\nname = \"of-a-page\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n";
    let manifest = folder.join("Cargo.toml");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    std::fs::write(folder.join("src/lib.rs"), "").unwrap();
    std::fs::write(&manifest, format!("{package}{text}")).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["read-manifest", "--offline", "--manifest-path"]).arg(manifest);
    let output = cargo.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
