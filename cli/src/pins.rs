//! [`Pins`], what a script wants to see pinned beside a statement's result.

use datafusion::common::exec_err;
use datafusion::error::Result;

use farcall::plans::{PlannedRun, SnapshotOptions};

/// The comment that asks for pins, before their names.
const PIN_COMMENT: &str = "pin:";

/// The plans and the calls that are written below a statement's result.
///
/// A comment before the statement names them: `-- pin: plan, calls`, where `plan` stands for
/// `logical_plan, physical_plan`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pins {
    logical_plan: bool,
    physical_plan: bool,
    calls: bool,
}

impl Pins {
    /// Reads the comments before a statement.
    ///
    /// # Errors
    /// An execution error for a name that is none.
    pub fn of<'a>(comments: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut pins = Self::default();
        let lists = comments.filter_map(|comment| comment.strip_prefix(PIN_COMMENT));
        for name in lists.flat_map(|list| list.split(',')).map(str::trim) {
            match name {
                "plan" => (pins.logical_plan, pins.physical_plan) = (true, true),
                "logical_plan" => pins.logical_plan = true,
                "physical_plan" => pins.physical_plan = true,
                "calls" => pins.calls = true,
                name => {
                    return exec_err!(
                        "'{name}' cannot be pinned, write plan, logical_plan, physical_plan or calls"
                    );
                }
            }
        }
        Ok(pins)
    }

    /// Says whether nothing is asked for.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Returns how the statement is to be planned.
    pub fn options(self) -> SnapshotOptions {
        SnapshotOptions::new().with_logical(self.logical_plan).with_physical(self.physical_plan)
    }

    /// Writes what is asked for.
    pub fn text(self, run: &PlannedRun) -> String {
        let calls = if self.calls { format!("calls: {}\n", run.calls()) } else { String::new() };
        format!("{}{calls}", run.snapshot().sections())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_read_together_and_others_are_ignored() {
        let pins = Pins::of(["Why it matters.", "pin: plan", "pin:calls"].into_iter()).unwrap();
        assert_eq!(pins, Pins { logical_plan: true, physical_plan: true, calls: true });
        let pins = Pins::of(["pin: physical_plan , calls"].into_iter()).unwrap();
        assert_eq!(pins, Pins { logical_plan: false, physical_plan: true, calls: true });
        assert!(Pins::of(["error: plan"].into_iter()).unwrap().is_empty());
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        for comment in ["pin: plans", "pin:", "pin: calls,"] {
            let error = Pins::of([comment].into_iter()).unwrap_err().to_string();
            assert!(error.contains("cannot be pinned") && error.contains("physical_plan"));
        }
    }
}
