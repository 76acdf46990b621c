//! Decides anew about a destination that another process has changed since it was looked at.
//!
//! Several zcp, or zcp and others, may copy to one place at once. What they have made in between is met by the
//! same rules as what was there before: it is overwritten, skipped, backed up or asked about.

use super::prompt::prompt;
use super::verdict::refused;
use super::{Landing, Task, Worker};
use crate::plan::{self, Clear, Occupant, Skip, Verdict};
use crate::report::Failure;
use crate::survey;
use crate::sys::at::Follow;
use crate::sys::{Errno, Stat};

/// How often one name is decided about. Each time but the first, another process has changed it meanwhile.
pub(super) const TRIES: u32 = 100;

/// Why a destination's name was not taken.
pub(super) enum Missed {
    /// Another process has made it, or has taken it away, since it was looked at.
    Overtaken(Failure),
    /// Any other reason: that is final.
    Failed(Failure),
}

impl Missed {
    /// EEXIST means that the name was free a moment ago.
    pub(super) fn because(errno: Errno, failure: Failure) -> Missed {
        let failure = failure.errno(errno);
        if errno == Errno::EXIST { Missed::Overtaken(failure) } else { Missed::Failed(failure) }
    }
}

impl Missed {
    /// The failure, where nothing is to be decided anew.
    pub(super) fn into_failure(self) -> Failure {
        let (Missed::Overtaken(failure) | Missed::Failed(failure)) = self;
        failure
    }
}

impl From<Failure> for Missed {
    fn from(failure: Failure) -> Missed {
        Missed::Failed(failure)
    }
}

impl Worker<'_> {
    /// Takes the destination's name by `take`, and decides anew whenever another process was quicker. `None`
    /// if the name is to be left alone then.
    pub(super) fn take_name<T>(
        &mut self,
        task: &Task<'_>,
        source: &Stat,
        mut landing: Landing,
        mut take: impl FnMut(&mut Self, Landing) -> Result<T, Missed>,
    ) -> Result<Option<T>, Failure> {
        for tries in 1.. {
            match take(self, landing) {
                Ok(taken) => return Ok(Some(taken)),
                Err(Missed::Overtaken(failure)) if tries < TRIES && !self.ctx.options.dry_run => {
                    match self.decide_again(task, source, failure)? {
                        Some(next) => landing = next,
                        None => break,
                    }
                }
                Err(Missed::Overtaken(failure) | Missed::Failed(failure)) => return Err(failure),
            }
        }
        Ok(None)
    }

    /// How the name is to be taken now; `None` if it is to be left alone. `failure` is what taking it met.
    pub(super) fn decide_again(
        &mut self,
        task: &Task<'_>,
        source: &Stat,
        failure: Failure,
    ) -> Result<Option<Landing>, Failure> {
        let cannot_stat = |errno| Failure::new("cannot stat {}", task.destination_path()).errno(errno);
        let occupant = survey::look(self.ctx, task.fds, task.entry, source).map_err(cannot_stat)?;
        let Some(occupant) = occupant else { return Ok(Some(Landing::Create)) };
        let occupant = Occupant { just_made: self.landed_here(task, &occupant.stat), ..occupant };
        let verdict = plan::decide(&self.ctx.options, source, Some(&occupant));
        self.landing_after(task, &occupant, verdict, failure)
    }

    fn landing_after(
        &mut self,
        task: &Task<'_>,
        occupant: &Occupant,
        verdict: Verdict,
        failure: Failure,
    ) -> Result<Option<Landing>, Failure> {
        let atomic = self.ctx.options.atomic;
        match verdict {
            // An answer would change nothing: that the name exists is a failure in any case.
            Verdict::Ask(_, then) if *then == Verdict::Make(Clear::Nothing) => Err(failure),
            Verdict::Ask(question, then) => {
                let prompt = prompt(question, &task.destination_path(), occupant.stat.mode);
                if self.ctx.may_replace(&prompt) {
                    return self.landing_after(task, occupant, *then, failure);
                }
                self.skip(task);
                self.ctx.reporter.fail_silently();
                Ok(None)
            }
            Verdict::Skip(Skip::ExistsFail) => {
                self.stats.skipped += 1;
                Err(Failure::new("not replacing {}", task.destination_path()))
            }
            Verdict::Skip(Skip::Exists | Skip::UpToDate) => {
                self.skip(task);
                Ok(None)
            }
            // To copy it once more is right in any case.
            Verdict::Complete(then) => self.landing_after(task, occupant, *then, failure),
            Verdict::Done => Ok(None),
            Verdict::Refuse(refusal) => Err(refused(task, refusal)),
            Verdict::Overwrite if is_harmless(occupant) => Ok(Some(Landing::Overwrite(occupant.stat, Follow::No))),
            Verdict::Make(Clear::Unlink) if atomic => {
                self.say_removed(task);
                Ok(Some(Landing::Replace))
            }
            Verdict::Make(Clear::Unlink) => {
                self.unlink(task)?;
                Ok(Some(Landing::Create))
            }
            Verdict::Make(Clear::Backup) => {
                let suffix = self.back_up(task)?;
                Ok(Some(if atomic && suffix.is_some() { Landing::Replace } else { Landing::Create }))
            }
            // That it exists is the answer: cp would not replace it either.
            Verdict::Overwrite | Verdict::Make(Clear::Nothing) | Verdict::Merge => Err(failure),
        }
    }
}

/// Whether a file that has just appeared may be written into: one that has another name may be a file from
/// elsewhere, which somebody linked here to have it overwritten.
pub(super) fn is_harmless(occupant: &Occupant) -> bool {
    occupant.link.is_regular() && occupant.link.nlink <= 1
}
