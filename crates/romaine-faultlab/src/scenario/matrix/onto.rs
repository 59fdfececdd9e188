//! A survey in several sittings: what was measured earlier stays, where it was measured in the same way.

use std::path::Path;

use anyhow::Context as _;

use super::plan::{Cell, Selection};
use super::summary::Entry;
use super::survey::{Survey, SurveyPlan, Who, config_place};
use crate::scenario::protocol::Pace;

/// An earlier survey, to which a plan adds.
#[derive(Debug, Clone)]
pub struct Onto {
    /// It. Its cells stay, except those that are measured again.
    pub survey: Survey,
    /// Whether the runs that it has of a cell count towards those that are wanted, and what is missing of these is added
    /// to them. Else cells are measured again, and that counts instead.
    pub only_missing: bool,
}

impl Onto {
    /// How many runs of a cell need not be made.
    pub(super) fn runs(&self, client: &str, config: Pace, cell: Cell) -> usize {
        let known =
            self.survey.entry(client, config, cell).filter(|entry| self.only_missing && entry.summary.is_some());
        known.map_or(0, |entry| entry.runs.len())
    }
}

impl SurveyPlan {
    /// Whether what is about to be measured can stand beside what was.
    ///
    /// # Errors
    ///
    /// What differs: the length of the faults, the server, the kind of machine or its kernel's version, a client's version.
    pub fn fits(&self) -> anyhow::Result<()> {
        let Some(Onto { survey, .. }) = &self.onto else { return Ok(()) };
        let same = |what: &str, then: &str, now: &str| {
            anyhow::ensure!(then == now, "the earlier survey's {what} was {then:?}, and is {now:?} now");
            Ok(())
        };
        same("scale", survey.scale.name(), self.scale.name())?;
        same("server", &survey.server, &super::machine::server())?;
        let here = super::machine::describe();
        for sitting in &survey.sittings {
            same("machine", super::machine::kind(&sitting.machine), super::machine::kind(&here))?;
        }
        for now in self.contestants.iter().filter(|contestant| contestant.missing.is_none()) {
            let then = survey.clients.iter().find(|who| who.name == now.name && who.missing.is_none());
            if let Some(then) = then {
                same(&format!("version of {}", now.name), &then.version, &now.version)?;
            }
        }
        Ok(())
    }
}

impl Survey {
    /// Reads one that was written as JSON.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is none of a survey.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no survey of this version", path.display()))
    }

    /// This one and what an earlier one has beyond it. Where both have a cell, what was measured now counts, or with
    /// `only_missing` all of its runs.
    #[must_use]
    pub(super) fn added_to(self, onto: Onto) -> Self {
        let Onto { survey: earlier, only_missing } = onto;
        let Self { sittings, server, scale, configs, clients, entries } = self;
        let mut all = earlier;
        all.sittings.extend(sittings);
        (all.server, all.scale) = (server, scale);
        all.configs.extend(configs);
        all.configs.sort_by_key(|config| config_place(*config));
        all.configs.dedup();
        for who in clients {
            all.add_client(who);
        }
        for entry in entries {
            all.add_entry(entry, only_missing);
        }
        // Whatever was measured first, a reader finds the same order.
        all.clients.sort_by_key(|who| who.name != "romaine");
        let cells = Selection::default().cells();
        let place = |entry: &Entry| {
            let client = all.clients.iter().position(|who| who.name == entry.client);
            let cell = cells.iter().position(|cell| *cell == entry.cell);
            (client, config_place(entry.config), cell)
        };
        all.entries.sort_by_cached_key(place);
        all
    }

    fn add_client(&mut self, who: Who) {
        match self.clients.iter_mut().find(|known| known.name == who.name) {
            // What there was stays, also if it could not be started today.
            Some(known) if known.missing.is_none() => {}
            Some(known) => *known = who,
            None => self.clients.push(who),
        }
    }

    fn add_entry(&mut self, mut entry: Entry, adds_runs: bool) {
        let same =
            |known: &&mut Entry| (&known.client, known.config, known.cell) == (&entry.client, entry.config, entry.cell);
        match self.entries.iter_mut().find(same) {
            Some(known) if entry.summary.is_none() && known.summary.is_some() => {}
            Some(known) if adds_runs && known.summary.is_some() => {
                let mut runs = std::mem::take(&mut known.runs);
                runs.append(&mut entry.runs);
                *known = Entry::new(entry.client, entry.config, entry.cell, runs);
            }
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }

    /// The fewest and the most runs of a cell that was measured.
    #[must_use]
    pub fn runs(&self) -> (usize, usize) {
        let measured = self.entries.iter().filter(|entry| entry.summary.is_some());
        let runs = measured.map(|entry| entry.runs.len());
        runs.fold(None, |range, runs| match range {
            None => Some((runs, runs)),
            Some((least, most)) => Some((least.min(runs), most.max(runs))),
        })
        .unwrap_or_default()
    }

    pub(super) fn runs_in_words(&self) -> String {
        match self.runs() {
            (least, most) if least == most => most.to_string(),
            (least, most) => format!("{least} to {most}"),
        }
    }

    /// The machines of all sittings, in words.
    #[must_use]
    pub fn machines(&self) -> String {
        let mut machines: Vec<_> = self.sittings.iter().map(|sitting| sitting.machine.as_str()).collect();
        machines.sort_unstable();
        machines.dedup();
        machines.join(" and ")
    }

    /// The date of the last sitting.
    #[must_use]
    pub fn date(&self) -> &str {
        self.sittings.last().map_or("", |sitting| &sitting.date)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::matrix::Scale;

    fn of(names: &[&str]) -> Survey {
        let who =
            |name: &&str| Who { name: (*name).to_owned(), version: "1".into(), language: "Rust".into(), missing: None };
        Survey {
            sittings: Vec::new(),
            server: "a server".into(),
            scale: Scale::Brief,
            configs: vec![Pace::Fast],
            clients: names.iter().map(who).collect(),
            entries: Vec::new(),
        }
    }

    #[test]
    fn romaine_comes_first_whoever_was_measured_first() {
        let onto = Onto { survey: of(&["fred", "jedis"]), only_missing: true };
        let all = of(&["romaine", "ioredis"]).added_to(onto);
        let names: Vec<_> = all.clients.iter().map(|who| who.name.as_str()).collect();
        assert_eq!(names, ["romaine", "fred", "jedis", "ioredis"]);
    }
}
