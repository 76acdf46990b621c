//! Turns arguments into options. No other module knows the options of the command line.
//!
//! The options are a table (`options.rs`), from which clap renders --help, the manual page and the completions.
//! Arguments are parsed by the rules of getopt_long(3), not by clap: a replacement for cp has to accept the
//! same abbreviations, permutations and clusters, and to reject the rest with the same messages.

mod command_line;
mod generate;
mod getopt;
mod help;
mod job;
mod opt;
mod options;
mod values;
mod words;

use command_line::CommandLine;
use getopt::{Given, Manner};
use opt::{Effect, Scope};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use zcp::internals::JobStep;
use zcp::internals::quote;
use zcp::{Console, CopyOptions, Error, Failure};

/// The variable for default options, for zcp but not under the name cp. It may hold only options that say how
/// to copy, not what: a script must be able to rely on the meaning of its command line.
const PRESET: &str = "ZCP_OPTS";

#[derive(Debug)]
pub(crate) enum Request {
    Copy(Box<CopyRequest>),
    /// A step of a copy that several machines share.
    Job(JobStep, Statistics),
    /// Text for stdout, from --help or --version.
    Print(String),
}

#[derive(Debug)]
pub(crate) struct CopyRequest {
    pub options: CopyOptions,
    pub sources: Vec<OsString>,
    pub destination: OsString,
    pub statistics: Statistics,
    pub verbose: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    pub form: Option<StatsForm>,
    /// The file for statistics in JSON (`--stats-file`).
    pub file: Option<OsString>,
    /// The file for a record of each name (`--log`).
    pub log: Option<OsString>,
}

/// The form of `--stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatsForm {
    Text,
    Json,
}

#[derive(Debug)]
pub(crate) struct UsageError {
    pub text: Vec<u8>,
    /// Whether the message refers to `--help`.
    pub hint: bool,
    /// A known option or word that resembles the rejected one.
    pub suggestion: Option<String>,
}

impl UsageError {
    fn new(text: impl Into<Vec<u8>>) -> UsageError {
        UsageError { text: text.into(), hint: true, suggestion: None }
    }

    fn without_hint(text: impl Into<Vec<u8>>) -> UsageError {
        UsageError { hint: false, ..UsageError::new(text) }
    }
}

impl From<Failure> for UsageError {
    fn from(failure: Failure) -> UsageError {
        UsageError::without_hint(failure.text())
    }
}

impl From<Error> for UsageError {
    fn from(error: Error) -> UsageError {
        match error {
            Error::Usage(failure) => UsageError::new(failure.text()),
            Error::Unusable(failure) => failure.into(),
            // The others come after a copy.
            _ => UsageError::without_hint(error.to_string()),
        }
    }
}

/// Returns the name that messages begin with: the program's name as it was called.
pub(crate) fn program_name(argv0: Option<&OsStr>) -> String {
    let base = argv0.map(|name| name.as_bytes()).unwrap_or_default().rsplit(|b| *b == b'/').next();
    match base.map(String::from_utf8_lossy) {
        Some(name) if !name.is_empty() => name.into_owned(),
        _ => "zcp".to_owned(),
    }
}

/// Parses the arguments after the program's name, which is the name of `console`. Prompts will appear on it.
pub(crate) fn parse(args: Vec<OsString>, console: &Console) -> Result<Request, UsageError> {
    let program = console.program();
    let called_cp = program == "cp";
    let manner = Manner { posix: std::env::var_os("POSIXLY_CORRECT").is_some(), cp: called_cp };
    let read = getopt::read(args, manner);
    let mut line = CommandLine::new(program);
    let preset = std::env::var_os(PRESET).filter(|_| !called_cp).unwrap_or_default();
    let preset = preset_options(&preset)?;
    for given in &preset {
        given.apply(&mut line).map_err(in_preset)?;
    }
    // In order: the first option that fails or prints a text decides.
    for given in &read.given {
        match given.option.effect {
            Effect::Print(text) => return Ok(Request::Print(text(program))),
            Effect::Generate(text) => return text(given.value.as_deref().unwrap_or_default()).map(Request::Print),
            _ => given.apply(&mut line)?,
        }
    }
    if let Some(error) = read.error {
        return Err(error);
    }
    line.settle(console)?;
    job::request(preset, &read.given, line, read.operands)
}

/// Parses the arguments that the plan of a job holds, followed by those of a step.
pub(crate) fn parse_saved(args: Vec<OsString>, console: &Console) -> Result<CopyOptions, UsageError> {
    match parse(args, console)? {
        Request::Copy(copy) => Ok(copy.options),
        _ => Err(UsageError::without_hint("the job's saved options do not describe a copy")),
    }
}

/// Parses the options in `$ZCP_OPTS`, which are separated by white space.
fn preset_options(preset: &OsStr) -> Result<Vec<Given>, UsageError> {
    let words = preset.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let words = words.map(|word| OsStr::from_bytes(word).to_owned());
    let read = getopt::read(words.collect(), Manner::default());
    if let Some(error) = read.error {
        return Err(in_preset(error));
    }
    if let Some(operand) = read.operands.first() {
        return Err(in_preset(UsageError::new([&quote::quoted(operand)[..], b" is not an option"].concat())));
    }
    if let Some(given) = read.given.iter().find(|given| !given.option.may_be_preset()) {
        let name = given.option.spelling();
        let reason = match given.option.scope {
            _ if given.option.is_cps() => "an option of cp",
            Scope::Step => "about one command line",
            _ => "about what is copied",
        };
        return Err(in_preset(UsageError::new(format!("{name} is not allowed there: it is {reason}"))));
    }
    Ok(read.given)
}

fn in_preset(error: UsageError) -> UsageError {
    UsageError { text: [b"$ZCP_OPTS: ".as_slice(), &error.text].concat(), hint: false, ..error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::opt::Opt;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::os::unix::ffi::OsStringExt;

    /// Any argument that a shell can pass: options, pieces of options, bytes.
    fn argument() -> impl Strategy<Value = OsString> {
        let longs: Vec<String> = options::options().flat_map(Opt::longs).map(|long| format!("--{long}")).collect();
        let words = [
            "=auto",
            "=always",
            "=",
            "=json",
            "=x,y",
            "=\u{e9}",
            "=none",
            "=8",
            "=99999999999999999999",
            "=mode,",
        ];
        let long = (select(longs), 2..30_usize, select(words.to_vec()), any::<bool>());
        prop_oneof![
            3 => long.prop_map(|(long, len, word, with)| {
                let cut = &long[..len.min(long.len())];
                OsString::from(if with { format!("{cut}{word}") } else { cut.to_owned() })
            }),
            2 => "-[a-zA-Z0-9]{1,5}".prop_map(OsString::from),
            1 => vec(1..=255_u8, 0..12).prop_map(OsString::from_vec),
            2 => select(vec!["a", "b", "--", "-", "", "d/"]).prop_map(OsString::from),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// Any arguments are accepted or refused, and the messages cannot control a terminal.
        #[test]
        fn any_arguments_are_understood_or_refused(args in vec(argument(), 0..8)) {
            if let Err(UsageError { text, .. }) = parse(args, &Console::new("zcp")) {
                let is_tame = |c: char| matches!(c, '\n' | '\t') || !c.is_control();
                let text = String::from_utf8(text);
                prop_assert!(text.as_ref().is_ok_and(|text| text.chars().all(is_tame)), "{text:?}");
            }
        }
    }
}
