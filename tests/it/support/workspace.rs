//! The members of the workspace, as cargo tells them: no crate is named here.

use std::process::Command;

use serde_json::Value;

use super::root::root;

/// A library or a program of a member.
#[derive(Debug)]
pub struct Target {
    pub package: String,
    /// As it is imported: `farcall_udf`.
    pub name: String,
    /// The file of its root module, from the root of the repository.
    pub file: String,
    pub is_library: bool,
}

/// Returns the members, each as cargo describes a package.
pub fn members(metadata: &Value) -> Vec<Value> {
    let ids = metadata["workspace_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.filter(|package| ids.contains(&package["id"])).cloned().collect()
}

/// Returns the libraries and programs of all members.
pub fn targets() -> Vec<Target> {
    let mut targets = Vec::new();
    for package in members(&metadata()) {
        for target in package["targets"].as_array().unwrap() {
            let kinds: Vec<&str> =
                target["kind"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let is_library = kinds.contains(&"lib") || kinds.contains(&"cdylib");
            if is_library || kinds.contains(&"bin") {
                let file = std::path::Path::new(text(target, "src_path"));
                targets.push(Target {
                    package: text(&package, "name").to_owned(),
                    name: text(target, "name").replace('-', "_"),
                    file: file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(),
                    is_library,
                });
            }
        }
    }
    targets
}

/// Asks cargo for the packages of this platform, which are the ones that have been downloaded.
pub fn metadata() -> Value {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked", "--offline"]);
    if cfg!(target_os = "linux") {
        command.args(["--filter-platform", &platform]);
    }
    let output = command.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns a text of a value that must have one.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key}"))
}
