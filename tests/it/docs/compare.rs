//! A result against what a page shows of it.

/// What stands for anything: in a line for any text, as a line for any number of lines.
const ANYTHING: &str = "..";

/// Compares a result with what a page shows, blanks at the ends of lines aside.
pub fn compare(shown: &str, got: &str) -> Result<(), String> {
    let [shown, got] = [shown, got].map(|text| text.lines().map(str::trim_end).collect::<Vec<_>>());
    let shows_nothing = shown.iter().all(|line| line.trim() == ANYTHING);
    match !shows_nothing && are_lines_like(&shown, &got) {
        true => Ok(()),
        false => {
            let [shown, got] = [shown.join("\n"), got.join("\n")];
            Err(format!("the page shows\n\n{shown}\n\nbut the result is\n\n{got}\n"))
        }
    }
}

fn are_lines_like(shown: &[&str], got: &[&str]) -> bool {
    match (shown, got) {
        ([], got) => got.is_empty(),
        ([first, rest @ ..], got) if first.trim() == ANYTHING => {
            (0..=got.len()).any(|skipped| are_lines_like(rest, &got[skipped..]))
        }
        ([shown, rest @ ..], [got, others @ ..]) => {
            is_like(shown, got) && are_lines_like(rest, others)
        }
        (_, []) => false,
    }
}

fn is_like(shown: &str, got: &str) -> bool {
    let Some((before, rest)) = shown.split_once(ANYTHING) else { return shown == got };
    let Some(got) = got.strip_prefix(before) else { return false };
    let mut ends = got.char_indices().map(|(at, _)| at).chain([got.len()]);
    ends.any(|at| is_like(rest, &got[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_points_stand_for_anything_and_nothing_else_does() {
        for (shown, got, same) in [
            ("a\nb  \n", "a\nb", true),
            ("a\n..\nd", "a\nb\nc\nd", true),
            ("..\na", "a", true),
            ("..\na\n..", "a", true),
            ("x=.., y=1, z=..", "x=7, y=1, z=é", true),
            ("a", "a\nb", false),
            ("a\n..\nd", "a\nd\ne", false),
            ("x=.., y=1", "x=7, y=2", false),
            ("a", "A", false),
            ("..", "a", false),
            ("", "", false),
        ] {
            assert_eq!(compare(shown, got).is_ok(), same, "{shown:?} and {got:?}");
        }
    }
}
