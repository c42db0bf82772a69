//! The links of pages lead to files and headings that are there.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::root::root;

use super::blocks::{Page, pages};

#[test]
fn links_between_pages_lead_somewhere() {
    let mut dead = Vec::new();
    let mut count = 0;
    for page in pages() {
        for link in links(&page.text) {
            count += 1;
            if !leads_somewhere(&page, link) {
                dead.push(format!("{}: {link}", page.name));
            }
        }
    }
    assert!(count > 20, "only {count} links were found");
    assert_eq!(dead, Vec::<String>::new());
}

/// Returns what stands in the parentheses of links to other places than the web.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    links.map(|(link, _)| link).filter(|link| !link.contains("://"))
}

fn leads_somewhere(page: &Page, link: &str) -> bool {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let folder = root().join(&page.name).parent().unwrap().to_owned();
    let target = if file.is_empty() { root().join(&page.name) } else { folder.join(file) };
    target.exists() && (heading.is_empty() || headings(&target).contains(heading))
}

/// Returns the anchors of a page's headings, as GitHub makes them.
fn headings(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().chars().filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        });
        kept.collect()
    };
    headings.map(anchor).collect()
}
