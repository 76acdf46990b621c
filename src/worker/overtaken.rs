//! Decides again about a destination that another process changed after it was inspected.
//!
//! Several processes may copy to one place at once. A file that appeared in between is treated by the same
//! rules as one that existed before: it is overwritten, skipped, backed up or asked about.

use super::{Placement, Task, Worker};
use crate::decision;
use crate::error::Failure;
use crate::existing::TRIES;
use crate::sys::Stat;

impl Worker<'_> {
    /// Takes the destination's name with `take`, and decides again whenever another process was faster. Returns
    /// `None` if the name is left alone then.
    pub(super) fn take_name<T>(
        &mut self,
        task: &Task<'_>,
        source: &Stat,
        mut placement: Placement,
        mut take: impl FnMut(&mut Self, Placement) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        for tries in 1.. {
            match take(self, placement) {
                Ok(taken) => return Ok(Some(taken)),
                Err(failure) if failure.is_overtaken() && tries < TRIES && !self.ctx.options.dry_run => {
                    match self.decide_again(task, source, failure)? {
                        Some(next) => placement = next,
                        None => break,
                    }
                }
                Err(failure) => return Err(failure),
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
        let existing = task.look_at_existing(self.ctx, source)?;
        let Some(existing) = existing else { return Ok(Some(Placement::Create)) };
        let decision = decision::decide(&self.ctx.options, source, Some(&existing));
        let prepared = self.prepare_name(task, source, Some(&existing), decision, Some(failure))?;
        Ok(prepared.map(|(placement, _)| placement))
    }
}
