//! [`Progress`], a line on the terminal while a query runs.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// How often the line is drawn again.
const TICK: Duration = Duration::from_millis(120);

/// A line on standard error that counts rows and seconds, if somebody can see it.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    rows: u64,
}

impl Progress {
    /// Shows the line if standard error is a terminal and `quiet` is not wished.
    pub fn start(quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Progress { bar: None, rows: 0 };
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message("running");
        bar.enable_steady_tick(TICK);
        Progress { bar: Some(bar), rows: 0 }
    }

    /// Counts rows.
    pub fn add_rows(&mut self, rows: usize) {
        self.rows += rows as u64;
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} rows", HumanCount(self.rows)));
        }
    }

    /// Returns the rows counted.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Removes the line, so that results do not run into it.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
