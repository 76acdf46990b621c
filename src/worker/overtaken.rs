//! Decides anew about a destination that another process has changed since it was looked at.
//!
//! Several zcp, or zcp and others, may copy to one place at once. What they have made in between is met by the
//! same rules as what was there before: it is overwritten, skipped, backed up or asked about.

use super::carry_out::refused;
use super::prompt::prompt;
use super::{Placement, Task, Worker};
use crate::decision::{self, Clear, Decision, Existing, Skip};
use crate::existing;
use crate::report::Failure;
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
        mut placement: Placement,
        mut take: impl FnMut(&mut Self, Placement) -> Result<T, Missed>,
    ) -> Result<Option<T>, Failure> {
        for tries in 1.. {
            match take(self, placement) {
                Ok(taken) => return Ok(Some(taken)),
                Err(Missed::Overtaken(failure)) if tries < TRIES && !self.ctx.options.dry_run => {
                    match self.decide_again(task, source, failure)? {
                        Some(next) => placement = next,
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
    ) -> Result<Option<Placement>, Failure> {
        let cannot_stat = |errno| Failure::new("cannot stat {}", task.destination_path()).errno(errno);
        let existing = existing::look(self.ctx, task.fds, task.entry, source).map_err(cannot_stat)?;
        let Some(existing) = existing else { return Ok(Some(Placement::Create)) };
        let existing = Existing { just_made: self.made_by_earlier_operand(task, &existing.stat), ..existing };
        let decision = decision::decide(&self.ctx.options, source, Some(&existing));
        self.landing_after(task, &existing, decision, failure)
    }

    fn landing_after(
        &mut self,
        task: &Task<'_>,
        existing: &Existing,
        decision: Decision,
        failure: Failure,
    ) -> Result<Option<Placement>, Failure> {
        let atomic = self.ctx.options.atomic;
        match decision {
            // An answer would change nothing: that the name exists is a failure in any case.
            Decision::Ask(_, then) if *then == Decision::Make(Clear::Nothing) => Err(failure),
            Decision::Ask(question, then) => {
                let prompt = prompt(question, &task.destination_path(), existing.stat.mode);
                if self.ctx.may_replace(&prompt) {
                    return self.landing_after(task, existing, *then, failure);
                }
                self.skip(task);
                self.ctx.reporter.fail_silently();
                Ok(None)
            }
            Decision::Skip(Skip::ExistsFail) => {
                self.stats.skipped += 1;
                Err(Failure::new("not replacing {}", task.destination_path()))
            }
            Decision::Skip(Skip::Exists | Skip::UpToDate) => {
                self.skip(task);
                Ok(None)
            }
            // To copy it once more is right in any case.
            Decision::Complete(then) => self.landing_after(task, existing, *then, failure),
            Decision::Done => Ok(None),
            Decision::Refuse(refusal) => Err(refused(task, refusal)),
            Decision::Overwrite if is_harmless(existing) => {
                Ok(Some(Placement::Overwrite(existing.stat, Follow::No)))
            }
            Decision::Make(Clear::Unlink) if atomic => {
                self.say_removed(task);
                Ok(Some(Placement::Replace))
            }
            Decision::Make(Clear::Unlink) => {
                self.unlink(task)?;
                Ok(Some(Placement::Create))
            }
            Decision::Make(Clear::Backup) => {
                let suffix = self.back_up(task)?;
                Ok(Some(if atomic && suffix.is_some() { Placement::Replace } else { Placement::Create }))
            }
            // That it exists is the answer: cp would not replace it either.
            Decision::Overwrite | Decision::Make(Clear::Nothing) | Decision::Merge => Err(failure),
        }
    }
}

/// Whether a file that has just appeared may be written into: one that has another name may be a file from
/// elsewhere, which somebody linked here to have it overwritten.
pub(super) fn is_harmless(existing: &Existing) -> bool {
    existing.link.is_regular() && existing.link.nlink <= 1
}
