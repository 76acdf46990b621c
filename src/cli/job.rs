//! The steps of a copy that several machines share: `--plan`, `--run`, `--finish`.
//!
//! A plan stores the options that say what to copy and how. Options that concern one machine or one run (`-j`,
//! `--stats`, `-v` ...) may differ in each step.

use super::command_line::CommandLine;
use super::getopt::Given;
use super::opt::Scope;
use super::{CopyRequest, Request, UsageError, values};
use std::ffi::{OsStr, OsString};
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use zcp::internals::quote::plainly_quoted;
use zcp::internals::{JobStep, Plan};

/// The most parts of a plan. Each one takes memory, and two files in the job folder.
const MOST_PARTS: u64 = 1_000_000;

#[derive(Default)]
pub(super) struct JobOptions {
    pub(super) plan: Option<OsString>,
    pub(super) run: Option<OsString>,
    pub(super) finish: Option<OsString>,
    pub(super) parts: Option<OsString>,
    pub(super) part: Option<OsString>,
    pub(super) split_over: Option<OsString>,
}

impl JobOptions {
    /// Fails if an option of another step was given.
    fn refuse_others(&self, own: &[&str], words: impl Fn(&str) -> String) -> Result<(), UsageError> {
        let all = [("parts", &self.parts), ("part", &self.part), ("split-over", &self.split_over)];
        match all.iter().find(|(name, value)| value.is_some() && !own.contains(name)) {
            Some((name, _)) => Err(UsageError::new(words(name))),
            None => Ok(()),
        }
    }
}

/// Returns the requested step, or else a copy. The options of `line` must be settled; `preset` are those of `ZCP_OPTS`.
pub(super) fn request(
    preset: Vec<Given>,
    given: &[Given],
    mut line: CommandLine,
    operands: Vec<OsString>,
) -> Result<Request, UsageError> {
    let (job, statistics) = (&mut line.job, line.statistics.clone());
    let step = match (job.plan.take(), job.run.take(), job.finish.take()) {
        (None, None, None) => {
            job.refuse_others(&[], |name| {
                let step = if name == "part" { "run" } else { "plan" };
                format!("--{name} belongs to --{step}")
            })?;
            return Ok(Request::Copy(Box::new(line.into_copy(operands)?)));
        }
        (Some(folder), None, None) => {
            job.refuse_others(&["parts", "split-over"], |name| format!("--{name} does not go with --plan"))?;
            JobStep::Plan(plan(folder, &[preset, given.to_vec()].concat(), line, operands)?)
        }
        (None, Some(folder), None) => {
            job.refuse_others(&["part"], |name| format!("--{name} does not go with --run"))?;
            let arguments = run_arguments("--run", given, &operands)?;
            JobStep::Run { folder, part: part(job.part.as_deref())?, arguments }
        }
        (None, None, Some(folder)) => {
            job.refuse_others(&[], |name| format!("--{name} does not go with --finish"))?;
            JobStep::Finish { folder, arguments: run_arguments("--finish", given, &operands)? }
        }
        _ => return Err(UsageError::new("--plan, --run and --finish are steps: give one of them")),
    };
    Ok(Request::Job(step, statistics))
}

fn plan(
    folder: OsString,
    given: &[Given],
    mut line: CommandLine,
    operands: Vec<OsString>,
) -> Result<Plan, UsageError> {
    let parts = line.job.parts.take().ok_or_else(|| UsageError::new("--plan needs --parts=N"))?;
    let count = number(&parts).and_then(NonZeroU64::new).ok_or_else(|| invalid("number of parts", &parts))?;
    if count.get() > MOST_PARTS {
        let UsageError { text, .. } = invalid("number of parts", &parts);
        let most = format!(": there can be {MOST_PARTS} at most");
        return Err(UsageError::new([text, most.into_bytes()].concat()));
    }
    let parts = count;
    let size = |text: OsString| {
        let bytes = text.to_str().and_then(values::bytes).and_then(NonZeroU64::new);
        bytes.ok_or_else(|| invalid("size", &text))
    };
    let split_over = line.job.split_over.take().map(size).transpose()?;
    let arguments = typed(given, &[Scope::What, Scope::How]);
    let CopyRequest { options, sources, destination, .. } = line.into_copy(operands)?;
    Ok(Plan { folder, parts, split_over, options: Box::new(options), sources, destination, arguments })
}

/// Returns the options of a step that follows the plan. Fails on operands and on options of other steps.
fn run_arguments(step: &str, given: &[Given], operands: &[OsString]) -> Result<Vec<OsString>, UsageError> {
    if let Some(extra) = operands.first() {
        return Err(UsageError::new([b"extra operand ".as_slice(), &plainly_quoted(extra.as_bytes())].concat()));
    }
    match given.iter().find(|given| !matches!(given.option.scope, Scope::Run | Scope::Step)) {
        Some(other) => {
            let name = other.option.spelling();
            Err(UsageError::new(format!("{name} is settled by the plan; it does not go with {step}")))
        }
        None => Ok(typed(given, &[Scope::Run])),
    }
}

fn part(value: Option<&OsStr>) -> Result<Option<u64>, UsageError> {
    match value {
        None => Ok(None),
        Some(word) if word == "auto" => Ok(None),
        Some(word) => number(word).map(Some).ok_or_else(|| invalid("part", word)),
    }
}

fn number(word: &OsStr) -> Option<u64> {
    word.to_str()?.parse().ok()
}

fn invalid(what: &str, word: &OsStr) -> UsageError {
    UsageError::new([b"invalid ".as_slice(), what.as_bytes(), b": ", &plainly_quoted(word.as_bytes())].concat())
}

/// Returns the options of these scopes, as a user could type them.
fn typed(given: &[Given], scopes: &[Scope]) -> Vec<OsString> {
    let argument = |given: &Given| {
        let mut argument = OsString::from(given.option.spelling());
        if let Some(value) = &given.value {
            if given.option.id.len() > 1 {
                argument.push("=");
            }
            argument.push(value);
        }
        argument
    };
    given.iter().filter(|given| scopes.contains(&given.option.scope)).map(argument).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse;
    use zcp::Console;

    fn parsed(args: &[&str]) -> Result<JobStep, String> {
        let args = args.iter().map(OsString::from).collect();
        match parse(args, &Console::new("zcp")) {
            Ok(Request::Job(step, _)) => Ok(step),
            Ok(_) => Err("no step".to_owned()),
            Err(error) => Err(String::from_utf8_lossy(&error.text).into_owned()),
        }
    }

    #[test]
    fn a_plan_keeps_what_is_about_the_copy() {
        let args =
            ["-av", "-j3", "--plan=j", "--parts", "7", "--sparse=always", "--split-over=64MiB", "a", "-t", "b"];
        let Ok(JobStep::Plan(plan)) = parsed(&args) else { panic!("no plan") };
        assert_eq!(plan.arguments, ["--archive", "--sparse=always"]);
        assert_eq!((plan.parts.get(), plan.split_over.map(NonZeroU64::get)), (7, Some(64 << 20)));
        assert_eq!((plan.folder, plan.sources, plan.destination), ("j".into(), vec!["a".into()], "b".into()));
    }

    #[test]
    fn a_run_takes_what_is_about_the_run() {
        let step = parsed(&["--run=j", "--part=3", "-j2", "--stats=json"]);
        let Ok(JobStep::Run { part: Some(3), arguments, .. }) = step else { panic!("no run: {step:?}") };
        assert_eq!(arguments, ["--jobs=2", "--stats=json"]);
        assert!(matches!(parsed(&["--run=j", "--part=auto"]), Ok(JobStep::Run { part: None, .. })));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let words = |args: &[&str]| parsed(args).unwrap_err();
        assert_eq!(words(&["-a", "a", "b"]), "no step");
        assert_eq!(words(&["--plan=j", "a", "b"]), "--plan needs --parts=N");
        assert_eq!(words(&["--plan=j", "--parts=0", "a", "b"]), "invalid number of parts: '0'");
        assert_eq!(words(&["--plan=j", "--parts=2", "--split-over=1Q", "a", "b"]), "invalid size: '1Q'");
        assert_eq!(words(&["--plan=j", "--run=j"]), "--plan, --run and --finish are steps: give one of them");
        assert_eq!(words(&["--parts=2", "a", "b"]), "--parts belongs to --plan");
        assert_eq!(words(&["--split-over=1M", "a", "b"]), "--split-over belongs to --plan");
        assert_eq!(words(&["--part=2", "a", "b"]), "--part belongs to --run");
        assert_eq!(words(&["--finish=j", "--part=2"]), "--part does not go with --finish");
        assert_eq!(words(&["--run=j", "-a"]), "--archive is settled by the plan; it does not go with --run");
        assert_eq!(words(&["--run=j", "x"]), "extra operand 'x'");
        assert_eq!(words(&["--run=j", "--part=x"]), "invalid part: 'x'");
    }
}
