//! The log of a copy: one record for each name. `--log` writes records as JSON, one object a line; `--itemize`
//! prints them for people, in the form of rsync's option of that name.

use super::stats::{failure_json, step_down_json};
use super::{Console, Failure, json, lock, quote};
use crate::sys::Kind;
use crate::sys::interrupted::Bounded;
use crate::transfer::{Account, Reason, Strategy};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};

/// Lines are written when there are this many bytes of them.
pub(crate) const HELD: usize = 64 << 10;

/// Receives a record of each name of a copy, as one JSON object a line (`zcp --log`). Clones write to the same place.
///
/// # Examples
/// ```
/// # let dir = tempfile::tempdir()?;
/// # std::env::set_current_dir(dir.path())?;
/// std::fs::write("a", "1")?;
/// let log = zcp::Log::new(std::fs::File::create("log")?);
/// zcp::CopyOptions::new().log(&log).copy(["a"], "b")?;
/// assert!(log.take_error().is_none());
/// assert!(std::fs::read_to_string("log")?.starts_with(r#"{"action":"copied","source":"a","destination":"b""#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Log(Sink);

#[derive(Clone, Debug)]
enum Sink {
    File(Arc<Mutex<LogFile>>),
    /// Standard output, which gets other lines as well and may lose its reader.
    Console(Console),
}

/// A file, until a write fails.
#[derive(Debug)]
struct LogFile {
    file: File,
    error: Option<std::io::Error>,
    /// The lines of directories, which are written with others.
    held: Vec<u8>,
}

impl LogFile {
    fn write(&mut self, lines: &[u8]) {
        if self.error.is_none() {
            self.error = Bounded(&mut self.file).write_all(lines).err();
        }
    }
}

impl Log {
    /// Writes to `file`, from its current position.
    pub fn new(file: File) -> Log {
        Log(Sink::File(Arc::new(Mutex::new(LogFile { file, error: None, held: Vec::new() }))))
    }

    /// Writes to standard output, between the other lines of `console`. [`Console::finish`] gives the error of a failed
    /// write.
    pub fn on_console(console: &Console) -> Log {
        Log(Sink::Console(console.clone()))
    }

    /// Writes whole lines, and those that were held. After an error nothing more is written.
    pub(crate) fn write(&self, lines: &[u8]) {
        match &self.0 {
            Sink::Console(console) => console.print_now(lines),
            Sink::File(file) => {
                let file = &mut *lock(file);
                let held = std::mem::take(&mut file.held);
                for lines in [held.as_slice(), lines].into_iter().filter(|lines| !lines.is_empty()) {
                    file.write(lines);
                }
            }
        }
    }

    /// Holds whole lines until others are written.
    fn hold(&self, lines: &[u8]) {
        match &self.0 {
            Sink::Console(console) => console.print(lines),
            Sink::File(file) => {
                let file = &mut *lock(file);
                file.held.extend_from_slice(lines);
                if file.held.len() >= HELD {
                    let held = std::mem::take(&mut file.held);
                    file.write(&held);
                }
            }
        }
    }

    /// Takes the error of the first failed write. `None` for a log on a console: [`Console::finish`] reports that.
    pub fn take_error(&self) -> Option<std::io::Error> {
        match &self.0 {
            Sink::File(file) => lock(file).error.take(),
            Sink::Console(_) => None,
        }
    }

    /// Writes the record of a name that no worker copies.
    pub(super) fn write_record(&self, record: &Record<'_>) {
        let mut line = Vec::new();
        record.write_json(&mut line);
        match record.action {
            NameAction::Made => self.hold(&line),
            _ => self.write(&line),
        }
    }
}

/// The failures of the name that a thread copies at the moment.
#[derive(Debug, Default)]
pub(crate) struct NameFailures {
    /// Whether anything failed, even without a message.
    pub any: bool,
    pub first: Option<Box<Failure>>,
    /// Whether the source was gone, which is no failure (`--ignore-vanished`).
    pub vanished: bool,
}

thread_local! {
    static IN_HAND: RefCell<Option<NameFailures>> = const { RefCell::new(None) };
}

/// Replaces the failures of the current name and returns the old ones. With `None`, each failure gets a record
/// of its own.
pub(crate) fn collect_failures(new: Option<NameFailures>) -> Option<NameFailures> {
    IN_HAND.replace(new)
}

/// Adds a failure to the current name. Returns false if there is none.
pub(super) fn add_to_name(failure: Option<&Failure>) -> bool {
    IN_HAND.with_borrow_mut(|in_hand| {
        let Some(failures) = in_hand else { return false };
        failures.any = true;
        if failures.first.is_none() {
            failures.first = failure.cloned().map(Box::new);
        }
        true
    })
}

/// Notes that the current name has vanished. Returns false if there is none.
pub(super) fn name_has_vanished() -> bool {
    IN_HAND.with_borrow_mut(|in_hand| in_hand.as_mut().map(|failures| failures.vanished = true)).is_some()
}

/// The reason for skipping a name that was removed before it could be copied.
pub(crate) const VANISHED: &str = "vanished";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NameAction {
    /// A new file got the content of the source.
    #[default]
    Copied,
    /// An existing file was replaced or overwritten.
    Updated,
    /// A hard link was made, or by `-s` a symbolic link to the source.
    Linked,
    /// A directory, a symbolic link or a special file was made.
    Made,
    /// The destination was left alone.
    Skipped,
    /// Something failed. There may be a copy that lacks content or attributes.
    Failed,
}

impl NameAction {
    fn name(self) -> &'static str {
        match self {
            NameAction::Copied => "copied",
            NameAction::Updated => "updated",
            NameAction::Linked => "linked",
            NameAction::Made => "made",
            NameAction::Skipped => "skipped",
            NameAction::Failed => "failed",
        }
    }
}

/// The properties in which an existing destination differed from its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    pub size: bool,
    pub time: bool,
}

/// The bytes that strategies moved for one name, and the strategies that it left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    bytes: [u64; Strategy::ALL.len()],
    step_downs: Vec<(Strategy, Reason)>,
}

impl Moved {
    fn by_strategy(&self) -> impl Iterator<Item = (Strategy, u64)> {
        Strategy::ALL.into_iter().map(|strategy| (strategy, self.bytes[strategy as usize])).filter(|(_, n)| *n > 0)
    }
}

/// The part of an account that a [`Moved`] is the difference of. It is taken for each name, so it is small.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before {
    bytes: [u64; Strategy::ALL.len()],
    noted: usize,
}

impl Before {
    pub(crate) fn of(account: &Account) -> Before {
        Before { bytes: bytes(account), noted: account.noted() }
    }

    /// Returns the difference to a later state of the account.
    pub(crate) fn until(&self, after: &mut Account) -> Moved {
        let mut moved = Moved { bytes: bytes(after), step_downs: after.take_noted(self.noted) };
        moved.bytes.iter_mut().zip(self.bytes).for_each(|(is, was)| *is -= was);
        moved
    }
}

fn bytes(account: &Account) -> [u64; Strategy::ALL.len()] {
    Strategy::ALL.map(|strategy| account.tally(strategy).bytes)
}

/// A path in two parts: its directory with a slash at the end, if it is known by itself, and the rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathParts<'r> {
    directory: &'r [u8],
    name: &'r [u8],
}

impl<'r> PathParts<'r> {
    /// Takes the directory with a slash at the end, and the name in it.
    pub(crate) fn new(directory: &'r [u8], name: &'r OsStr) -> PathParts<'r> {
        PathParts { directory, name: name.as_bytes() }
    }
}

impl<'r> From<&'r OsStr> for PathParts<'r> {
    fn from(path: &'r OsStr) -> PathParts<'r> {
        PathParts::new(b"", path)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Record<'r> {
    pub source: Option<PathParts<'r>>,
    pub destination: Option<PathParts<'r>>,
    pub action: NameAction,
    /// Whether this is a dry run, so that it is the expected outcome.
    pub dry_run: bool,
    /// The range of the source, if the record is about a part of it.
    pub range: Option<Range<u64>>,
    /// The reason for skipping the name.
    pub why: Option<&'static str>,
    pub kind: Option<Kind>,
    pub differences: Differences,
    pub moved: Moved,
    /// The time that a worker spent on the name, in nanoseconds.
    pub ns: u64,
    pub failure: Option<&'r Failure>,
}

impl Record<'_> {
    pub(crate) fn write_json(&self, line: &mut Vec<u8>) {
        push(line, &["{\"action\":\"", self.action.name(), "\",\"source\":"]);
        push_path(line, self.source);
        push(line, &[",\"destination\":"]);
        push_path(line, self.destination);
        push(line, &[",\"bytes\":"]);
        json::push_number(line, self.moved.bytes.iter().sum());
        push(line, &[",\"ns\":"]);
        json::push_number(line, self.ns);
        if self.dry_run {
            push(line, &[",\"dry_run\":true"]);
        }
        if let Some(range) = &self.range {
            push(line, &[&format!(",\"range\":[{},{}]", range.start, range.end)]);
        }
        if let Some(kind) = self.kind {
            push(line, &[",\"kind\":\"", kind_name(kind), "\""]);
        }
        let mut used = self.moved.by_strategy();
        if let Some(first) = used.next() {
            let rest: Vec<_> = used.collect();
            let most = rest.iter().fold(first, |most, next| if next.1 >= most.1 { *next } else { most });
            push(line, &[",\"strategy\":\"", most.0.name(), "\""]);
            if !rest.is_empty() {
                let strategies: serde_json::Map<_, _> = [first]
                    .into_iter()
                    .chain(rest)
                    .map(|(s, bytes)| (s.name().to_owned(), bytes.into()))
                    .collect();
                push(line, &[",\"strategies\":", &serde_json::Value::from(strategies).to_string()]);
            }
        }
        if !self.moved.step_downs.is_empty() {
            let steps: Vec<_> =
                self.moved.step_downs.iter().map(|(s, reason)| step_down_json(*s, *reason)).collect();
            push(line, &[",\"step_downs\":", &serde_json::Value::from(steps).to_string()]);
        }
        if let Some(why) = self.why {
            push(line, &[",\"why\":\"", why, "\""]);
        }
        if let Some(failure) = self.failure {
            push(line, &[",\"error\":", &failure_json(failure).to_string()]);
        }
        push(line, &["}\n"]);
    }

    /// Appends the line of `--itemize`. A failure has none, because it has a message.
    pub(crate) fn write_item(&self, line: &mut Vec<u8>) {
        let kind = match self.kind {
            Some(Kind::Directory) => "d",
            Some(Kind::Symlink) => "L",
            Some(Kind::BlockDevice | Kind::CharacterDevice) => "D",
            Some(Kind::Fifo | Kind::Socket) => "S",
            _ => "f",
        };
        let size = if self.differences.size { "s" } else { "." };
        let time = if self.differences.time { "t" } else { "." };
        match self.action {
            NameAction::Failed => return,
            NameAction::Copied => push(line, &[">", kind, "+++++++++ "]),
            NameAction::Updated => push(line, &[">", kind, ".", size, time, "...... "]),
            NameAction::Linked => push(line, &["h", kind, "+++++++++ "]),
            NameAction::Made => push(line, &["c", kind, "+++++++++ "]),
            NameAction::Skipped => push(line, &[".", kind, "          "]),
        }
        if let Some(path) = self.destination {
            quote::push_in_line(line, path.directory);
            quote::push_in_line(line, path.name);
        }
        if self.kind == Some(Kind::Directory) {
            push(line, &["/"]);
        }
        if let Some(why) = self.why {
            push(line, &[" (", why, ")"]);
        }
        push(line, &["\n"]);
    }
}

fn push(line: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        line.extend_from_slice(text.as_bytes());
    }
}

fn push_path(line: &mut Vec<u8>, path: Option<PathParts<'_>>) {
    match path {
        Some(path) => json::push_path(line, path.directory, path.name),
        None => push(line, &["null"]),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::RegularFile => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::BlockDevice => "block device",
        Kind::CharacterDevice => "character device",
        _ => "unknown",
    }
}
