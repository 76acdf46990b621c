//! The lines of `--debug`: how one file was copied.
//!
//! cp's line has three words for what may be six paths, so a second line says the rest.

use super::Worker;
use crate::report::errno;
use crate::report::table::{bytes, count};
use crate::transfer::ladder::Sparse;
use crate::transfer::route::Cloning;
use crate::transfer::{Account, Call, Outcome, Strategy};
use std::fmt::Write;

impl Worker<'_> {
    /// Prints what has been added to the account since `before`.
    pub(super) fn explain(&mut self, outcome: &Outcome, before: &Account) {
        let after = &self.stats.account;
        let offload = self.offload(before);
        let reflink = self.reflink(before);
        let holes = match (outcome.asked_for_holes, outcome.searched_zeros) {
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
        // Writing to a String does not fail.
        let _ = writeln!(text, "  path: {parts}");
        self.say(&[text.as_bytes()]);
    }

    /// Whether the kernel moved the bytes by itself. cp knows one call for that, zcp three.
    fn offload(&self, before: &Account) -> &'static str {
        let limits = &self.ctx.options.limits;
        let changed = |strategy| self.change(before, strategy);
        let by_kernel = [Strategy::CopyFileRange, Strategy::Splice, Strategy::Sendfile].map(changed);
        match self.stats.account.bytes_moved() > before.bytes_moved() {
            false => "unknown",
            true if limits.cloning == Cloning::Forbid || limits.sparse != Sparse::Auto => "avoided",
            true if by_kernel.contains(&Change::Moved) => "yes",
            true if by_kernel.contains(&Change::Refused) => "unsupported",
            true => "no",
        }
    }

    fn reflink(&self, before: &Account) -> &'static str {
        match self.change(before, Strategy::Reflink) {
            Change::Moved => "yes",
            Change::Refused => "unsupported",
            Change::Nothing if self.ctx.options.limits.cloning == Cloning::Forbid => "no",
            // The server or the file system may have done it inside copy_file_range.
            Change::Nothing if self.change(before, Strategy::CopyFileRange) == Change::Moved => "unknown",
            Change::Nothing => "unsupported",
        }
    }

    /// What a path had to do with the file in hand.
    fn change(&self, before: &Account, strategy: Strategy) -> Change {
        let (was, is) = (before.path(strategy), self.stats.account.path(strategy));
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

/// One path's part in a file: bytes, calls, and why it was left.
fn difference(strategy: Strategy, before: &Account, after: &Account) -> Option<String> {
    let (was, is) = (before.path(strategy), after.path(strategy));
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
