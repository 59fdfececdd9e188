//! A survey as one picture: faults by clients.

use std::fmt::Write as _;

use super::plan::Cell;
use super::report::Grade;
use super::summary::Entry;
use super::survey::{Survey, config_name};

/// The sizes, in pixels.
const CELL_WIDTH: usize = 92;
const CELL_HEIGHT: usize = 22;
const LABELS: usize = 400;
const HEAD: usize = 104;
const MARGIN: usize = 16;
const FOOT: usize = 92;

/// What a cell looks like: fill and text. From light to dark as things get worse, so that the order shows without colours
/// too; the colours can be told apart by people who see no red or no green.
const fn look(grade: Option<Grade>) -> (&'static str, &'static str) {
    match grade {
        Some(Grade::Good) => ("#dcefee", "#0b3c3a"),
        Some(Grade::Late) => ("#fbe8a6", "#4d3b00"),
        Some(Grade::Misjudges) => ("#f5b971", "#3f2000"),
        Some(Grade::Loses) => ("#dd6f52", "#1d0500"),
        Some(Grade::Hangs) => ("#5c1a4a", "#ffffff"),
        Some(Grade::Crashes) => ("#1c1c1c", "#ffffff"),
        None => ("#ffffff", "#666666"),
    }
}

impl Survey {
    /// The picture, as SVG. Each cell says in text what its colour says.
    #[must_use]
    pub fn heat_map(&self) -> String {
        let (cells, columns) = (self.cells(), self.columns());
        let width = MARGIN * 2 + LABELS + columns.len().max(5) * CELL_WIDTH;
        let height = MARGIN * 2 + HEAD + cells.len() * CELL_HEIGHT + FOOT;
        let mut svg = Svg(String::new());
        let title = format!("The fault matrix of {}: {} faults by {} clients", self.date(), cells.len(), columns.len());
        svg.put(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\" \
             font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"11\">",
            escaped(&title)
        ));
        svg.put(&format!("<title>{}</title>", escaped(&title)));
        svg.put(&format!("<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>"));
        svg.text(MARGIN, MARGIN + 14, "start", "#111111", 16, &format!("The fault matrix, {}", self.day()));
        let under = format!(
            "{}; {}; runs of every cell: {}, the worst shown",
            self.server,
            self.machines(),
            self.runs_in_words()
        );
        svg.text(MARGIN, MARGIN + 34, "start", "#444444", 11, &under);
        self.columns_head(&mut svg);
        for (row, cell) in cells.iter().enumerate() {
            self.row(&mut svg, row, *cell);
        }
        legend(&mut svg, MARGIN + HEAD + cells.len() * CELL_HEIGHT + 24);
        svg.put("</svg>");
        svg.0
    }

    fn day(&self) -> &str {
        self.date().split('T').next().unwrap_or_default()
    }

    /// The clients' names over their configurations.
    fn columns_head(&self, svg: &mut Svg) {
        let columns = self.columns();
        let per_client = self.configs.len().max(1);
        for (place, (who, config)) in columns.iter().enumerate() {
            let x = MARGIN + LABELS + place * CELL_WIDTH;
            if place % per_client == 0 {
                let middle = x + per_client * CELL_WIDTH / 2;
                svg.text(middle, MARGIN + HEAD - 38, "middle", "#111111", 12, &who.name);
                svg.text(middle, MARGIN + HEAD - 24, "middle", "#666666", 10, &who.version);
            }
            svg.text(x + CELL_WIDTH / 2, MARGIN + HEAD - 7, "middle", "#444444", 10, config_name(*config));
        }
    }

    fn row(&self, svg: &mut Svg, row: usize, cell: Cell) {
        let y = MARGIN + HEAD + row * CELL_HEIGHT;
        let begins = row == 0 || self.cells().get(row - 1).is_none_or(|before| before.fault != cell.fault);
        if begins {
            svg.text(MARGIN, y + 15, "start", "#111111", 11, &cell.fault.to_string());
            svg.put(&format!(
                "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#bbbbbb\"/>",
                MARGIN + LABELS
            ));
        }
        svg.text(MARGIN + 32, y + 15, "start", "#222222", 11, &cell.title());
        svg.text(MARGIN + LABELS - 8, y + 15, "end", "#666666", 10, cell.under.name());
        for (place, (who, config)) in self.columns().iter().enumerate() {
            let entry = self.entry(&who.name, *config, cell);
            let (fill, ink) = look(entry.and_then(|entry| entry.summary).map(|summary| summary.grade));
            let x = MARGIN + LABELS + place * CELL_WIDTH;
            let words = entry.map_or_else(String::new, says);
            let tip = format!("{} {}, {cell}: {}", who.name, config_name(*config), words);
            svg.put(&format!(
                "<g><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"2\" fill=\"{fill}\" \
                 stroke=\"#d5d5d5\"/>",
                escaped(&tip),
                x + 1,
                y + 1,
                CELL_WIDTH - 2,
                CELL_HEIGHT - 2
            ));
            svg.text(x + CELL_WIDTH / 2, y + 15, "middle", ink, 10, &words);
            svg.put("</g>");
        }
    }
}

/// What a cell says, in few letters: the worst of its runs.
fn says(entry: &Entry) -> String {
    let Some(summary) = &entry.summary else {
        return if entry.has_failed() { "failed".to_owned() } else { "–".to_owned() };
    };
    let time = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), |time| format!("{time:.1}"));
    let (noticed, working) = (time(summary.noticed_s.worst), time(summary.working_s.worst));
    match summary.grade {
        Grade::Good => format!("{noticed} / {working}"),
        Grade::Late => format!("late {noticed} / {working}"),
        Grade::Misjudges => format!("misjudges {}", summary.false_verdicts.worst),
        Grade::Loses => {
            let lost = summary.unannounced.worst + summary.acked_lost.worst;
            if lost > 0 { format!("loses {lost}") } else { format!("twice {}", summary.duplicates.worst) }
        }
        Grade::Hangs if summary.never_returned.worst > 0 => format!("hangs {}", summary.never_returned.worst),
        Grade::Hangs => "hangs".to_owned(),
        Grade::Crashes => "crashes".to_owned(),
    }
}

fn legend(svg: &mut Svg, y: usize) {
    let words = [
        (Some(Grade::Good), "good: noticed / usable again, s"),
        (Some(Grade::Late), "late, nothing worse"),
        (Some(Grade::Misjudges), "misjudges: living peers left"),
        (Some(Grade::Loses), "loses, or gives twice, untold"),
        (Some(Grade::Hangs), "hangs: calls or loads do not come back"),
        (Some(Grade::Crashes), "crashes: its process ended"),
        (None, "not measured"),
    ];
    for (place, (grade, text)) in words.into_iter().enumerate() {
        let (x, y) = (MARGIN + place % 3 * 290, y + place / 3 * 26);
        let (fill, _) = look(grade);
        svg.put(&format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"26\" height=\"16\" rx=\"2\" fill=\"{fill}\" stroke=\"#999999\"/>"
        ));
        svg.text(x + 34, y + 12, "start", "#222222", 11, text);
    }
}

struct Svg(String);

impl Svg {
    fn put(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn text(&mut self, x: usize, y: usize, anchor: &str, fill: &str, size: usize, text: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.0,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"{fill}\" font-size=\"{size}\">{}</text>",
            escaped(text)
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
