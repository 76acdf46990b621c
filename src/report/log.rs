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
use std::sync::{Arc, Mutex};

/// A worker writes its lines when it has this many bytes of them.
pub const HELD: usize = 16 << 10;

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
    /// A file, until a write fails.
    File(Arc<Mutex<(File, Option<std::io::Error>)>>),
    /// Standard output, which gets other lines as well and may lose its reader.
    Console(Console),
}

impl Log {
    /// Writes to `file`, from its current position.
    pub fn new(file: File) -> Log {
        Log(Sink::File(Arc::new(Mutex::new((file, None)))))
    }

    /// Writes to standard output, between the other lines of `console`. [`Console::finish`] gives the error of a failed
    /// write.
    pub fn on_console(console: &Console) -> Log {
        Log(Sink::Console(console.clone()))
    }

    /// Writes whole lines. After an error nothing more is written.
    pub(crate) fn write(&self, lines: &[u8]) {
        match &self.0 {
            _ if lines.is_empty() => {}
            Sink::Console(console) => console.print(lines),
            Sink::File(file) => {
                let (file, error) = &mut *lock(file);
                if error.is_none() {
                    *error = Bounded(file).write_all(lines).err();
                }
            }
        }
    }

    /// Takes the error of the first failed write.
    pub fn take_error(&self) -> Option<std::io::Error> {
        match &self.0 {
            Sink::File(file) => lock(file).1.take(),
            Sink::Console(_) => None,
        }
    }

    pub(super) fn write_record(&self, record: &Record<'_>) {
        let mut line = Vec::new();
        record.write_json(&mut line);
        self.write(&line);
    }
}

/// The failures of the name that a thread copies at the moment.
#[derive(Debug, Default)]
pub struct NameFailures {
    /// Whether anything failed, even without a message.
    pub any: bool,
    /// The first failure with a message.
    pub first: Option<Failure>,
    /// Whether the source was gone, which is no failure (`--ignore-vanished`).
    pub vanished: bool,
}

thread_local! {
    static IN_HAND: RefCell<Option<NameFailures>> = const { RefCell::new(None) };
}

/// Replaces the failures of the current name and returns the old ones. With `None`, each failure gets a record
/// of its own.
pub fn collect_failures(new: Option<NameFailures>) -> Option<NameFailures> {
    IN_HAND.replace(new)
}

/// Adds a failure to the current name. Returns false if there is none.
pub(super) fn add_to_name(failure: Option<&Failure>) -> bool {
    IN_HAND.with_borrow_mut(|in_hand| {
        let Some(failures) = in_hand else { return false };
        failures.any = true;
        if failures.first.is_none() {
            failures.first = failure.cloned();
        }
        true
    })
}

/// Notes that the current name has vanished. Returns false if there is none.
pub(super) fn name_has_vanished() -> bool {
    IN_HAND.with_borrow_mut(|in_hand| in_hand.as_mut().map(|failures| failures.vanished = true)).is_some()
}

/// The reason for skipping a name that was removed before it could be copied.
pub const VANISHED: &str = "vanished";

/// The outcome of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameAction {
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
pub struct Differences {
    /// The number of bytes.
    pub size: bool,
    /// The modification time.
    pub time: bool,
}

/// The bytes that strategies moved for one name, and the strategies that it left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes by strategy, indexed by [`Strategy`].
    bytes: [u64; Strategy::ALL.len()],
    /// The strategies that were left, with the reasons.
    step_downs: Vec<(Strategy, Reason)>,
}

impl Moved {
    /// Returns the strategies that moved bytes, with their bytes.
    fn by_strategy(&self) -> impl Iterator<Item = (Strategy, u64)> {
        Strategy::ALL.into_iter().map(|strategy| (strategy, self.bytes[strategy as usize])).filter(|(_, n)| *n > 0)
    }
}

/// The part of an account that a [`Moved`] is the difference of. It is taken for each name, so it is small.
#[derive(Clone, Debug, Default)]
pub struct Before {
    bytes: [u64; Strategy::ALL.len()],
    step_downs: Vec<(Strategy, Reason, u64)>,
}

impl Before {
    /// Notes the state of an account.
    pub fn of(account: &Account) -> Before {
        let step_downs = Strategy::ALL.into_iter().flat_map(|strategy| {
            account.tally(strategy).step_downs.iter().map(move |(reason, times)| (strategy, *reason, *times))
        });
        Before { bytes: bytes(account), step_downs: step_downs.collect() }
    }

    /// Returns the difference to a later state of the account.
    pub fn until(&self, after: &Account) -> Moved {
        let mut moved = Moved { bytes: bytes(after), step_downs: Vec::new() };
        moved.bytes.iter_mut().zip(self.bytes).for_each(|(is, was)| *is -= was);
        for strategy in Strategy::ALL {
            let is_new =
                |(reason, times): &(&Reason, &u64)| !self.step_downs.contains(&(strategy, **reason, **times));
            let left = after.tally(strategy).step_downs.iter().filter(is_new);
            moved.step_downs.extend(left.map(|(reason, _)| (strategy, *reason)));
        }
        moved
    }
}

fn bytes(account: &Account) -> [u64; Strategy::ALL.len()] {
    Strategy::ALL.map(|strategy| account.tally(strategy).bytes)
}

/// The content of one line.
#[derive(Debug, Default)]
pub struct Record<'r> {
    /// The path of the source, if it is known.
    pub source: Option<&'r OsStr>,
    /// The path of the destination, if it is known.
    pub destination: Option<&'r OsStr>,
    /// The outcome.
    pub action: NameAction,
    /// Whether this is a dry run, so that it is the expected outcome.
    pub dry_run: bool,
    /// The range of the source, if the record is about a part of it.
    pub range: Option<Range<u64>>,
    /// The reason for skipping the name.
    pub why: Option<&'static str>,
    /// The kind of the source, if it was inspected.
    pub kind: Option<Kind>,
    /// How an existing destination differed.
    pub differences: Differences,
    /// The bytes that were moved.
    pub moved: Moved,
    /// The time that a worker spent on the name, in nanoseconds.
    pub ns: u64,
    /// The first failure with a message.
    pub failure: Option<&'r Failure>,
}

impl Record<'_> {
    /// Appends the JSON object and a newline.
    pub fn write_json(&self, line: &mut Vec<u8>) {
        let bytes: u64 = self.moved.bytes.iter().sum();
        let most = self.moved.by_strategy().max_by_key(|(_, bytes)| *bytes);
        line.extend_from_slice(b"{\"action\":\"");
        line.extend_from_slice(self.action.name().as_bytes());
        line.extend_from_slice(b"\",\"source\":");
        write_path(line, self.source);
        line.extend_from_slice(b",\"destination\":");
        write_path(line, self.destination);
        // Writing to a Vec cannot fail.
        let _ = write!(line, ",\"bytes\":{bytes},\"ns\":{}", self.ns);
        if self.dry_run {
            line.extend_from_slice(b",\"dry_run\":true");
        }
        if let Some(range) = &self.range {
            let _ = write!(line, ",\"range\":[{},{}]", range.start, range.end);
        }
        if let Some(kind) = self.kind {
            let _ = write!(line, ",\"kind\":\"{}\"", kind_name(kind));
        }
        if let Some((strategy, _)) = most {
            let _ = write!(line, ",\"strategy\":\"{}\"", strategy.name());
        }
        if self.moved.by_strategy().count() > 1 {
            let strategies: serde_json::Map<_, _> =
                self.moved.by_strategy().map(|(s, bytes)| (s.name().to_owned(), bytes.into())).collect();
            let _ = write!(line, ",\"strategies\":{}", serde_json::Value::from(strategies));
        }
        if !self.moved.step_downs.is_empty() {
            let steps: Vec<_> =
                self.moved.step_downs.iter().map(|(s, reason)| step_down_json(*s, *reason)).collect();
            let _ = write!(line, ",\"step_downs\":{}", serde_json::Value::from(steps));
        }
        if let Some(why) = self.why {
            let _ = write!(line, ",\"why\":\"{why}\"");
        }
        if let Some(failure) = self.failure {
            let _ = write!(line, ",\"error\":{}", failure_json(failure));
        }
        line.extend_from_slice(b"}\n");
    }

    /// Returns the line of `--itemize`, or `None` for a failure, which has a message.
    pub fn itemized(&self) -> Option<Vec<u8>> {
        let kind = match self.kind {
            Some(Kind::Directory) => 'd',
            Some(Kind::Symlink) => 'L',
            Some(Kind::BlockDevice | Kind::CharDevice) => 'D',
            Some(Kind::Fifo | Kind::Socket) => 'S',
            _ => 'f',
        };
        let mark = |differs, letter| if differs { letter } else { '.' };
        let (size, time) = (mark(self.differences.size, 's'), mark(self.differences.time, 't'));
        let item = match self.action {
            NameAction::Failed => return None,
            NameAction::Copied => format!(">{kind}+++++++++"),
            NameAction::Updated => format!(">{kind}.{size}{time}......"),
            NameAction::Linked => format!("h{kind}+++++++++"),
            NameAction::Made => format!("c{kind}+++++++++"),
            NameAction::Skipped => format!(".{kind}         "),
        };
        let mut line = format!("{item} ").into_bytes();
        line.extend_from_slice(&quote::shown(self.destination.unwrap_or_default().as_encoded_bytes()));
        if self.kind == Some(Kind::Directory) {
            line.push(b'/');
        }
        if let Some(why) = self.why {
            let _ = write!(line, " ({why})");
        }
        line.push(b'\n');
        Some(line)
    }
}

/// Writes a path as a string, or as an array of numbers if it is not UTF-8: see `json`.
fn write_path(line: &mut Vec<u8>, path: Option<&OsStr>) {
    // Writing to a Vec cannot fail.
    let _ = match path.map(|path| (path, path.to_str())) {
        None => line.write_all(b"null"),
        Some((_, Some(text))) => serde_json::to_writer(line, text).map_err(Into::into),
        Some((path, None)) => write!(line, "{}", json::bytes(path)),
    };
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Regular => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::BlockDevice => "block device",
        Kind::CharDevice => "character device",
        _ => "unknown",
    }
}
