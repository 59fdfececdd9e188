//! Progress on a terminal, or as plain lines where there is none.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line of what is being done, with lines of what has happened above it.
#[derive(Debug)]
pub(crate) struct Watch {
    bar: Option<ProgressBar>,
}

impl Watch {
    /// `steps`: how many there will be.
    pub(crate) fn new(steps: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(steps as u64);
            let template = "{spinner:.cyan} [{elapsed_precise}] {bar:12.cyan/dim} {wide_msg}";
            // The template is a constant; a mistake in it would show in the first run.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar }
    }

    /// Something happened.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // A reader that has gone away is no reason to stop.
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    /// Something is being done; only a terminal shows it.
    pub(crate) fn doing(&self, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        }
    }

    /// So many steps are done.
    pub(crate) fn done(&self, steps: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(steps as u64);
        }
    }

    /// Nothing more will happen.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
