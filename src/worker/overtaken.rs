//! Decides again about a destination that another process changed after it was inspected.
//!
//! Several processes may copy to one place at once. A file that appeared in between is treated by the same
//! rules as one that existed before: it is overwritten, skipped, backed up or asked about.

use super::prompt::prompt;
use super::{Placement, Task, Worker};
use crate::decision::{self, Clear, Decision, Existing};
use crate::error::{Failure, Operation};
use crate::existing;
use crate::sys::at::Follow;
use crate::sys::{Errno, Stat};

/// How often to decide about one name. Every further try means that another process changed the name in the
/// meantime.
pub(super) const TRIES: u32 = 100;

/// The reason why a destination's name was not taken.
pub(super) enum Missed {
    /// Another process made or removed it after it was inspected.
    Overtaken(Failure),
    /// Any other reason, which is final.
    Failed(Failure),
}

impl Missed {
    /// Classifies an error of taking a name: EEXIST means that the name was free a moment ago.
    pub(super) fn because(errno: Errno, failure: Failure) -> Missed {
        let failure = failure.errno(errno);
        if errno == Errno::EXIST { Missed::Overtaken(failure) } else { Missed::Failed(failure) }
    }

    /// Returns the failure for callers that do not decide again.
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
    /// Takes the destination's name with `take`, and decides again whenever another process was faster. Returns
    /// `None` if the name is left alone then.
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

    /// Decides again. Returns `None` if the name is left alone. `failure` is the error of taking it.
    pub(super) fn decide_again(
        &mut self,
        task: &Task<'_>,
        source: &Stat,
        failure: Failure,
    ) -> Result<Option<Placement>, Failure> {
        let existing =
            existing::look(self.ctx, task.fds, task.entry, source).map_err(task.cannot(Operation::Stat))?;
        let Some(existing) = existing else { return Ok(Some(Placement::Create)) };
        let existing = Existing { just_made: self.made_by_earlier_operand(task, &existing.stat), ..existing };
        let decision = decision::decide(&self.ctx.options, source, Some(&existing));
        self.placement_after(task, &existing, decision, failure)
    }

    fn placement_after(
        &mut self,
        task: &Task<'_>,
        existing: &Existing,
        decision: Decision,
        failure: Failure,
    ) -> Result<Option<Placement>, Failure> {
        let atomic = self.ctx.options.atomic;
        match decision {
            // The answer would change nothing: an existing name is a failure in any case.
            Decision::Ask(_, then) if *then == Decision::Make(Clear::Nothing) => Err(failure),
            Decision::Ask(question, then) => {
                let prompt = prompt(question, &task.destination_path(), existing.stat.mode);
                match self.may_replace(task, &prompt) {
                    true => self.placement_after(task, existing, *then, failure),
                    false => Ok(None),
                }
            }
            Decision::Skip(skip) => self.skip_by(task, skip).map(|()| None),
            // Copying it again is always correct.
            Decision::Complete(then) => self.placement_after(task, existing, *then, failure),
            Decision::Done => Ok(None),
            Decision::Refuse(refusal) => Err(refusal.failure(task.source_path(), task.destination_path())),
            Decision::Overwrite if is_harmless(existing) => {
                Ok(Some(Placement::Overwrite(existing.stat, Follow::No)))
            }
            Decision::Make(Clear::Unlink) if atomic => {
                self.ctx.say_removed(|| task.destination_path());
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
            // cp would not replace the existing file either.
            Decision::Overwrite | Decision::Make(Clear::Nothing) | Decision::Merge => Err(failure),
        }
    }
}

/// Returns whether a file that has just appeared may be written into. A file with several names may come from
/// elsewhere: another user may have linked it here to have it overwritten.
pub(super) fn is_harmless(existing: &Existing) -> bool {
    existing.link.is_regular() && existing.link.nlink <= 1
}
