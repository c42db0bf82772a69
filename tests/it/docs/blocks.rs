//! [`Page`], a page of the documentation, and the fenced blocks in it.

use std::fs;

use crate::support::root::root;

/// A page by its path below the repository, and its text.
pub struct Page {
    pub name: String,
    pub text: String,
}

/// What a block is written in; anything else has no check and is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// Run in the page's session, or written to the file that is named behind the word `sql`.
    Sql,
    /// Run by bash.
    Sh,
    /// A doc test of the library.
    Rust,
    /// What went over the wire.
    Json,
    /// A part of a manifest.
    Toml,
}

/// The language of a block that shows what the block before it gives.
const RESULT: &str = "text";

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// Where it begins, counted from 1.
    pub line: usize,
    pub language: Language,
    /// The file that a block of SQL is written to, for the commands behind it.
    pub file: Option<String>,
    pub text: String,
    /// What a page shows right behind the block.
    pub shown: Option<String>,
}

/// Reads README and the pages in `docs/`.
pub fn pages() -> Vec<Page> {
    let root = root();
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut paths: Vec<_> = docs.chain([root.join("README.md")]).collect();
    paths.sort();
    let page = |path: &std::path::PathBuf| Page {
        name: path.strip_prefix(root).unwrap().display().to_string(),
        text: fs::read_to_string(path).unwrap(),
    };
    paths.iter().map(page).collect()
}

impl Page {
    /// Returns the blocks in their order, or what is wrong with one of them.
    pub fn blocks(&self) -> Result<Vec<Block>, String> {
        let mut blocks: Vec<Block> = Vec::new();
        // Whether only blank lines stand between the last block and here.
        let mut right_behind = false;
        let mut lines = self.text.lines().zip(1..);
        while let Some((line, number)) = lines.next() {
            let bad = |message: &str| Err(format!("{}:{number}: {message}", self.name));
            let indent = line.len() - line.trim_start().len();
            let Some(info) = line.trim_start().strip_prefix("```") else {
                if line.trim_start().starts_with("~~~") || line.starts_with("    ") {
                    return bad("a block is not fenced by ```: say what it is written in");
                }
                right_behind &= line.trim().is_empty();
                continue;
            };
            let mut text = String::new();
            loop {
                match lines.next() {
                    None => return bad("the block has no end"),
                    Some((line, _)) if line.trim() == "```" => break,
                    Some((line, _)) => {
                        text.push_str(line.get(indent..).unwrap_or_default());
                        text.push('\n');
                    }
                }
            }
            let (language, file) = match info.trim().split_once(' ') {
                Some((language, file)) => (language, Some(file.trim().to_owned())),
                None => (info.trim(), None),
            };
            let language = match language {
                "sql" => Language::Sql,
                "sh" => Language::Sh,
                "rust" => Language::Rust,
                "json" => Language::Json,
                "toml" => Language::Toml,
                RESULT => match blocks.last_mut() {
                    Some(Block { language: Language::Sql | Language::Sh, shown, .. })
                        if right_behind && shown.is_none() =>
                    {
                        *shown = Some(text);
                        continue;
                    }
                    _ => return bad("a block of text shows no result of a block right before it"),
                },
                "" => return bad("the block names no language"),
                other => return bad(&format!("nothing checks a block of '{other}'")),
            };
            if file.is_some() && language != Language::Sql {
                return bad("only a block of SQL is written to a file");
            }
            right_behind = true;
            blocks.push(Block { line: number, language, file, text, shown: None });
        }
        for (block, later) in blocks.iter().zip((1..).map(|next| &blocks[next..])) {
            let Some(file) = &block.file else { continue };
            if !later
                .iter()
                .any(|block| block.language == Language::Sh && block.text.contains(file))
            {
                return Err(format!("{}:{}: no command runs {file}", self.name, block.line));
            }
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_belongs_to_the_block_right_before_it() {
        let blocks =
            blocks("```sql\nSELECT 1\n```\n\n```text\n1\n```\nand\n```sh\nls\n```").unwrap();
        assert_eq!(blocks[0].shown.as_deref(), Some("1\n"));
        assert_eq!((blocks[1].line, blocks[1].shown.as_deref()), (9, None));
    }

    #[test]
    fn a_block_in_a_list_loses_its_indentation() {
        let blocks = blocks("* so:\n  ```sql\n  SELECT\n    1\n  ```").unwrap();
        assert_eq!(blocks[0].text, "SELECT\n  1\n");
    }

    #[test]
    fn a_block_for_a_file_is_run_by_a_command() {
        let block = "```sql f.sql\nSELECT 1\n```\n";
        let blocks_of = |more: &str| blocks(&format!("{block}{more}"));
        let run = blocks_of("```sh\nfarcall f.sql\n```").unwrap();
        assert_eq!(run[0].file.as_deref(), Some("f.sql"));
        for not_run in ["", "```sh\nfarcall g.sql\n```", "```sql\nSELECT 'f.sql'\n```"] {
            assert_eq!(blocks_of(not_run).unwrap_err(), "p.md:1: no command runs f.sql");
        }
    }

    #[test]
    fn a_block_that_nothing_checks_is_refused() {
        for (text, message) in [
            ("```\nSELECT 1\n```", "p.md:1: the block names no language"),
            ("\n```console\n$ ls\n```", "p.md:2: nothing checks a block of 'console'"),
            ("```rust,ignore\n```", "nothing checks a block of 'rust,ignore'"),
            ("```text\nbox\n```", "shows no result"),
            ("```sql\n1\n```\ngives\n```text\n1\n```", "p.md:5: a block of text shows no result"),
            ("```rust\n1\n```\n```text\n1\n```", "p.md:4: a block of text shows no result"),
            ("~~~sql\nSELECT 1\n~~~", "not fenced"),
            ("so:\n\n    SELECT 1\n", "p.md:3: a block is not fenced"),
            ("```sql\nSELECT 1", "the block has no end"),
            ("```sh x.sh\nls\n```", "only a block of SQL is written to a file"),
        ] {
            let error = blocks(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    fn blocks(text: &str) -> Result<Vec<Block>, String> {
        Page { name: "p.md".into(), text: text.into() }.blocks()
    }
}
