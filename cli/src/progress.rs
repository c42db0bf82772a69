//! [`Progress`], a line on the terminal while a query runs.

use std::io::IsTerminal;
use std::time::Duration;

use datafusion::common::runtime::SpawnedTask;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the line is drawn again.
const TICK: Duration = Duration::from_millis(120);

/// How long a query runs before the line appears; most are done by then.
const DELAY: Duration = Duration::from_millis(400);

/// A line on standard error that counts rows and seconds, if somebody can see it.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    /// Makes the line appear; dropping it keeps the line away.
    appearing: Option<SpawnedTask<()>>,
    rows: u64,
}

impl Progress {
    /// Shows the line, after a while, if standard error is a terminal and `quiet` is not wished.
    pub fn start(quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Progress { bar: None, appearing: None, rows: 0 };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message("running");
        let appears = bar.clone();
        let appearing = SpawnedTask::spawn(async move {
            tokio::time::sleep(DELAY).await;
            appears.set_draw_target(ProgressDrawTarget::stderr());
            appears.enable_steady_tick(TICK);
        });
        Progress { bar: Some(bar), appearing: Some(appearing), rows: 0 }
    }

    /// Counts rows.
    pub fn add_rows(&mut self, rows: usize) {
        self.rows += rows as u64;
        if let Some(bar) = &self.bar {
            let unit = if self.rows == 1 { "row" } else { "rows" };
            bar.set_message(format!("{} {unit}", HumanCount(self.rows)));
        }
    }

    /// Returns the rows counted.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Removes the line, so that results do not run into it.
    pub fn clear(&mut self) {
        drop(self.appearing.take());
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
