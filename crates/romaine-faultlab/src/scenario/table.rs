//! Tables for terminals and for markdown.

/// Rows of cells under a heading.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading.
    #[must_use]
    pub fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        (0..columns).map(|column| width(column).unwrap_or(0)).collect()
    }

    /// Columns side by side, with a line under the heading.
    #[must_use]
    pub fn text(&self) -> String {
        let widths = self.widths();
        let mut out = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            out.push('\n');
            if index == 0 {
                let rules = widths.iter().map(|width| "─".repeat(*width));
                out.push_str(&rules.collect::<Vec<_>>().join("  "));
                out.push('\n');
            }
        }
        out
    }

    /// A markdown table.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let cells = row.iter().map(|cell| cell.replace('|', "\\|"));
            out.push_str(&format!("| {} |\n", cells.collect::<Vec<_>>().join(" | ")));
            if index == 0 {
                out.push_str(&format!("|{}\n", "---|".repeat(row.len())));
            }
        }
        out
    }
}

/// A duration in seconds with two decimals, or a dash.
#[must_use]
pub fn seconds(duration: Option<std::time::Duration>) -> String {
    duration.map_or_else(|| "–".into(), |duration| format!("{:.2} s", duration.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_well_on_a_terminal_and_as_markdown() {
        let mut table = Table::new(&["fault", "after"]);
        table.row(vec!["SIGSTOP".into(), "8.51 s".into()]);
        table.row(vec!["–".into(), "a|b".into()]);
        assert_eq!(table.text(), "fault    after\n───────  ──────\nSIGSTOP  8.51 s\n–        a|b\n");
        assert_eq!(table.markdown(), "| fault | after |\n|---|---|\n| SIGSTOP | 8.51 s |\n| – | a\\|b |\n");
    }
}
