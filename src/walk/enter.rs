//! Enters directories: inspects the destination, makes or opens it, and lists the source.

use super::directory::{Opened, WantedDirectory, always_exists};
use super::frontier::{Pending, Subdirectories, Unread};
use super::listing::Listing;
use super::{Entered, Node, Operand, Walker, level_below, operands};
use crate::backup;
use crate::batch::Entry;
use crate::context::Fds;
use crate::decision::{self, Clear, Decision, Existing};
use crate::dir::{AttributeScope, Dir, Finish, Hold};
use crate::error::Operation;
use crate::existing::{self, TRIES};
use crate::options::Dereference;
use crate::path::without_slashes;
use crate::report::{Failure, copied_line, quote};
use crate::sys::at::{self, Follow};
use crate::sys::fd_table::Table;
use crate::sys::{Errno, Kind, Stat, io};
use crate::temporary;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// Returns whether mkdir failed because another process has just taken the name.
fn was_overtaken(failure: &Failure, name: &OsStr) -> bool {
    failure.has_errno(Errno::EXIST) && !always_exists(name)
}

/// Opens the source of a directory. `None` if a listed name is not a directory.
fn open_source(
    parent: &Dir,
    fds: &Fds,
    entry: &Entry,
    follow: Follow,
) -> Result<Option<(OwnedFd, Stat)>, Failure> {
    let cannot = |operation, errno| {
        let failure = Failure::new(operation, parent.source_path(&entry.name)).errno(errno);
        failure.of_entry(entry.operand, || at::stat(&fds.src, &entry.name, Follow::No))
    };
    let cannot_stat = |errno| cannot(Operation::Stat, errno);
    match at::open_dir(&fds.src, &entry.name, follow) {
        Ok(src) => {
            let source = at::fstat(&src).map_err(cannot_stat)?;
            Ok(Some((src, source)))
        }
        Err(errno) => match at::stat(&fds.src, &entry.name, follow).map_err(cannot_stat)? {
            stat if !stat.is_dir() && !entry.operand => Ok(None),
            _ => Err(cannot(Operation::Access, errno)),
        },
    }
}

impl Walker<'_, '_> {
    /// Enters a directory: makes its destination and starts to list it. `position` is the position of its
    /// operand.
    pub(super) fn enter_directory(&mut self, above: &Node, entry: &Entry, position: usize) -> Entered {
        let through_parents = self.ctx.options.parents && above.is_root;
        let answer = if through_parents {
            self.enter_through_parents(above, entry, position).map(Entered::Directory)
        } else {
            self.try_enter(above, entry, position)
        };
        if entry.operand {
            self.walk.registry.mark_settled(position);
        }
        answer.unwrap_or_else(|failure| {
            let (source, destination) = (above.dir.source_path(&entry.name), entry.destination());
            self.ctx.events.fail(failure.of_names(source, above.dir.destination_path(destination)));
            Entered::Nothing
        })
    }

    /// Recreates the leading directories of a `--parents` operand and continues with the operand inside the
    /// last of them.
    fn enter_through_parents(&mut self, above: &Node, entry: &Entry, position: usize) -> Result<Pending, Failure> {
        let root = &above.dir;
        let (leading, last) = operands::leading(&entry.name);
        let scope = self.leading_scope(root, entry, &leading)?;
        let mut dir = root.clone();
        for part in leading {
            let below = self.recreate(&dir, &part, scope);
            if below.is_err() {
                dir.abandon();
            }
            dir = below?; // holds its parent
        }
        let node = Arc::new(Node { is_root: false, depth: 1, ..Node::root(dir) });
        let unread = Unread::Operands(position, vec![last].into_iter());
        Ok(Pending { node, unread, subdirectories: Subdirectories::default() })
    }

    /// Returns how to treat the leading directories: if all of them exist, they stay as they are.
    fn leading_scope(&self, root: &Arc<Dir>, entry: &Entry, leading: &[Entry]) -> Result<AttributeScope, Failure> {
        let way: OsString = leading.iter().map(Entry::destination).collect();
        let way = without_slashes(&way);
        if way.is_empty() {
            return Ok(AttributeScope::Nothing);
        }
        let source_path = || root.source_path(&entry.name);
        let cannot_stat = |errno| Failure::new(Operation::Stat, source_path()).errno(errno);
        let fds = root.fds(self.ctx).map_err(cannot_stat)?;
        match at::stat(&fds.dst, way, Follow::Yes) {
            // A killed run may have left them unfinished.
            Ok(stat) if stat.is_dir() && self.ctx.options.resume => Ok(AttributeScope::Leading),
            Ok(stat) if stat.is_dir() => {
                let follow = existing::follows_source(&self.ctx.options, entry);
                at::stat(&fds.src, &entry.name, follow).map_err(cannot_stat)?;
                Ok(AttributeScope::Nothing)
            }
            Ok(_) => {
                let path = root.destination_path(way);
                Err(Failure::new(Operation::NotDirectory, path))
            }
            Err(_) => Ok(AttributeScope::Leading),
        }
    }

    pub(super) fn recreate(
        &mut self,
        parent: &Arc<Dir>,
        part: &Entry,
        scope: AttributeScope,
    ) -> Result<Hold, Failure> {
        let source_path = || without_slashes(&parent.source_path(&part.name)).to_owned();
        let destination_path = || without_slashes(&parent.destination_path(part.destination())).to_owned();
        let no_attributes = |errno| Failure::new(Operation::GetAttributes, source_path()).errno(errno);
        let fds = parent.fds(self.ctx).map_err(no_attributes)?;
        // The user typed the path of an operand, so its links are followed. A name from a list may have become
        // a link in the meantime.
        let follow = if part.operand { Follow::Yes } else { existing::follows_source(&self.ctx.options, part) };
        let src = at::open_dir(&fds.src, &part.name, follow).map_err(no_attributes)?;
        let source = at::fstat(&src).map_err(no_attributes)?;
        let mode = self.ctx.mode_policy().directory(source.permissions(), true);
        let name = without_slashes(part.destination());
        let dst = self.make_or_open(&WantedDirectory { above: &fds.dst, name, mode, path: &destination_path })?;
        let made = dst.made && self.is_first_to_make(&destination_path);
        if made {
            self.tell_made(source_path, destination_path, |from, to| {
                let (from, to) = (quote::shown(from.as_bytes()), quote::shown(to.as_bytes()));
                [&from, b" -> ".as_slice(), &to, b"\n"].concat()
            });
        }
        let finish = Finish { source, made, scope, final_mode: dst.final_mode };
        Ok(self.enter(dst, parent, (&part.name, part.destination()), (src, follow), finish))
    }

    fn tell_made(
        &self,
        source_path: impl Fn() -> OsString + Copy,
        destination_path: impl Fn() -> OsString + Copy,
        line: impl FnOnce(&OsStr, &OsStr) -> Vec<u8>,
    ) {
        self.ctx.events.made_directory(source_path, destination_path);
        if self.ctx.options.verbose {
            self.ctx.events.lines(&line(&source_path(), &destination_path()));
        }
    }

    /// Enters an open directory. One that existed is first cleaned of the files of a killed run.
    fn enter(
        &self,
        dst: Opened,
        parent: &Arc<Dir>,
        names: (&OsStr, &OsStr),
        src: (OwnedFd, Follow),
        finish: Finish,
    ) -> Hold {
        let dir = dst.enter(self.ctx, parent, names, src, finish);
        if !finish.made && self.ctx.options.removes_leftovers() {
            temporary::sweep(self.ctx, &dir, OsStr::new("."));
        }
        dir
    }

    /// Makes the destination of a leading directory, or opens it if it exists, even if another process has just
    /// made it.
    fn make_or_open(&self, wanted: &WantedDirectory<'_>) -> Result<Opened, Failure> {
        let WantedDirectory { above, name, path, .. } = *wanted;
        let mut tries = 0;
        loop {
            tries += 1;
            match at::stat(above, name, Follow::Yes) {
                Ok(stat) if !stat.is_dir() => {
                    return Err(Failure::new(Operation::NotDirectory, path()));
                }
                Ok(_) => {
                    let link = at::stat(above, name, Follow::No).ok().filter(Stat::is_symlink);
                    if link.is_some_and(|link| !existing::is_trusted(&self.ctx.run.process, above, name, &link)) {
                        return Err(Failure::new(Operation::ThroughUntrustedLink, path()));
                    }
                    return wanted.open(self.ctx, Follow::from(link.is_some()));
                }
                Err(_) => match wanted.make(self.ctx, Operation::MakeLeadingDirectory) {
                    Err(failure) if was_overtaken(&failure, name) && tries < TRIES => {}
                    answer => return answer,
                },
            }
        }
    }

    /// Returns `Entered::Nothing` if nothing below the directory is to be copied.
    fn try_enter(&mut self, above: &Node, entry: &Entry, position: usize) -> Result<Entered, Failure> {
        let parent: &Arc<Dir> = &above.dir;
        let source_path = || parent.source_path(&entry.name);
        let destination_path = || parent.destination_path(entry.destination());
        let fds =
            parent.fds(self.ctx).map_err(|errno| Failure::new(Operation::Access, source_path()).errno(errno))?;
        let follow = existing::follows_source(&self.ctx.options, entry);
        let Some((src, source)) = open_source(parent, &fds, entry, follow)? else { return Ok(Entered::Other) };
        if !self.ctx.options.recursive {
            return Err(Failure::new(Operation::OmitDirectory, source_path()));
        }
        let operand = if entry.operand {
            Arc::new(Operand::new(position, above.depth + 1, (source_path(), destination_path()), source.dev))
        } else {
            Arc::clone(&above.operand)
        };
        let existing = if parent.fresh {
            None
        } else {
            let cannot_stat = |errno| Failure::new(Operation::Stat, destination_path()).errno(errno);
            existing::look(self.ctx, parent, &fds, entry, &source).map_err(cannot_stat)?
        };
        let decision = decision::decide(&self.ctx.options, &source, existing.as_ref());
        self.check_decision(parent, entry, &decision)?;
        if decision == Decision::Done || self.was_met(parent, entry, &fds, source.id(), &operand)? {
            return Ok(Entered::Nothing);
        }
        self.check_loop(parent, entry, &source, &operand)?;
        let merges = decision == Decision::Merge;
        let suspects = (!merges).then(|| self.suspects(above, entry, (&src, &source), &fds.dst));
        let dst = self.make_or_merge(parent, entry, &fds, &source, (existing, decision));
        if dst.is_err() && !merges && entry.operand {
            self.walk.registry.forget(source.id(), position);
        }
        let dst = dst?;
        if suspects.is_some_and(|suspects| suspects.have_appeared(&src)) {
            operand.abandon();
            return Err(operand.meets_itself());
        }
        let made = dst.made && self.is_first_to_make(&destination_path);
        if made {
            // Directories below a new directory can only be reached through it, so they need no note.
            if let Some(id) = dst.id().filter(|_| !parent.fresh || parent.is_leading()) {
                self.note(parent, entry, &fds, id, position);
            }
            self.tell_made(source_path, destination_path, |from, to| copied_line(from, to, None));
        }
        if self.ctx.options.dry_run && entry.operand && made && operands::is_below_itself(entry, fds.dst.as_fd()) {
            // A real copy meets the directory that it made; a dry run made none.
            self.ctx.events.fail(operand.meets_itself());
        }
        self.stats.directories += 1;
        let elsewhere = self.ctx.options.one_file_system && source.dev != operand.dev;
        let unread = if elsewhere { Unread::Nothing } else { self.list(src.as_fd(), &source_path) };
        let level = level_below(self.ctx, above.level.as_ref(), &entry.name, &src, &source_path);
        // A directory that a dry run did not make is empty, no matter which operand would make it first.
        let made = made || dst.stat.is_none();
        let finish = Finish { source, made, scope: AttributeScope::Full, final_mode: dst.final_mode };
        let names = (without_slashes(&entry.name), without_slashes(entry.destination()));
        let follow = if entry.name.as_bytes().ends_with(b"/") { Follow::Yes } else { follow };
        let node = Node {
            dir: self.enter(dst, parent, names, (src, follow), finish),
            operand,
            level,
            depth: above.depth + 1,
            entering: AtomicUsize::new(0),
            is_root: false,
            is_operand: entry.operand,
            one_at_a_time: false,
            table: Table::current(),
        };
        Ok(Entered::Directory(Pending { node: Arc::new(node), unread, subdirectories: Subdirectories::default() }))
    }

    /// Makes the destination of a directory, or opens it to merge into it, even if another process has just
    /// made it.
    fn make_or_merge(
        &self,
        parent: &Arc<Dir>,
        entry: &Entry,
        fds: &Fds,
        source: &Stat,
        (mut existing, mut decision): (Option<Existing>, Decision),
    ) -> Result<Opened, Failure> {
        let path = || parent.destination_path(entry.destination());
        let mode = self.ctx.mode_policy().directory(source.permissions(), false);
        let wanted = WantedDirectory { above: &fds.dst, name: entry.destination(), mode, path: &path };
        let mut tries = 0;
        loop {
            tries += 1;
            if decision == Decision::Merge {
                let follow = Follow::from(existing.is_some_and(|existing| existing.link.is_symlink()));
                return wanted.open(self.ctx, follow);
            }
            match self.make_in_place_of(&decision, &wanted) {
                Err(failure) if was_overtaken(&failure, wanted.name) && tries < TRIES => {
                    let cannot_stat = |errno| Failure::new(Operation::Stat, path()).errno(errno);
                    existing = existing::look(self.ctx, parent, fds, entry, source).map_err(cannot_stat)?;
                    decision = decision::decide(&self.ctx.options, source, existing.as_ref());
                    self.check_decision(parent, entry, &decision)?;
                }
                answer => return answer,
            }
        }
    }

    fn check_decision(&self, parent: &Arc<Dir>, entry: &Entry, decision: &Decision) -> Result<(), Failure> {
        let Decision::Refuse(refusal) = decision else { return Ok(()) };
        Err(refusal.failure(parent.source_path(&entry.name), parent.destination_path(entry.destination())))
    }

    /// Fails if a followed symbolic link leads to a directory above, or to the directory that is being filled.
    fn check_loop(
        &self,
        parent: &Arc<Dir>,
        entry: &Entry,
        source: &Stat,
        operand: &Operand,
    ) -> Result<(), Failure> {
        // Operands and listed directories are caught later, when their copy is listed, as in cp.
        let is_link = !entry.operand && !matches!(entry.hint, Some(Kind::Directory));
        let mut above = Some(parent);
        while let Some(dir) = above.filter(|_| self.ctx.options.dereference == Dereference::Always) {
            if dir.src_id == Some(source.id()) && !dir.is_leading() {
                let path = parent.source_path(&entry.name);
                return Err(Failure::new(Operation::CyclicLink, path));
            }
            if is_link && dir.dst_id == Some(source.id()) {
                return Err(operand.meets_itself());
            }
            above = dir.parent();
        }
        Ok(())
    }

    /// Makes a directory. A file of that name is first renamed to its backup or removed.
    fn make_in_place_of(&self, decision: &Decision, wanted: &WantedDirectory<'_>) -> Result<Opened, Failure> {
        let make = || wanted.make(self.ctx, Operation::CreateDirectory);
        let (words, backup) = match (decision, &self.ctx.options.backup) {
            (Decision::Make(Clear::Backup), Some(backup)) => (Operation::BackUp, Some(backup)),
            (Decision::Make(Clear::Unlink), _) => (Operation::Remove, None),
            _ => return make(),
        };
        let WantedDirectory { above, path, .. } = *wanted;
        let (dst, name) = (above.as_fd(), without_slashes(wanted.name));
        let failed = |errno| Failure::new(words, path()).errno(errno);
        if self.ctx.options.dry_run {
            return existing::may_make(above, name).map(|()| Opened::absent()).map_err(failed);
        }
        let Some(backup) = backup else {
            at::unlink(dst, name).map_err(failed)?;
            self.ctx.events.removed(path);
            return make();
        };
        let kept = backup::make(backup, dst, name).map_err(failed)?;
        let made = make();
        // If another process has made a file of that name, that file and the backup both stay.
        if made.as_ref().is_err_and(|failure| !failure.has_errno(Errno::EXIST))
            && let Some(kept) = kept
            && let Err(errno) = backup::undo(dst, name, &kept, false)
        {
            self.ctx.events.fail(Failure::new(Operation::UndoBackup, path()).errno(errno));
        }
        made
    }

    /// Returns whether this is the first directory at that path. Only a dry run has to remember.
    fn is_first_to_make(&self, path: &impl Fn() -> OsString) -> bool {
        let remembers = self.ctx.options.dry_run && (self.walk.several_operands || self.ctx.options.parents);
        !remembers || self.walk.registry.note_dry_run(path())
    }

    /// Opens the listing. A directory that cannot be listed still gets its attributes.
    fn list(&mut self, src: BorrowedFd<'_>, path: &impl Fn() -> OsString) -> Unread {
        if self.ctx.options.dry_run {
            io::leave_access_time(src);
        }
        let listing = Listing::open(src, &mut self.buffer);
        let in_order = self.walk.in_order;
        let listing =
            if in_order { listing.and_then(|listing| listing.sorted(&mut self.buffer)) } else { listing };
        match listing {
            Ok(listing) => Unread::Listing(listing),
            Err(errno) => {
                self.ctx.events.fail(Failure::new(Operation::Access, path()).errno(errno));
                Unread::Nothing
            }
        }
    }
}
