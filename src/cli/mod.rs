//! From arguments to options: the only module that knows the options of the command line.
//!
//! The options are a table (`options.rs`), from which clap renders --help, the manual page and the completions.
//! Arguments are read by the rules of getopt_long(3) instead of clap's: a replacement for cp has to take its
//! abbreviations, permutations and clusters, and to refuse in its words.

mod command_line;
mod getopt;
mod help;
mod job;
mod opt;
mod options;
mod values;
mod words;

pub use job::{JobStep, Plan};
pub use options::command;

use crate::report::quote;
use crate::{Console, CopyOptions, Error, Failure};
use command_line::CommandLine;
use getopt::{Given, Manner};
use opt::Effect;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Options that are always wanted, for zcp and not for cp. Only those that say how to copy, never what:
/// a script must be able to rely on what its command line means.
const PRESET: &str = "ZCP_OPTS";

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// A copy.
    Copy(Box<Copy>),
    /// A step of a copy that many machines share.
    Job(JobStep, Statistics),
    /// Text for stdout: --help or --version.
    Print(String),
}

/// A copy, and what is to be done with its report.
#[derive(Debug)]
pub struct Copy {
    /// All that was said of it.
    pub options: CopyOptions,
    /// What is copied.
    pub sources: Vec<OsString>,
    /// Where to.
    pub destination: OsString,
    /// Where its statistics go.
    pub statistics: Statistics,
    /// Whether the user wants to hear more (`-v`).
    pub verbose: bool,
}

/// Where the statistics of a run go.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// To stdout, in this form (`--stats`).
    pub form: Option<StatsForm>,
    /// To a file, as JSON, besides (`--stats-file`).
    pub file: Option<OsString>,
    /// Where a record of each name goes (`--log`).
    pub log: Option<OsString>,
}

/// How `--stats` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsForm {
    /// A table for people.
    Text,
    /// One JSON object on one line.
    Json,
}

/// Why a command line was refused.
#[derive(Debug)]
pub struct UsageError {
    /// One or more lines.
    pub text: Vec<u8>,
    /// Whether the user is pointed to `--help`.
    pub hint: bool,
}

impl UsageError {
    fn new(text: impl Into<Vec<u8>>) -> UsageError {
        UsageError { text: text.into(), hint: true }
    }
}

impl From<Failure> for UsageError {
    fn from(failure: Failure) -> UsageError {
        UsageError { text: failure.text(), hint: false }
    }
}

impl From<Error> for UsageError {
    fn from(error: Error) -> UsageError {
        match error {
            Error::Usage(failure) => UsageError::new(failure.text()),
            Error::Unusable(failure) => failure.into(),
            // Nothing was copied yet.
            Error::Incomplete(_) | Error::Cancelled(_) => UsageError::new(error.to_string()),
        }
    }
}

/// The name that messages begin with: that of the program as it was called.
pub fn program_name(argv0: Option<&OsStr>) -> String {
    let base = argv0.map(|name| name.as_bytes()).unwrap_or_default().rsplit(|b| *b == b'/').next();
    match base.map(String::from_utf8_lossy) {
        Some(name) if !name.is_empty() => name.into_owned(),
        _ => "zcp".to_owned(),
    }
}

/// Reads the arguments after the program's name, which is that of the console. Questions will be asked there.
///
/// # Errors
/// A [`UsageError`], in cp's words.
pub fn parse(args: Vec<OsString>, console: &Console) -> Result<Request, UsageError> {
    let program = console.program();
    let called_cp = program == "cp";
    let manner = Manner { posix: std::env::var_os("POSIXLY_CORRECT").is_some(), cp: called_cp };
    let read = getopt::read(args, manner);
    let mut line = CommandLine::new(program);
    if let Some(preset) = std::env::var_os(PRESET).filter(|_| !called_cp) {
        for given in preset_options(&preset)? {
            given.apply(&mut line).map_err(|error| in_preset(&error.text))?;
        }
    }
    // In order: the first option that is refused or asks for a text ends it.
    for given in &read.given {
        if let Effect::Print(text) = given.option.effect {
            return Ok(Request::Print(text(program)));
        }
        given.apply(&mut line)?;
    }
    if let Some(error) = read.error {
        return Err(error);
    }
    line.settle(console)?;
    job::request(&read.given, line, read.operands)
}

/// The options in `$ZCP_OPTS`, set apart by white space.
fn preset_options(preset: &OsStr) -> Result<Vec<Given>, UsageError> {
    let words = preset.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let words = words.map(|word| OsStr::from_bytes(word).to_owned());
    let read = getopt::read(words.collect(), Manner::default());
    if let Some(error) = read.error {
        return Err(in_preset(&error.text));
    }
    if let Some(operand) = read.operands.first() {
        return Err(in_preset(&[quote::quoted(operand).as_slice(), b" is no option"].concat()));
    }
    if let Some(given) = read.given.iter().find(|given| !given.option.may_be_preset()) {
        let name = given.option.spelling();
        return Err(in_preset(format!("{name} is not allowed there: it is about what is copied").as_bytes()));
    }
    Ok(read.given)
}

fn in_preset(text: &[u8]) -> UsageError {
    UsageError { text: [b"$ZCP_OPTS: ".as_slice(), text].concat(), hint: false }
}
