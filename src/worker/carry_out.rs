//! Carries out a decision: prompts, skips, clears the name, copies or refuses.

use super::prompt::prompt;
use super::{Placement, Source, Task, Worker};
use crate::backup;
use crate::decision::{Clear, Decision, Existing, Question, Refusal, Skip};
use crate::error::Operation;
use crate::existing;
use crate::path;
use crate::report::{Failure, quote};
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Stat};
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;

impl Worker<'_> {
    pub(super) fn carry_out(
        &mut self,
        task: &Task<'_>,
        source: Source,
        existing: Option<&Existing>,
        decision: Decision,
    ) -> Result<(), Failure> {
        if let Decision::Complete(then) = decision {
            return match existing {
                Some(existing) if self.is_complete(task, &source, existing)? => {
                    self.leave_complete(task, source, existing)
                }
                _ => self.carry_out(task, source, existing, *then),
            };
        }
        let prepared = self.prepare_name(task, &source.stat, existing, decision, None)?;
        let Some((placement, backup)) = prepared else { return Ok(()) };
        let answer = self.make(task, source, placement, backup.as_deref());
        if let (Err(_), Some(backup), false) = (&answer, &backup, self.ctx.options.dry_run) {
            self.un_back_up(task, backup);
        }
        answer
    }

    /// Asks, unlinks or backs up, as decided. Returns how to take the name, with the name of its backup, or `None` if
    /// it is left alone. `overtaken` is the failure of an earlier try, if another process has taken the name since.
    pub(super) fn prepare_name(
        &mut self,
        task: &Task<'_>,
        source: &Stat,
        existing: Option<&Existing>,
        decision: Decision,
        overtaken: Option<Failure>,
    ) -> Result<Option<(Placement, Option<OsString>)>, Failure> {
        let overtaken = match overtaken {
            Some(failure) if is_final(&decision, existing) => return Err(failure),
            overtaken => overtaken,
        };
        let atomic = self.ctx.options.atomic;
        Ok(match decision {
            Decision::Ask(question, then) => match self.user_agrees(task, question, existing) {
                true => return self.prepare_name(task, source, existing, *then, overtaken),
                false => None,
            },
            Decision::Skip(skip) => {
                if skip == Skip::UpToDate && overtaken.is_none() {
                    self.link_up_to_date(task, source)?;
                    self.note_skip("not newer");
                }
                self.skip_by(task, skip)?;
                None
            }
            // Copying it again is always correct.
            Decision::Complete(then) => return self.prepare_name(task, source, existing, *then, overtaken),
            Decision::Done => {
                self.note_skip("same file");
                None
            }
            Decision::Merge => None, // only directories are merged
            Decision::Refuse(refusal) => {
                if refusal == Refusal::UntrustedLink {
                    self.check_operand_link(task)?; // has a better message for a link that this run made
                }
                return Err(refusal.failure(task.source_path(), task.destination_path()));
            }
            Decision::Overwrite => {
                let through = |existing: &Existing| Follow::from(existing.link.is_symlink());
                let overwrite = |existing: &Existing| Placement::Overwrite(existing.stat, through(existing));
                Some((existing.map_or(Placement::Create, overwrite), None))
            }
            Decision::Make(Clear::Nothing) => Some((Placement::Create, None)),
            Decision::Make(Clear::Unlink) if atomic => {
                self.cleared.set(true); // the rename does it
                self.ctx.events.removed(|| task.destination_path());
                Some((Placement::Replace, None))
            }
            Decision::Make(Clear::Unlink) => {
                self.source_taken.set(existing.is_some_and(|existing| existing.same_entry));
                self.unlink(task)?;
                Some((Placement::Create, None))
            }
            Decision::Make(Clear::Backup) => {
                let backup = self.back_up(task)?;
                let stays = atomic && backup.is_some();
                Some((if stays { Placement::Replace } else { Placement::Create }, backup))
            }
        })
    }

    /// Asks the question; a dry run shows it only. If the answer is no, the file counts as skipped, and as a failure
    /// without a message.
    fn user_agrees(&mut self, task: &Task<'_>, question: Question, existing: Option<&Existing>) -> bool {
        let mode = existing.map_or(0, |existing| existing.stat.mode);
        let prompt = prompt(question, &task.destination_path(), mode);
        if self.ctx.options.dry_run {
            let words = [b"would ask: ".as_slice(), prompt.text().trim_ascii(), b"\n"];
            self.ctx.events.lines(&words.concat());
            return false;
        }
        // An answer after a signal comes too late: the copy would be truncated, and not finished.
        let yes = self.ctx.events.ask(&prompt) && !self.ctx.run.stop.is_raised();
        if !yes {
            let _ = self.skip_by(task, Skip::Exists);
            self.ctx.events.fail_silently();
        }
        yes
    }

    pub(super) fn skip_by(&mut self, task: &Task<'_>, skip: Skip) -> Result<(), Failure> {
        self.stats.skipped += 1;
        if skip == Skip::ExistsFail {
            return Err(Failure::new(Operation::Replace, task.destination_path()));
        }
        self.say_skipped(task);
        Ok(())
    }

    pub(super) fn say_skipped(&self, task: &Task<'_>) {
        if self.ctx.options.debug {
            let line = [b"skipped ".as_slice(), &quote::quoted(task.destination_path()), b"\n"].concat();
            self.ctx.events.lines(&line);
        }
    }

    pub(super) fn unlink(&self, task: &Task<'_>) -> Result<(), Failure> {
        let (dst, name) = (&task.fds.dst, task.entry.destination());
        let answer = if self.ctx.options.dry_run {
            self.cleared.set(true);
            match at::stat(dst, name, Follow::No) {
                Ok(stat) if stat.is_dir() => Err(Errno::ISDIR),
                _ => existing::may_make(dst, name),
            }
        } else {
            at::unlink(dst, name)
        };
        match answer {
            Ok(()) => self.ctx.events.removed(|| task.destination_path()),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(task.cannot(Operation::Remove)(errno)),
        }
        Ok(())
    }

    pub(super) fn back_up(&self, task: &Task<'_>) -> Result<Option<OsString>, Failure> {
        let Some(backup) = &self.ctx.options.backup else { return Ok(None) };
        let (dst, name) = (&task.fds.dst, task.entry.destination());
        let answer = if self.ctx.options.dry_run {
            self.cleared.set(true);
            existing::may_make(dst, name).map(|()| Some(backup::name(backup, dst.as_fd(), name)))
        } else if self.ctx.options.atomic {
            backup::make_by_link(backup, dst.as_fd(), name)
        } else {
            backup::make(backup, dst.as_fd(), name)
        };
        answer.map_err(task.cannot(Operation::BackUp))
    }

    fn un_back_up(&self, task: &Task<'_>, backup: &OsStr) {
        // With --atomic the name still exists, so only the backup's link is removed.
        let undone = backup::undo(task.fds.dst.as_fd(), task.entry.destination(), backup, self.ctx.options.atomic);
        if let Err(errno) = undone {
            self.ctx.events.fail(task.cannot(Operation::UndoBackup)(errno));
        } else if self.ctx.options.verbose {
            let from = quote::quoted(path::beside(&task.destination_path(), backup));
            let to = quote::quoted(task.destination_path());
            self.ctx.events.lines(&[&from, b" -> ".as_slice(), &to, b" (unbackup)\n"].concat());
        }
    }
}

/// Returns whether a name that another process has just taken is left to it. cp would not replace such a file either.
fn is_final(decision: &Decision, existing: Option<&Existing>) -> bool {
    match decision {
        Decision::Overwrite => !existing.is_some_and(is_harmless),
        Decision::Ask(_, then) => **then == Decision::Make(Clear::Nothing),
        Decision::Make(Clear::Nothing) | Decision::Merge => true,
        _ => false,
    }
}

/// Returns whether a file that has just appeared may be written into. A file with several names may come from
/// elsewhere: another user may have linked it here to have it overwritten.
fn is_harmless(existing: &Existing) -> bool {
    existing.link.is_regular() && existing.link.nlink <= 1
}
