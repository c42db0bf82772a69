//! The documentation says what the code does.

use farcall::udf::CallOptions;

#[test]
fn the_readme_lists_every_option_with_default_and_meaning() {
    let readme = include_str!("../../README.md");
    let table: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("<!-- The table is compared with the code"))
        .skip_while(|line| !line.starts_with("| option | default |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(table, option_rows());
}

fn option_rows() -> Vec<String> {
    CallOptions::TABLE
        .iter()
        .map(|info| format!("| `{}` | {} | {} |", info.name, info.default, info.description.trim()))
        .collect()
}
