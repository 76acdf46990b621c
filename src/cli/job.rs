//! The steps of a copy that is shared out to many machines: `--plan`, `--run`, `--finish`.
//!
//! A plan keeps the options that say what is copied and how; those that are about one machine or one
//! run (`-j`, `--stats`, `-v` ...) may be given anew with each step.

use super::getopt::Given;
use super::settle::Settled;
use super::{Copy, Misuse, Request};
use crate::report::quote::plainly_quoted;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;

/// One of the three steps, and the job folder that it is about.
#[derive(Debug)]
pub enum Step {
    /// `--plan=JOB --parts=N`.
    Plan(Plan),
    /// `--run=JOB`.
    Run {
        /// The job folder.
        folder: OsString,
        /// `--part=K`, from 0; `None` if the environment is to say.
        part: Option<u64>,
        /// Options of this run, as they may stand behind those of the plan.
        arguments: Vec<OsString>,
    },
    /// `--finish=JOB`.
    Finish {
        /// The job folder.
        folder: OsString,
        /// Options of this run.
        arguments: Vec<OsString>,
    },
}

/// What a plan is made from.
#[derive(Debug)]
pub struct Plan {
    /// The job folder.
    pub folder: OsString,
    /// How many parts.
    pub parts: NonZeroU64,
    /// `--split-over`, in bytes: files with more are copied as byte ranges.
    pub split_over: Option<NonZeroU64>,
    /// All options, SOURCE and DEST.
    pub copy: Box<Copy>,
    /// The options that the other steps are to use as well, as they are typed.
    pub arguments: Vec<OsString>,
}

/// Options that are about one run, not about the copy.
const OF_A_RUN: [&str; 8] = ["jobs", "stats", "stats-file", "progress", "verbose", "debug", "bwlimit", "cache"];
/// The steps themselves.
const STEPS: [&str; 3] = ["plan", "run", "finish"];
/// What belongs to a step: never kept.
const OF_A_STEP: [&str; 3] = ["parts", "part", "split-over"];

/// The step that is asked for, if one is, else a copy.
pub(super) fn request(given: &[Given], settled: Settled, names: Vec<OsString>) -> Result<Request, Misuse> {
    let value = |id: &str| given.iter().rfind(|given| given.option.id == id).and_then(|given| given.value.clone());
    let mut steps = STEPS.iter().filter_map(|id| Some((*id, value(id)?)));
    let (Some((step, folder)), other) = (steps.next(), steps.next()) else {
        return match OF_A_STEP.iter().find(|id| value(id).is_some()) {
            Some(id) => Err(Misuse::new(format!("--{id} belongs to --plan or --run"))),
            None => Ok(Request::Copy(Box::new(settled.copy(names)?))),
        };
    };
    if other.is_some() {
        return Err(Misuse::new("--plan, --run and --finish are steps: give one of them"));
    }
    let own: &[&str] = match step {
        "plan" => &["parts", "split-over"],
        "run" => &["part"],
        _ => &[],
    };
    if let Some(id) = OF_A_STEP.iter().find(|id| !own.contains(id) && value(id).is_some()) {
        return Err(Misuse::new(format!("--{id} does not go with --{step}")));
    }
    if step == "plan" {
        let parts = value("parts").ok_or_else(|| Misuse::new("--plan needs --parts=N"))?;
        let parts = number(&parts).and_then(NonZeroU64::new).ok_or_else(|| invalid("number of parts", &parts))?;
        let split_over = match value("split-over") {
            Some(text) => Some(size(&text).ok_or_else(|| invalid("size", &text))?),
            None => None,
        };
        let arguments = typed(given, |id| !OF_A_RUN.contains(&id));
        let statistics = settled.statistics.clone();
        let copy = Box::new(settled.copy(names)?);
        return Ok(Request::Job(Step::Plan(Plan { folder, parts, split_over, copy, arguments }), statistics));
    }
    if let Some(extra) = names.first() {
        return Err(Misuse::new([b"extra operand ".as_slice(), &plainly_quoted(extra.as_bytes())].concat()));
    }
    let is_known = |id: &str| OF_A_RUN.contains(&id) || STEPS.contains(&id) || OF_A_STEP.contains(&id);
    if let Some(other) = given.iter().find(|given| !is_known(given.option.id)) {
        let name = other.option.spelling();
        return Err(Misuse::new(format!("{name} is settled by the plan; it does not go with --{step}")));
    }
    let arguments = typed(given, |id| OF_A_RUN.contains(&id));
    let step = match step {
        "run" => Step::Run { folder, part: part(value("part").as_deref())?, arguments },
        _ => Step::Finish { folder, arguments },
    };
    Ok(Request::Job(step, settled.statistics))
}

fn part(value: Option<&OsStr>) -> Result<Option<u64>, Misuse> {
    match value {
        None => Ok(None),
        Some(word) if word == "auto" => Ok(None),
        Some(word) => number(word).map(Some).ok_or_else(|| invalid("part", word)),
    }
}

fn number(word: &OsStr) -> Option<u64> {
    word.to_str()?.parse().ok()
}

/// Bytes, with K, M, G, T for powers of 1024.
fn size(word: &OsStr) -> Option<NonZeroU64> {
    let text = word.to_str()?;
    let shift = ["K", "M", "G", "T"].iter().position(|unit| text.ends_with(unit)).map(|at| 10 * (at + 1));
    let digits = if shift.is_some() { text.get(..text.len() - 1)? } else { text };
    let number: u64 = digits.parse().ok()?;
    NonZeroU64::new(number.checked_mul(1 << shift.unwrap_or(0))?)
}

fn invalid(what: &str, word: &OsStr) -> Misuse {
    Misuse::new([b"invalid ".as_slice(), what.as_bytes(), b": ", &plainly_quoted(word.as_bytes())].concat())
}

/// The options that are to be kept, as one could type them.
fn typed(given: &[Given], keep: impl Fn(&str) -> bool) -> Vec<OsString> {
    let is_of_a_step = |id: &str| STEPS.contains(&id) || OF_A_STEP.contains(&id);
    // Where the copy lands is in the manifest.
    let is_operand = |id: &str| matches!(id, "target-directory" | "no-target-directory");
    let kept = given.iter().filter(|given| {
        let id = given.option.id;
        keep(id) && !is_of_a_step(id) && !is_operand(id)
    });
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
    kept.map(argument).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Console;
    use crate::cli::parse;

    fn parsed(args: &[&str]) -> Result<Step, String> {
        let args = args.iter().map(OsString::from).collect();
        match parse(args, &Console::new("zcp")) {
            Ok(Request::Job(step, _)) => Ok(step),
            Ok(_) => Err("no step".to_owned()),
            Err(misuse) => Err(String::from_utf8_lossy(&misuse.text).into_owned()),
        }
    }

    #[test]
    fn a_plan_keeps_what_is_about_the_copy() {
        let args =
            ["-av", "-j3", "--plan=j", "--parts", "7", "--sparse=always", "--split-over=64M", "a", "-t", "b"];
        let Ok(Step::Plan(plan)) = parsed(&args) else { panic!("no plan") };
        assert_eq!(plan.arguments, ["--archive", "--sparse=always"]);
        assert_eq!((plan.parts.get(), plan.split_over.map(NonZeroU64::get)), (7, Some(64 << 20)));
        let Copy { sources, destination, .. } = *plan.copy;
        assert_eq!((plan.folder, sources, destination), ("j".into(), vec!["a".into()], "b".into()));
    }

    #[test]
    fn a_run_takes_what_is_about_the_run() {
        let step = parsed(&["--run=j", "--part=3", "-j2", "--stats=json"]);
        let Ok(Step::Run { part: Some(3), arguments, .. }) = step else { panic!("no run: {step:?}") };
        assert_eq!(arguments, ["--jobs=2", "--stats=json"]);
        assert!(matches!(parsed(&["--run=j", "--part=auto"]), Ok(Step::Run { part: None, .. })));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let words = |args: &[&str]| parsed(args).unwrap_err();
        assert_eq!(words(&["-a", "a", "b"]), "no step");
        assert_eq!(words(&["--plan=j", "a", "b"]), "--plan needs --parts=N");
        assert_eq!(words(&["--plan=j", "--parts=0", "a", "b"]), "invalid number of parts: '0'");
        assert_eq!(words(&["--plan=j", "--parts=2", "--split-over=1Q", "a", "b"]), "invalid size: '1Q'");
        assert_eq!(words(&["--plan=j", "--run=j"]), "--plan, --run and --finish are steps: give one of them");
        assert_eq!(words(&["--parts=2", "a", "b"]), "--parts belongs to --plan or --run");
        assert_eq!(words(&["--finish=j", "--part=2"]), "--part does not go with --finish");
        assert_eq!(words(&["--run=j", "-a"]), "--archive is settled by the plan; it does not go with --run");
        assert_eq!(words(&["--run=j", "x"]), "extra operand 'x'");
        assert_eq!(words(&["--run=j", "--part=x"]), "invalid part: 'x'");
    }
}
