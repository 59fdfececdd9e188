//! A survey as a page of markdown.

use super::fault::Class;
use super::report::{Grade, Outcome};
use super::summary::{Entry, Spread, Summary};
use super::survey::{NOT_MEASURED, Sitting, Survey, config_name};
use crate::scenario::table::Table;

impl Survey {
    /// The page: a table for each class of faults, all figures below it, and what the tables have no room for. `logs` is
    /// where the logs are, seen from the page; `picture` where the heat map is.
    #[must_use]
    pub fn markdown(&self, logs: Option<&str>, picture: Option<&str>) -> String {
        let mut out = self.head(picture);
        for class in Class::ALL {
            let cells: Vec<_> = self.cells().into_iter().filter(|cell| cell.fault.class() == class).collect();
            if cells.is_empty() {
                continue;
            }
            let entries: Vec<_> = self.entries.iter().filter(|entry| cells.contains(&entry.cell)).collect();
            let shown: Vec<_> = entries.iter().copied().filter(|entry| !self.is_missing(&entry.client)).collect();
            out.push_str(&format!("\n## {}\n\n", class.title()));
            out.push_str(&self.overview(class).markdown());
            out.push_str("\n<details><summary>All figures</summary>\n\n");
            out.push_str(&figures(&shown, logs).markdown());
            out.push_str("\n</details>\n");
            out.push_str(&self.notes(&shown));
        }
        out
    }

    fn is_missing(&self, client: &str) -> bool {
        self.clients.iter().any(|who| who.name == client && who.missing.is_some())
    }

    fn head(&self, picture: Option<&str>) -> String {
        let mut out = format!("# The fault matrix of {}\n\n", self.date());
        for sitting in &self.sittings {
            let Sitting { command, revision, date, .. } = sitting;
            out.push_str(&format!("    {command}  # {date}, revision {revision}\n"));
        }
        let took: f64 = self.sittings.iter().map(|sitting| sitting.took_s).sum();
        out.push_str(&format!(
            "\n{}; {}; {:?} scale; runs of every cell: {}, the median shown, and the worst in brackets where it differs; \
             {:.0} min in all.\n\n",
            self.machines(),
            self.server,
            self.scale,
            self.runs_in_words(),
            took / 60.0
        ));
        if let Some(words) = self.what_is_not_measured() {
            out.push_str(&format!("**{words}**\n\n"));
        }
        if let Some(picture) = picture {
            out.push_str(&format!("![The heat map: faults by clients]({picture})\n\n"));
        }
        let mut table = Table::new(&["client", "version", "language", ""]);
        for who in &self.clients {
            let missing = who.missing.as_ref().map_or_else(String::new, |why| format!("not measured: {why}"));
            table.row(vec![who.name.clone(), who.version.clone(), who.language.clone(), missing]);
        }
        out.push_str(&table.markdown());
        out.push_str(&format!(
            "\nEach client runs in a process of its own, under the same server, load and fault; the lab's clock stamps what \
             it sees. *default* is the client as its own first example makes it, *best* its documented best for noticing \
             dead peers. The promises are romaine's: it is held to its word of each connection and of each thing that may \
             be lost. Of the others a connection counts as noticed also when the kernel knows that it is dead (its next user \
             fails at once) or when they dial anew; and a loss as told also when they told of the outage, or the call that \
             waited ended in an error.\n\n\
             A cell reads: one word, then *noticed after* / *usable again after*, in seconds. Noticed counts from the \
             fault's begin, usable from its end; a client that does not tell of its connections notices with the first call \
             that fails. A dash: it noticed nothing, or there was nothing to notice. The words, best first: {}.\n",
            Grade::ALL.map(meaning).join("; ")
        ));
        out
    }

    /// That it was stopped before its end, and what is missing for it.
    fn what_is_not_measured(&self) -> Option<String> {
        let is_missing = |entry: &&Entry| entry.reason() == Some(NOT_MEASURED);
        let missing = self.entries.iter().filter(is_missing).count();
        let done = self.sittings.last()?.stopped_after;
        match (missing, done) {
            (0, None) => None,
            (0, Some(done)) => {
                Some(format!("It was stopped after {done} runs of cells: some were measured less often."))
            }
            (1, _) => Some("It was stopped before its end: one cell was not measured.".to_owned()),
            (_, _) => Some(format!("It was stopped before its end: {missing} cells were not measured.")),
        }
    }

    /// Rows are cells, columns are clients.
    fn overview(&self, class: Class) -> Table {
        let columns = self.columns();
        let mut heading = vec!["fault".to_owned(), "under".to_owned()];
        heading.extend(columns.iter().map(|(who, config)| format!("{} {}", who.name, config_name(*config))));
        let mut table = Table::new(&heading.iter().map(String::as_str).collect::<Vec<_>>());
        for cell in self.cells().into_iter().filter(|cell| cell.fault.class() == class) {
            let mut row = vec![format!("{} {}", cell.fault, cell.title()), cell.under.name().to_owned()];
            for (who, config) in &columns {
                let entry = self.entry(&who.name, *config, cell);
                row.push(entry.map_or_else(String::new, in_short));
            }
            table.row(row);
        }
        table
    }

    /// How things were measured, why they were not, and which promises were broken.
    fn notes(&self, entries: &[&Entry]) -> String {
        let mut notes = how_measured(entries);
        let mut add = |note: String| {
            if !notes.contains(&note) {
                notes.push(note);
            }
        };
        for entry in entries {
            let name = format!("{} {}, {}", entry.client, config_name(entry.config), entry.cell);
            for run in &entry.runs {
                match &run.outcome {
                    Outcome::Failed(error) => add(format!("{name}: FAILED: {}", one_line(error))),
                    Outcome::Skipped(reason) => add(format!("{name}: skipped: {}", one_line(reason))),
                    Outcome::Measured(measured) => {
                        if measured.storm.is_some() {
                            add(format!("{name}: {}", measured.note));
                        }
                    }
                }
            }
        }
        if notes.is_empty() { String::new() } else { format!("\n- {}\n", notes.join("\n- ")) }
    }
}

/// What was said of how cells were measured, with the rows of which it was said.
fn how_measured(entries: &[&Entry]) -> Vec<String> {
    let mut said = Vec::<(String, Vec<String>)>::new();
    for entry in entries {
        for measured in entry.runs.iter().filter_map(|run| run.outcome.measured()) {
            if measured.note.is_empty() || measured.storm.is_some() {
                continue;
            }
            let row = entry.cell.row();
            match said.iter_mut().find(|(note, _)| *note == measured.note) {
                Some((_, rows)) if rows.contains(&row) => {}
                Some((_, rows)) => rows.push(row),
                None => said.push((measured.note.clone(), vec![row])),
            }
        }
    }
    said.into_iter().map(|(note, rows)| format!("{}: {note}", rows.join(", "))).collect()
}

fn one_line(text: &str) -> String {
    const LENGTH_MAX: usize = 300;
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LENGTH_MAX).collect()
}

fn meaning(grade: Grade) -> &'static str {
    match grade {
        Grade::Good => "*good* (every promise of ours kept)",
        Grade::Late => {
            "*late* (noticed after more than 10 s, romaine in its best configuration 2 s; usable later than 2 s and the back-off \
             in force; or something else that costs no data)"
        }
        Grade::Misjudges => "**MISJUDGES** (gave up a peer that was alive)",
        Grade::Loses => {
            "**LOSES** (something acknowledged is gone, or came or was executed twice, and nobody was told)"
        }
        Grade::Hangs => {
            "**HANGS** (calls had not returned 70 s after the load's end; or a load did not work again within 25 s of the \
             fault's end, 60 s at full length; or, under F13, it did not begin to work within 40 s)"
        }
        Grade::Crashes => "**CRASHES** (the client's process ended in the middle of its work)",
    }
}

/// A cell of the overview.
fn in_short(entry: &Entry) -> String {
    let Some(summary) = &entry.summary else {
        return if entry.has_failed() { "failed".to_owned() } else { "–".to_owned() };
    };
    let word = match summary.grade {
        Grade::Good | Grade::Late => summary.grade.word().to_owned(),
        Grade::Misjudges | Grade::Loses | Grade::Hangs | Grade::Crashes => {
            format!("**{}**", summary.grade.word().to_uppercase())
        }
    };
    let mut text = format!("{word} {} / {}", times(summary.noticed_s, "–"), times(summary.working_s, "never"));
    let Summary { unannounced, acked_lost, duplicates, never_returned, .. } = summary;
    for (what, count) in [
        ("lost", unannounced),
        ("acknowledged writes lost", acked_lost),
        ("twice", duplicates),
        ("never returned", never_returned),
    ] {
        if count.worst > 0 {
            text.push_str(&format!("; {} {what}", counts(*count)));
        }
    }
    text
}

/// All figures of these entries.
fn figures(entries: &[&Entry], logs: Option<&str>) -> Table {
    let mut table = Table::new(&[
        "fault",
        "under",
        "client",
        "",
        "in a word",
        "detected after, s",
        "usable again, s",
        "never returned",
        "lost",
        "of these unannounced",
        "acknowledged writes lost",
        "duplicates",
        "false verdicts",
        "peak memory",
        "runs",
    ]);
    for entry in entries {
        let Entry { client, config, cell, runs, .. } = entry;
        let mut row = vec![cell.row(), cell.under.name().to_owned(), client.clone(), config_name(*config).to_owned()];
        match &entry.summary {
            None => {
                row.push(entry.reason().map_or_else(String::new, |reason| one_line(reason).chars().take(80).collect()));
            }
            Some(summary) => row.extend([
                summary.grade.word().to_owned(),
                times(summary.noticed_s, "–"),
                times(summary.working_s, "never"),
                counts(summary.never_returned),
                counts(summary.lost),
                counts(summary.unannounced),
                counts(summary.acked_lost),
                counts(summary.duplicates),
                counts(summary.false_verdicts),
                summary.peak_memory.map_or_else(|| "–".to_owned(), |bytes| format!("{} MiB", bytes >> 20)),
            ]),
        }
        row.resize(14, String::new());
        let link = |(number, run): (usize, &super::summary::Run)| match (&run.log, logs) {
            (Some(log), Some(logs)) => format!("[{number}]({logs}/{log})"),
            _ => number.to_string(),
        };
        row.push((1..).zip(runs).map(link).collect::<Vec<_>>().join(" "));
        table.row(row);
    }
    table
}

/// The median, and the worst where it differs visibly.
pub(super) fn times(times: Spread<Option<f64>>, never: &str) -> String {
    let of = |time: Option<f64>| time.map_or_else(|| never.to_owned(), |time| format!("{time:.1}"));
    let (median, worst) = (of(times.median), of(times.worst));
    if median == worst { median } else { format!("{median} ({worst})") }
}

pub(super) fn counts(counts: Spread<u64>) -> String {
    let Spread { median, worst } = counts;
    if median == worst { median.to_string() } else { format!("{median} ({worst})") }
}
