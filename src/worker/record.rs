//! The record of a name in the log. The statistics of the worker before and after tell what became of the name.

use super::{Task, Worker};
use crate::context::Context;
use crate::dir::Dir;
use crate::options::Action;
use crate::report::Stats;
use crate::report::log::{self, Before, Differences, Moved, NameAction, NameFailures, PathParts, Record};
use crate::sys::{Kind, Stat};
use crate::transfer::{Account, nanoseconds};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Held lines are written when the last write is this long ago, so that readers can follow a slow copy.
const MOST_DELAY: Duration = Duration::from_millis(100);

/// The lines that a worker holds back, and facts about the current name.
#[derive(Default)]
pub(super) struct Recorder {
    lines: Vec<u8>,
    items: Vec<u8>,
    /// Whether each line is written at once: to a terminal, or among those of `-v`.
    is_at_once: bool,
    /// The end of the name after which lines were last written.
    written: Option<Instant>,
    paths: DirectoryPaths,
    name: Name,
}

impl Recorder {
    pub(super) fn of(ctx: &Context, account: &mut Account) -> Recorder {
        if ctx.events.records() {
            account.note_step_downs();
        }
        let is_at_once = ctx.options.itemize && (ctx.options.verbose || std::io::stdout().is_terminal());
        Recorder { is_at_once, ..Recorder::default() }
    }
}

/// The paths of the directory whose names are being copied, each with a slash at its end.
#[derive(Default)]
struct DirectoryPaths {
    dir: Weak<Dir>,
    source: Vec<u8>,
    destination: Vec<u8>,
}

impl DirectoryPaths {
    fn of<'p>(&'p mut self, task: &'p Task<'_>) -> (PathParts<'p>, PathParts<'p>) {
        let with_slash = |path: OsString| {
            let mut path = path.into_vec();
            if !path.is_empty() && !path.ends_with(b"/") {
                path.push(b'/');
            }
            path
        };
        if self.dir.as_ptr() != Arc::as_ptr(task.dir) {
            self.dir = Arc::downgrade(task.dir);
            self.source = with_slash(task.dir.source_path(OsStr::new("")));
            self.destination = with_slash(task.dir.destination_path(OsStr::new("")));
        }
        let source = PathParts::new(&self.source, &task.entry.name);
        (source, PathParts::new(&self.destination, task.entry.destination()))
    }
}

/// Facts about a name that the worker learns on the way.
#[derive(Clone, Copy, Default)]
struct Name {
    kind: Option<Kind>,
    /// `None` for a new destination.
    differences: Option<Differences>,
    why: Option<&'static str>,
}

pub(super) enum Measure {
    Running(Instant, Before),
    Ended(Measured),
}

pub(super) struct Measured {
    moved: Moved,
    start: Instant,
    end: Instant,
}

impl Measure {
    fn end(self, account: &mut Account) -> Measured {
        match self {
            Measure::Running(start, before) => {
                Measured { moved: before.until(account), start, end: Instant::now() }
            }
            Measure::Ended(measured) => measured,
        }
    }
}

/// Returns the counts of names that tell the outcomes apart.
fn counts(stats: &Stats) -> [u64; 6] {
    [stats.files, stats.complete, stats.skipped, stats.symlinks, stats.special, stats.hard_links]
}

impl Worker<'_> {
    /// Starts to measure a name. Returns `None` if there is no log.
    pub(super) fn measure(&self) -> Option<Measure> {
        let measure = || Measure::Running(Instant::now(), Before::of(&self.stats.account));
        self.ctx.events.records().then(measure)
    }

    /// Ends the measurement. The record is written later.
    pub(super) fn measured(&mut self, measure: Measure) -> Measure {
        Measure::Ended(measure.end(&mut self.stats.account))
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
        let record = Record {
            action,
            why,
            dry_run: self.ctx.options.dry_run,
            kind: name.kind,
            differences: name.differences.unwrap_or_default(),
            failure: failures.first.as_deref(),
            ..Record::default()
        };
        self.write_record(task, measure, record);
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

    /// Adds the paths and the measurement to a record, and holds its lines.
    fn write_record(&mut self, task: &Task<'_>, measure: Measure, record: Record<'_>) {
        let Measured { moved, start, end } = measure.end(&mut self.stats.account);
        let Recorder { lines, items, is_at_once, written, paths, name: _ } = &mut self.recorder;
        let (source, destination) = paths.of(task);
        let ns = nanoseconds(end - start);
        let record = Record { source: Some(source), destination: Some(destination), moved, ns, ..record };
        if self.ctx.options.itemize {
            record.write_item(items);
        }
        if self.ctx.events.receivers.log.is_some() {
            record.write_json(lines);
        }
        let is_late = end - *written.get_or_insert(start) >= MOST_DELAY;
        if lines.len() + items.len() >= log::HELD || is_late || *is_at_once {
            *written = Some(end);
            self.flush_records();
        }
    }

    /// Writes the lines that are held back.
    pub(super) fn flush_records(&mut self) {
        if let Some(log) = &self.ctx.events.receivers.log {
            log.write(&self.recorder.lines);
            self.recorder.lines.clear();
        }
        if !self.recorder.items.is_empty() {
            self.ctx.events.lines(&self.recorder.items);
            self.recorder.items.clear();
        }
    }

    pub(super) fn note_source(&mut self, source: &Stat) {
        self.recorder.name.kind = Some(source.kind());
    }

    pub(super) fn note_existing(&mut self, source: &Stat, existing: &Stat) {
        let differences = Differences { size: source.size != existing.size, time: source.mtime != existing.mtime };
        self.recorder.name.differences = Some(differences);
    }

    pub(super) fn note_skip(&mut self, why: &'static str) {
        self.recorder.name.why = Some(why);
    }

    /// Logs a step of a file that several processes copy: a range, or the completion of a name (`None`).
    pub(super) fn record_part(
        &mut self,
        task: &Task<'_>,
        measure: Option<Measure>,
        action: NameAction,
        range: Option<Range<u64>>,
    ) {
        let Some(measure) = measure else { return };
        let record = Record { action, range, kind: Some(Kind::RegularFile), ..Record::default() };
        self.write_record(task, measure, record);
    }
}
