//! The lines of `--debug`, which tell how a file was copied.
//!
//! cp's line has only three fields for up to six strategies, so a second line gives the details.

use super::Worker;
use crate::report::errno;
use crate::report::table::{bytes, count};
use crate::sys::{Stat, io};
use crate::transfer::ladder::Sparse;
use crate::transfer::route::{Cloning, FsKind};
use crate::transfer::{Account, Call, Outcome, Strategy, Transfer};
use std::fmt::Write;

impl Worker<'_> {
    pub(super) fn explain(&mut self, transfer: &Transfer<'_>, outcome: &Outcome, before: &Account) {
        let after = &self.stats.account;
        let stat = &transfer.stat;
        // cp searches for holes in every file with fewer blocks than bytes, no matter how it treats them.
        let first_data = stat.is_regular() && stat.seems_sparse();
        let first_data = if first_data { io::seek_data(transfer.src, 0).ok() } else { None };
        let without_holes = |first: &Option<u64>| {
            *first == Some(0) && io::seek_hole(transfer.src, 0).is_ok_and(|hole| hole >= stat.size)
        };
        let first_data = first_data.filter(|first| !without_holes(first));
        let all_hole = first_data == Some(None);
        let offload = if all_hole { "unknown" } else { self.offload(stat, before) };
        let reflink = self.reflink(transfer, before);
        let holes = match (first_data.is_some(), outcome.searched_zeros && !all_hole) {
            _ if reflink == "yes" => "unknown",
            (true, true) => "SEEK_HOLE + zeros",
            (true, false) => "SEEK_HOLE",
            (false, true) => "zeros",
            (false, false) => "no",
        };
        let mut text = format!("copy offload: {offload}, reflink: {reflink}, sparse detection: {holes}\n");
        let mut parts = Vec::new();
        for strategy in Strategy::ALL {
            parts.extend(difference(strategy, before, after));
        }
        let parts = if parts.is_empty() { "nothing to move".to_owned() } else { parts.join("; ") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  strategies: {parts}");
        self.say(&[text.as_bytes()]);
    }

    /// Prints the line of a file that could not be copied. It tells whether cloning was tried and failed.
    pub(super) fn explain_failure(&mut self, cloning_failed: bool) {
        let reflink = match self.ctx.options.limits.cloning {
            _ if cloning_failed => "unsupported",
            Cloning::Forbid => "no",
            _ => "unknown",
        };
        let line = format!("copy offload: unknown, reflink: {reflink}, sparse detection: unknown\n");
        self.say(&[line.as_bytes()]);
    }

    /// Returns whether the kernel moved the bytes itself. cp knows one system call for that, zcp three.
    fn offload(&self, stat: &Stat, before: &Account) -> &'static str {
        let limits = &self.ctx.options.limits;
        let changed = |strategy| self.change(before, strategy);
        let by_kernel = [Strategy::CopyFileRange, Strategy::Splice, Strategy::Sendfile].map(changed);
        match self.stats.account.bytes_moved() > before.bytes_moved() {
            _ if limits.cloning == Cloning::Forbid || limits.sparse != Sparse::Auto => "avoided",
            false => "unknown",
            // cp's one system call copies nothing from a file that claims to be empty, as those of /proc do.
            true if stat.is_regular() && stat.size == 0 => "unsupported",
            true if by_kernel.contains(&Change::Moved) => "yes",
            true if by_kernel.contains(&Change::Refused) => "unsupported",
            true => "no",
        }
    }

    fn reflink(&self, transfer: &Transfer<'_>, before: &Account) -> &'static str {
        let kind = || io::fs_magic(transfer.dst).map(FsKind::from_magic);
        match self.change(before, Strategy::Reflink) {
            Change::Moved => "yes",
            Change::Refused => "unsupported",
            Change::Nothing if self.ctx.options.limits.cloning == Cloning::Forbid => "no",
            // The server or the file system may have shared blocks inside copy_file_range.
            Change::Nothing
                if self.change(before, Strategy::CopyFileRange) == Change::Moved
                    && kind() != Ok(FsKind::Tmpfs) =>
            {
                "unknown"
            }
            Change::Nothing => "unsupported",
        }
    }

    fn change(&self, before: &Account, strategy: Strategy) -> Change {
        let (was, is) = (before.tally(strategy), self.stats.account.tally(strategy));
        match (is.bytes > was.bytes, is.total_calls() > was.total_calls()) {
            (true, _) => Change::Moved,
            (false, true) => Change::Refused,
            (false, false) => Change::Nothing,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Moved,
    Refused,
    Nothing,
}

/// Describes the use of one strategy for a file: bytes, calls, and the reason for stepping down.
fn difference(strategy: Strategy, before: &Account, after: &Account) -> Option<String> {
    let (was, is) = (before.tally(strategy), after.tally(strategy));
    if was == is {
        return None;
    }
    let mut text = format!("{} {}", strategy.name(), bytes(is.bytes - was.bytes));
    for call in Call::ALL {
        let made = is.calls[call as usize] - was.calls[call as usize];
        if made > 0 {
            let _ = write!(text, ", {} {}", count(made), call.label());
        }
    }
    for (reason, times) in &is.step_downs {
        if was.step_downs.get(reason) != Some(times) {
            let _ = write!(text, ", left for {}", errno::reason_name(*reason));
        }
    }
    Some(text)
}
