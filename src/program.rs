//! The program as a function: parses, copies, reports, and returns the exit status. It copies through the
//! documented interface of the library, as any other program could. Only the steps of a copy that several
//! machines share use the module `job`.

use crate::cli::{self, CopyRequest, Request, Statistics, StatsForm, UsageError};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zcp::internals::{
    Bounded, CWD, Errno, MOST_LINKS, Operation, Prepared, SIGPIPE, begin, errno_of, files, inherited, may_write,
    perform, preloads, prepare,
};
use zcp::{Cancel, Console, Error, Failure, Log, Report};

/// The exit status of cp after any failure.
const FAILURE: i32 = 1;

/// Runs zcp, in a process that did not start with Rust's own `main`. The first of `args` is the name that it was called
/// by.
///
/// The exit status is 0 or 1, as with cp. A signal that interrupted the copy is raised again at the end.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> i32 {
    let console = Console::new(&cli::program_name(args.next().as_deref()));
    if let Err(errno) = begin() {
        console.message(&Failure::from(Operation::OccupyDescriptor).errno(errno));
        return FAILURE;
    }
    if let Some(words) = unseen_by(cfg!(target_feature = "crt-static"), preloads) {
        console.say(words.as_bytes());
        return FAILURE;
    }
    match cli::parse(args.collect(), &console) {
        Ok(Request::Print(text)) => print(&console, &text),
        Ok(Request::Copy(request)) => copy(&console, *request),
        Ok(Request::Job(step, statistics)) => {
            let prepared = prepare(step, &console, |arguments| cli::parse_saved(arguments, &console));
            let outputs = match prepared.as_ref().map(Prepared::operands) {
                Ok((sources, destination)) => check_outputs(&statistics, &sources, &destination),
                Err(_) => Ok(()),
            };
            let (stats_file, log) = match outputs.and_then(|()| prepare_outputs(&statistics, &console)) {
                Ok(outputs) => outputs,
                Err(failure) => return refuse(&console, &failure.into()),
            };
            let prepared = match prepared {
                Ok(prepared) => prepared,
                Err(error) => return refuse(&console, &error),
            };
            let (cancel, stdout_taken) = (Cancel::new(), false);
            let (report, failed) = perform(prepared, &console, log.clone(), &cancel);
            let (console, cancel) = (&console, &cancel);
            Conclusion { console, cancel, statistics, stats_file, log, stdout_taken }.conclude(&report, failed)
        }
        Err(error) => refuse(&console, &error),
    }
}

/// Returns the reason why a statically linked program must not run. The dynamic linker would preload libraries
/// (ld.so(8)) that redirect its system calls; a static program ignores them and would copy other files, or to
/// other places.
fn unseen_by(is_static: bool, is_preloaded: impl Fn(&str) -> bool) -> Option<&'static str> {
    match is_static {
        true if is_preloaded("libfakeroot") => Some(
            "cannot run under fakeroot: this binary is statically linked, so fakeroot cannot intercept its system calls",
        ),
        true if is_preloaded("libfakechroot") => Some(
            "cannot run under fakechroot: this binary is statically linked, so it would leave the fake root directory",
        ),
        _ => None,
    }
}

fn copy(console: &Console, request: CopyRequest) -> i32 {
    let CopyRequest { mut options, sources, destination, statistics, verbose } = request;
    let cancel = Cancel::new();
    let outputs =
        check_outputs(&statistics, &sources, &destination).and_then(|()| prepare_outputs(&statistics, console));
    let (stats_file, log) = match outputs {
        Ok(outputs) => outputs,
        Err(failure) => return refuse(console, &failure.into()),
    };
    let to_stdout = statistics.form.is_some() || matches!(stats_file, StatsFile::Stdout);
    let stdout_taken = to_stdout && is_stdout(&destination);
    if let Some(log) = &log {
        options.log(log);
    }
    let report = match options.console(console).cancel_by(&cancel).copy(sources, destination) {
        Ok(report) | Err(Error::Incomplete(report)) => {
            if console.has_shown_progress() && verbose && statistics.form.is_none() {
                // The progress bar is gone. With -v a summary line remains.
                console.say(report.headline().as_bytes());
            }
            if console.program() != "cp"
                && let Some(line) = report.outcome()
            {
                console.say(&line);
            }
            report
        }
        Err(Error::Cancelled(report)) => {
            // After SIGPIPE there is no reader for a message.
            if cancel.signal() != Some(SIGPIPE) {
                console.say(format!("interrupted: {}", report.headline()).as_bytes());
            }
            report
        }
        Err(error) => return refuse(console, &error.into()),
    };
    let failed = report.failed();
    Conclusion { console, cancel: &cancel, statistics, stats_file, log, stdout_taken }.conclude(&report, failed)
}

/// Returns whether a destination is the file that stdout is open on, such as /dev/stdout.
fn is_stdout(destination: &OsStr) -> bool {
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let found = (std::fs::metadata(destination), stdout.and_then(|stdout| stdout.metadata()));
    matches!(found, (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

/// The work that is left after a copy.
struct Conclusion<'e> {
    console: &'e Console,
    cancel: &'e Cancel,
    statistics: Statistics,
    stats_file: StatsFile,
    log: Option<Log>,
    /// Whether the copy went to stdout.
    stdout_taken: bool,
}

impl Conclusion<'_> {
    /// Writes the statistics and returns the exit status.
    fn conclude(self, report: &Report, failed: u64) -> i32 {
        self.print_stats(report);
        let noted = self.write_stats_file(report);
        if let Err(failure) = &noted {
            self.console.message(failure);
        }
        let log_error = self.log.as_ref().and_then(Log::take_error);
        if let Some(error) = &log_error {
            let file = self.statistics.log.as_deref().unwrap_or_default();
            self.console.message(&Failure::io(Operation::WriteLog, file, error));
        }
        let printed = self.console.finish();
        self.cancel.reraise();
        i32::from(failed > 0 || noted.is_err() || log_error.is_some() || printed.is_err())
    }

    fn print_stats(&self, report: &Report) {
        let terminal =
            || if self.stdout_taken { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        let text = match self.statistics.form {
            None => return,
            Some(StatsForm::Text) if wants_colours() && terminal() => report.to_terminal(),
            Some(StatsForm::Text) => report.to_string(),
            Some(StatsForm::Json) => format!("{}\n", report.to_json()),
        };
        self.print_to_stdout(&text);
    }

    /// Prints to stdout, or to stderr if the copy went to stdout.
    fn print_to_stdout(&self, text: &str) {
        if self.stdout_taken {
            let _ = Bounded(std::io::stderr().lock()).write_all(text.as_bytes());
        } else {
            self.console.print(text.as_bytes());
        }
    }

    fn write_stats_file(&self, report: &Report) -> Result<(), Failure> {
        let text = || format!("{}\n", report.to_json());
        let answer = match &self.stats_file {
            StatsFile::None => Ok(()),
            StatsFile::Stdout => {
                self.print_to_stdout(&text());
                Ok(())
            }
            StatsFile::Descriptor(file) => Bounded(file).write_all(text().as_bytes()),
            StatsFile::InPlace(path) => write_in_place(path, text().as_bytes()),
            StatsFile::Replaced(path) => replace(path, text().as_bytes()),
        };
        answer.map_err(|error| {
            Failure::io(Operation::WriteStatistics, self.statistics.file.as_deref().unwrap_or_default(), &error)
        })
    }
}

enum StatsFile {
    None,
    Stdout,
    /// Another descriptor of this process.
    Descriptor(File),
    /// A device or a fifo, or a file in a directory that is not writable. It is written in place.
    InPlace(PathBuf),
    /// A file that is replaced as a whole, for a program that waits for it. Symbolic links were followed.
    Replaced(PathBuf),
}

impl StatsFile {
    /// Determines the target before the copy starts, and removes an old report, so that it is not mistaken for
    /// the report of a run that fails.
    fn prepare(statistics: &Statistics) -> Result<StatsFile, Failure> {
        let Some(file) = &statistics.file else { return Ok(StatsFile::None) };
        if file == "-" {
            return Ok(StatsFile::Stdout);
        }
        let found = match inherited::number(file, true) {
            Some(1) => return Ok(StatsFile::Stdout),
            Some(number) => open_inherited(number).map(StatsFile::Descriptor),
            None => StatsFile::of_path(followed(file.into())),
        };
        found.map_err(|error| Failure::io(Operation::WriteStatistics, file, &error))
    }

    fn of_path(path: PathBuf) -> std::io::Result<StatsFile> {
        let old = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => return Err(Errno::ISDIR.into()),
            Ok(metadata) if !metadata.is_file() => return Ok(StatsFile::InPlace(path)),
            Ok(_) => true,
            Err(_) => false,
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !std::fs::metadata(parent)?.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        let may_replace = may_write(CWD, parent.as_os_str());
        if old && may_replace.is_err() {
            may_write(CWD, path.as_os_str())?;
            if is_report(&path) {
                write_in_place(&path, b"")?;
            }
            return Ok(StatsFile::InPlace(path));
        }
        may_replace?;
        if old && is_report(&path) {
            std::fs::remove_file(&path)?;
        }
        Ok(StatsFile::Replaced(path))
    }
}

/// Opens a descriptor of this process again, for writing.
fn open_inherited(number: RawFd) -> std::io::Result<File> {
    Ok(inherited::take(number, true)?.ok_or(Errno::BADF)?.into())
}

fn prepare_outputs(statistics: &Statistics, console: &Console) -> Result<(StatsFile, Option<Log>), Failure> {
    Ok((StatsFile::prepare(statistics)?, open_log(statistics, console)?))
}

fn open_log(statistics: &Statistics, console: &Console) -> Result<Option<Log>, Failure> {
    let Some(file) = &statistics.log else { return Ok(None) };
    let opened = match inherited::number(file, true) {
        number if file == "-" || number == Some(1) => return Ok(Some(Log::on_console(console))),
        Some(number) => open_inherited(number),
        None => files::create(Path::new(file)).map(|Bounded(file)| file),
    };
    opened.map(|opened| Some(Log::new(opened))).map_err(|error| Failure::io(Operation::WriteLog, file, &error))
}

/// Refuses to write the report or the log to a file that the copy reads or makes.
fn check_outputs(statistics: &Statistics, sources: &[OsString], destination: &OsStr) -> Result<(), Failure> {
    if let Some(log) = statistics.log.as_ref().filter(|log| *log == "-" && is_stdout(destination)) {
        return Err(Failure::new(Operation::WriteLog, log).because("the copy needs it".to_owned()));
    }
    for (words, file) in [(Operation::WriteStatistics, &statistics.file), (Operation::WriteLog, &statistics.log)] {
        if let Some(file) = file.as_ref().filter(|file| *file != "-") {
            check_output(words, file, sources, destination)?;
        }
    }
    // The report replaces a name, but the log is written into the file.
    match statistics.log.as_ref().filter(|log| inherited::number(log, true).is_none() && has_other_names(log)) {
        Some(log) => Err(Failure::new(Operation::WriteLog, log)
            .because("it has other names, which the copy may need".to_owned())),
        None => Ok(()),
    }
}

/// Returns whether a file with content has several hard links.
fn has_other_names(file: &OsStr) -> bool {
    std::fs::metadata(file).is_ok_and(|file| file.is_file() && file.nlink() > 1 && file.len() > 0)
}

fn check_output(
    operation: Operation,
    file: &OsStr,
    sources: &[OsString],
    destination: &OsStr,
) -> Result<(), Failure> {
    let (file_path, destination) = (Path::new(file), Path::new(destination));
    let is_needed = sources.iter().map(Path::new).any(|source| {
        let inside = source.file_name().map(|name| destination.join(name));
        let copies = [Some(destination.to_owned()), inside, Some(destination.join(source))];
        is_same_file(file_path, source)
            || (path_below(source, file_path).is_some()
                && !(operation == Operation::WriteStatistics && is_report(file_path)))
            || copies.iter().flatten().any(|copy| {
                is_same_file(file_path, copy)
                    || path_below(copy, file_path).is_some_and(|path| source.join(path).symlink_metadata().is_ok())
            })
    });
    match is_needed {
        true => Err(Failure::new(operation, file).because("the copy needs it".to_owned())),
        false => Ok(()),
    }
}

/// Returns the path of an existing regular file relative to a directory that it lies below.
fn path_below(dir: &Path, file: &Path) -> Option<PathBuf> {
    let file = file.canonicalize().ok().filter(|file| file.is_file())?;
    let below = file.strip_prefix(dir.canonicalize().ok()?).ok()?;
    Some(below.to_owned()).filter(|below| !below.as_os_str().is_empty())
}

/// Returns whether two paths lead to one regular file, or to one free name.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let parent_id = |path: &Path| {
        let parent = path.parent()?;
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        std::fs::metadata(parent).ok().map(id)
    };
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.is_file() && id(a) == id(b),
        (Err(_), Err(_)) => {
            a.file_name().is_some() && a.file_name() == b.file_name() && parent_id(a) == parent_id(b)
        }
        _ => false,
    }
}

/// Follows symbolic links. The last one may lead to a free name.
fn followed(mut path: PathBuf) -> PathBuf {
    for _ in 0..MOST_LINKS {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
}

/// Returns whether a file is the report of an earlier run, which may be removed.
fn is_report(path: &Path) -> bool {
    // No report is longer.
    const LONGEST: u64 = 64 << 20;
    let mut text = String::new();
    let read = files::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    let keys = ["\"dry_run\":", "\"peak_in_flight\":", "\"totals\":{", "\"strategies\":{"];
    read.is_ok() && text.starts_with("{\"") && keys.iter().all(|key| text.contains(key))
}

fn write_in_place(path: &Path, text: &[u8]) -> std::io::Result<()> {
    files::overwrite(path)?.write_all(text)
}

fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let make = |temporary: &OsStr| {
        // Exclusively, because in a directory like /tmp another user may have guessed the name.
        let written = files::create_new(Path::new(temporary)).and_then(|mut new| {
            let written = new.write_all(text);
            written.inspect_err(|_| drop(std::fs::remove_file(temporary)))
        });
        written.map_err(|error| errno_of(&error))
    };
    Ok(zcp::internals::replace(CWD, path.as_os_str(), make)?)
}

/// See no-color.org and terminfo(5).
fn wants_colours() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

fn print(console: &Console, text: &str) -> i32 {
    console.print(text.as_bytes());
    i32::from(console.finish().is_err())
}

fn refuse(console: &Console, error: &UsageError) -> i32 {
    console.say(&error.text);
    // cp suggests nothing.
    if let Some(similar) = error.suggestion.as_ref().filter(|_| console.program() != "cp") {
        console.say(format!("did you mean '{similar}'?").as_bytes());
    }
    if error.hint {
        let stderr = std::io::stderr();
        let _ = writeln!(Bounded(stderr.lock()), "Try '{} --help' for more information.", console.program());
    }
    FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_binary_refuses_to_run_where_it_would_not_be_seen() {
        let words = |preloaded: &str| unseen_by(true, |library| library == preloaded);
        assert!(words("libfakeroot").is_some_and(|words| words.contains("under fakeroot: ")));
        assert!(words("libfakechroot").is_some_and(|words| words.contains("under fakechroot: ")));
        assert_eq!(words("libeatmydata"), None);
        assert_eq!(unseen_by(false, |_| true), None);
    }
}
