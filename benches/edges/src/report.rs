//! Goals and figures, as a table and as JSON.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    quick: bool,
    figures: Vec<Figure>,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Figure {
    figure: String,
    /// Empty where there is none: it is reported.
    goal: String,
    measured: String,
    reached: Option<bool>,
    /// What it is made of.
    details: Value,
}

impl Report {
    pub(crate) fn new(quick: bool) -> Self {
        Self { quick, figures: Vec::new() }
    }

    /// A figure with a goal.
    pub(crate) fn goal(&mut self, figure: &str, goal: &str, measured: String, reached: bool, details: Value) {
        self.add(figure, goal, measured, Some(reached), details);
    }

    /// A figure without one.
    pub(crate) fn note(&mut self, figure: &str, measured: String, details: Value) {
        self.add(figure, "", measured, None, details);
    }

    fn add(&mut self, figure: &str, goal: &str, measured: String, reached: Option<bool>, details: Value) {
        eprintln!("  {figure}: {measured}");
        self.figures.push(Figure { figure: figure.to_owned(), goal: goal.to_owned(), measured, reached, details });
    }

    pub(crate) fn all_reached(&self) -> bool {
        self.figures.iter().all(|figure| figure.reached != Some(false))
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = "| figure | goal | measured | reached |\n|---|---|---|---|".to_owned();
        for Figure { figure, goal, measured, reached, .. } in &self.figures {
            let reached = match reached {
                Some(true) => "yes",
                Some(false) => "no",
                None => "",
            };
            let goal = if goal.is_empty() { "reported" } else { goal };
            // Writing to a string cannot fail.
            let _written = write!(text, "\n| {figure} | {goal} | {measured} | {reached} |");
        }
        text
    }
}
