//! The record of a name in the log. The statistics of the worker before and after tell what became of the name.

use super::{Task, Worker};
use crate::options::Action;
use crate::report::Stats;
use crate::report::log::{self, Before, Differences, Moved, NameAction, NameFailures, Record};
use crate::sys::{Kind, Stat};
use crate::transfer::Account;
use std::ops::Range;
use std::time::Instant;

/// The lines that a worker holds back, and facts about the current name.
#[derive(Default)]
pub(super) struct Recorder {
    lines: Vec<u8>,
    name: Name,
}

/// Facts about a name that the worker learns on the way.
#[derive(Clone, Copy, Default)]
struct Name {
    kind: Option<Kind>,
    /// `None` for a new destination.
    differences: Option<Differences>,
    why: Option<&'static str>,
}

/// The measurement of one name.
pub(super) enum Measure {
    /// The name is being copied. On the heap, so that the value stays small if there is no log.
    Running(Instant, Box<Before>),
    /// The bytes moved, and the time in nanoseconds.
    Ended(Moved, u64),
}

impl Measure {
    fn of(self, after: &Account) -> (Moved, u64) {
        match self {
            Measure::Running(start, before) => (before.until(after), nanoseconds(start)),
            Measure::Ended(moved, ns) => (moved, ns),
        }
    }
}

fn nanoseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the counts of names that tell the outcomes apart.
fn counts(stats: &Stats) -> [u64; 6] {
    [stats.files, stats.complete, stats.skipped, stats.symlinks, stats.special, stats.hard_links]
}

impl Worker<'_> {
    /// Starts to measure a name. Returns `None` if there is no log.
    pub(super) fn measure(&self) -> Option<Measure> {
        let measure = || Measure::Running(Instant::now(), Box::new(Before::of(&self.stats.account)));
        self.ctx.reporter.records().then(measure)
    }

    /// Ends the measurement. The record is written later.
    pub(super) fn measured(&self, measure: Measure) -> Measure {
        let (moved, ns) = measure.of(&self.stats.account);
        Measure::Ended(moved, ns)
    }

    /// Runs `work` on a name, and logs the outcome.
    pub(super) fn record(&mut self, task: &Task<'_>, measure: Option<Measure>, work: impl FnOnce(&mut Self)) {
        let Some(measure) = measure else { return work(self) };
        let before = counts(&self.stats);
        // Another name may be made as part of this one. It gets a record of its own.
        let outer =
            (std::mem::take(&mut self.recorder.name), log::collect_failures(Some(NameFailures::default())));
        work(self);
        let name = std::mem::replace(&mut self.recorder.name, outer.0);
        let failures = log::collect_failures(outer.1).unwrap_or_default();
        let Some((action, why)) = self.outcome(&before, &name, &failures) else { return };
        let (moved, ns) = measure.of(&self.stats.account);
        let (source, destination) = (task.source_path(), task.destination_path());
        let record = Record {
            source: Some(&source),
            destination: Some(&destination),
            action,
            why,
            dry_run: self.ctx.options.dry_run,
            range: None,
            kind: name.kind,
            differences: name.differences.unwrap_or_default(),
            moved,
            ns,
            failure: failures.first.as_ref(),
        };
        self.write_record(&record);
    }

    /// Returns the outcome of the current name, or `None` if there is nothing to log, as for a name that was
    /// interrupted. Names that are made together with it, such as links to the same inode, count as hard links,
    /// so those are checked last.
    fn outcome(
        &self,
        before: &[u64; 6],
        name: &Name,
        failures: &NameFailures,
    ) -> Option<(NameAction, Option<&'static str>)> {
        let changed = counts(&self.stats).iter().zip(before).position(|(after, before)| after > before);
        let is_declined = changed == Some(2) && failures.first.is_none();
        if failures.any && !is_declined {
            return Some((NameAction::Failed, None));
        }
        if failures.vanished {
            return Some((NameAction::Skipped, Some(log::VANISHED)));
        }
        let Some(changed) = changed else { return name.why.map(|why| (NameAction::Skipped, Some(why))) };
        Some(match changed {
            0 if name.differences.is_some() => (NameAction::Updated, None),
            0 => (NameAction::Copied, None),
            1 => (NameAction::Skipped, Some("complete")),
            2 if failures.any => (NameAction::Skipped, Some("declined")),
            2 => (NameAction::Skipped, name.why.or(Some("exists"))),
            3 if self.ctx.options.action != Action::SymbolicLink => (NameAction::Made, None),
            4 => (NameAction::Made, None),
            _ => (NameAction::Linked, None),
        })
    }

    fn write_record(&mut self, record: &Record<'_>) {
        if self.ctx.options.itemize
            && let Some(line) = record.itemized()
        {
            self.ctx.reporter.lines(&line);
        }
        if self.ctx.reporter.log().is_none() {
            return;
        }
        record.write_json(&mut self.recorder.lines);
        // Readers that follow the log see a large file as soon as it is done.
        const LONG: u64 = 100_000_000;
        if self.recorder.lines.len() >= log::HELD || record.ns >= LONG {
            self.flush_records();
        }
    }

    /// Writes the lines that are held back.
    pub(super) fn flush_records(&mut self) {
        if let Some(log) = self.ctx.reporter.log() {
            log.write(&self.recorder.lines);
            self.recorder.lines.clear();
        }
    }

    /// Notes the kind of the source.
    pub(super) fn note_source(&mut self, source: &Stat) {
        self.recorder.name.kind = Some(source.kind());
    }

    /// Notes how the source differs from an existing destination.
    pub(super) fn note_existing(&mut self, source: &Stat, existing: &Stat) {
        let differences = Differences { size: source.size != existing.size, time: source.mtime != existing.mtime };
        self.recorder.name.differences = Some(differences);
    }

    /// Notes why the name is skipped.
    pub(super) fn note_skip(&mut self, why: &'static str) {
        self.recorder.name.why = Some(why);
    }

    /// Logs a range of a file that several processes copy, or its completion.
    pub(super) fn record_part(&mut self, task: &Task<'_>, measure: Option<Measure>, part: Part) {
        let Some(measure) = measure else { return };
        let (moved, ns) = measure.of(&self.stats.account);
        let (source, destination) = (task.source_path(), task.destination_path());
        let (action, range) = match part {
            Part::Range(range) => (NameAction::Copied, Some(range)),
            Part::Whole => (NameAction::Copied, None),
            Part::Link => (NameAction::Linked, None),
        };
        let (source, destination) = (Some(source.as_os_str()), Some(destination.as_os_str()));
        let kind = Some(Kind::Regular);
        self.write_record(&Record { source, destination, action, range, kind, moved, ns, ..Record::default() });
    }
}

/// A step of a file that several processes copy.
pub(super) enum Part {
    /// A range was copied.
    Range(Range<u64>),
    /// The file got its attributes and its name.
    Whole,
    /// The file got another name.
    Link,
}
