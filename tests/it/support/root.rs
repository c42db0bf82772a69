//! [`root`], the folder of the repository, whichever of its packages the tests belong to.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Returns the folder of the `Cargo.toml` that says `[workspace]`, at or above the package's own.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let is_root = |folder: &&Path| {
            let manifest = std::fs::read_to_string(folder.join("Cargo.toml"));
            manifest.is_ok_and(|text| text.lines().any(|line| line.trim() == "[workspace]"))
        };
        match package.ancestors().find(is_root) {
            Some(folder) => folder.to_owned(),
            None => panic!("no [workspace] at or above {}", package.display()),
        }
    })
}
