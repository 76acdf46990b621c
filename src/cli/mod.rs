//! From arguments to options. The only room that knows flags.
//!
//! The options are a table, of which clap makes --help, the manual page and the completions. The
//! reading of arguments follows getopt_long(3) instead of clap's parser: a replacement for cp must take
//! the same abbreviations, permutations and clusters, and refuse in the same words.

mod definition;
mod getopt;
mod help;
mod job;
mod opt;
mod own;
mod settle;
mod words;

pub use definition::command;
pub use job::{Plan, Step};

use crate::report::quote;
use crate::{Console, CopyOptions, Error, Failure};
use getopt::{Given, Manner};
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
    Job(Step, Statistics),
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
}

/// How `--stats` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsForm {
    /// A table for people.
    Text,
    /// One JSON object on one line.
    Json,
}

/// A command line that makes no sense.
#[derive(Debug)]
pub struct Misuse {
    /// One or more lines.
    pub text: Vec<u8>,
    /// Whether the user is pointed to `--help`.
    pub hint: bool,
}

impl Misuse {
    fn new(text: impl Into<Vec<u8>>) -> Misuse {
        Misuse { text: text.into(), hint: true }
    }
}

impl From<Failure> for Misuse {
    fn from(failure: Failure) -> Misuse {
        Misuse { text: failure.text(), hint: false }
    }
}

impl From<Error> for Misuse {
    fn from(error: Error) -> Misuse {
        match error {
            Error::Misuse(failure) => Misuse::new(failure.text()),
            Error::Unusable(failure) => failure.into(),
            // Nothing was copied yet.
            Error::Incomplete(_) | Error::Cancelled(_) => Misuse::new(error.to_string()),
        }
    }
}

/// The name that messages begin with: that of the program as it was called.
pub fn program_name(argv0: Option<&OsStr>) -> String {
    let base = argv0.map(|name| name.as_bytes()).unwrap_or_default().rsplit(|b| *b == b'/').next();
    match base.map(String::from_utf8_lossy) {
        Some(name) if !name.is_empty() => name.into_owned(),
        _ => env!("CARGO_PKG_NAME").to_owned(),
    }
}

/// Reads the arguments after the program's name, which is that of the console. Questions will be asked there.
///
/// # Errors
/// A [`Misuse`], in cp's words.
pub fn parse(args: Vec<OsString>, console: &Console) -> Result<Request, Misuse> {
    let program = console.program();
    let called_cp = program == "cp";
    let manner = Manner { posix: std::env::var_os("POSIXLY_CORRECT").is_some(), cp: called_cp };
    let read = getopt::read(args, manner);
    let mut draft = settle::Draft::new(program);
    if let Some(preset) = std::env::var_os(PRESET).filter(|_| !called_cp) {
        for given in preset_options(&preset)? {
            draft.take(&given).map_err(|misuse| in_preset(&misuse.text))?;
        }
    }
    // In order: what comes first, be it nonsense or --help, ends it.
    for given in &read.given {
        if let Some(text) = help::text_for(given.option.id, program) {
            return Ok(Request::Print(text));
        }
        draft.take(given)?;
    }
    if let Some(misuse) = read.misuse {
        return Err(misuse);
    }
    job::request(&read.given, draft.settle(console)?, read.operands)
}

/// The options in `$ZCP_OPTS`, set apart by white space.
fn preset_options(preset: &OsStr) -> Result<Vec<Given>, Misuse> {
    let words = preset.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let words = words.map(|word| OsStr::from_bytes(word).to_owned());
    let read = getopt::read(words.collect(), Manner::default());
    if let Some(misuse) = read.misuse {
        return Err(in_preset(&misuse.text));
    }
    if let Some(operand) = read.operands.first() {
        return Err(in_preset(&[quote::quoted(operand).as_slice(), b" is no option"].concat()));
    }
    if let Some(given) = read.given.iter().find(|given| !given.option.says_how()) {
        let name = given.option.spelling();
        return Err(in_preset(format!("{name} is not allowed there: it is about what is copied").as_bytes()));
    }
    Ok(read.given)
}

fn in_preset(text: &[u8]) -> Misuse {
    Misuse { text: [b"$ZCP_OPTS: ".as_slice(), text].concat(), hint: false }
}
