//! Carries out a decision: prompts, skips, clears the name, copies or refuses.

use super::prompt::prompt;
use super::{Placement, Source, Task, Worker};
use crate::backup;
use crate::decision::{Clear, Decision, Existing, Refusal, Skip};
use crate::error::Operation;
use crate::existing;
use crate::report::{Failure, Prompt, quote};
use crate::sys::Errno;
use crate::sys::at::{self, Follow};
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
        match decision {
            Decision::Ask(question, then) => {
                let mode = existing.map_or(0, |existing| existing.stat.mode);
                let prompt = prompt(question, &task.destination_path(), mode);
                if self.ctx.options.dry_run {
                    let words = [b"would ask: ".as_slice(), prompt.text().trim_ascii(), b"\n"];
                    self.ctx.reporter.lines(&words.concat());
                    return Ok(());
                }
                match self.may_replace(task, &prompt) {
                    true => self.carry_out(task, source, existing, *then),
                    false => Ok(()),
                }
            }
            Decision::Skip(skip) => {
                if skip == Skip::UpToDate {
                    self.link_up_to_date(task, &source.stat)?;
                    self.note_skip("not newer");
                }
                self.skip_by(task, skip)
            }
            Decision::Complete(then) => match existing {
                Some(existing) if self.is_complete(task, &source, existing)? => {
                    self.leave_complete(task, source, existing)
                }
                _ => self.carry_out(task, source, existing, *then),
            },
            Decision::Done => {
                self.note_skip("same file");
                Ok(())
            }
            Decision::Merge => Ok(()), // only directories are merged
            Decision::Refuse(refusal) => {
                if refusal == Refusal::UntrustedLink {
                    self.check_operand_link(task)?; // has a better message for a link that this run made
                }
                Err(refusal.failure(task.source_path(), task.destination_path()))
            }
            Decision::Overwrite => {
                let through = |existing: &Existing| Follow::from(existing.link.is_symlink());
                let placement = existing
                    .map_or(Placement::Create, |existing| Placement::Overwrite(existing.stat, through(existing)));
                self.make(task, source, placement, None)
            }
            Decision::Make(Clear::Nothing) => self.make(task, source, Placement::Create, None),
            Decision::Make(Clear::Unlink) if self.ctx.options.atomic => {
                self.cleared.set(true); // the rename does it
                self.ctx.say_removed(|| task.destination_path());
                self.make(task, source, Placement::Replace, None)
            }
            Decision::Make(Clear::Unlink) => {
                self.source_taken.set(existing.is_some_and(|existing| existing.same_entry));
                self.unlink(task)?;
                self.make(task, source, Placement::Create, None)
            }
            Decision::Make(Clear::Backup) => {
                let backup = self.back_up(task)?;
                let stays = self.ctx.options.atomic && backup.is_some();
                let placement = if stays { Placement::Replace } else { Placement::Create };
                let answer = self.make(task, source, placement, backup.as_deref());
                if let (Err(_), Some(backup), false) = (&answer, &backup, self.ctx.options.dry_run) {
                    self.un_back_up(task, backup);
                }
                answer
            }
        }
    }

    /// Prompts. If the answer is no, the file counts as skipped, and as a failure without a message.
    pub(super) fn may_replace(&mut self, task: &Task<'_>, prompt: &Prompt) -> bool {
        let yes = self.ctx.may_replace(prompt);
        if !yes {
            let _ = self.skip_by(task, Skip::Exists);
            self.ctx.reporter.fail_silently();
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
            self.ctx.reporter.lines(&line);
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
            Ok(()) => self.ctx.say_removed(|| task.destination_path()),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(Failure::new(Operation::Remove, task.destination_path()).errno(errno)),
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
            self.ctx.reporter.fail(Failure::new(Operation::UndoBackup, task.destination_path()).errno(errno));
        } else if self.ctx.options.verbose {
            let from = quote::quoted(backup::beside(&task.destination_path(), backup));
            let to = quote::quoted(task.destination_path());
            self.ctx.reporter.lines(&[&from, b" -> ".as_slice(), &to, b" (unbackup)\n"].concat());
        }
    }
}
