//! How far down its route one copy has come: which rung is in use, and how it is left.

use super::ladder::{Fault, Ladder, Side};
use super::{Account, Reason, Route, Strategy};
use crate::sys::Errno;

/// The rungs of one copy.
pub(super) struct Rungs<'a> {
    route: &'a Route,
    /// The rung in use, as an index into the route.
    index: usize,
    /// The devices of source and destination, about which refusals teach something.
    pair: (u64, u64),
    /// Which paths were already credited with this file.
    credited: [bool; Strategy::ALL.len()],
}

impl<'a> Rungs<'a> {
    pub(super) fn new(route: &'a Route, pair: (u64, u64)) -> Rungs<'a> {
        Rungs { route, index: 0, pair, credited: [false; Strategy::ALL.len()] }
    }

    /// Whether the rung may be used at all.
    pub(super) fn contain(&self, strategy: Strategy) -> bool {
        self.route.rungs.contains(&strategy)
    }

    /// The rung to use now, past those that are known to refuse. The last is always tried: its
    /// refusal is the reason to be reported.
    pub(super) fn current(&mut self, ladder: &Ladder) -> Option<Strategy> {
        while self.index + 1 < self.route.rungs.len()
            && ladder.is_known_refusal(self.route.rungs[self.index], self.pair)
        {
            self.index += 1;
        }
        self.route.rungs.get(self.index).copied()
    }

    /// Leaves all rungs before one, if the route has that; says whether it has.
    pub(super) fn skip_to(&mut self, strategy: Strategy) -> bool {
        let place = self.route.rungs.iter().position(|rung| *rung == strategy);
        self.index = place.unwrap_or(self.index);
        place.is_some()
    }

    /// Whether a strategy comes after the one in use.
    pub(super) fn has_behind(&self, strategy: Strategy) -> bool {
        self.route.rungs.iter().skip(self.index + 1).any(|rung| *rung == strategy)
    }

    /// Whether there is a rung behind the one in use.
    pub(super) fn has_another(&self) -> bool {
        self.index + 1 < self.route.rungs.len()
    }

    /// Puts bytes to a path's account.
    pub(super) fn credit(&mut self, account: &mut Account, strategy: Strategy, bytes: u64) {
        let first = !std::mem::replace(&mut self.credited[strategy as usize], true);
        let tally = account.path_mut(strategy);
        tally.bytes += bytes;
        tally.files += u64::from(first);
    }

    /// Leaves the rung in use for the next one; an error if there is none.
    pub(super) fn step_down(
        &mut self,
        ladder: &mut Ladder,
        account: &mut Account,
        reason: Reason,
        errno: Errno,
    ) -> Result<(), Fault> {
        let Some(&strategy) = self.route.rungs.get(self.index) else { return Err(self.exhausted(errno)) };
        *account.path_mut(strategy).step_downs.entry(reason).or_default() += 1;
        ladder.learn(strategy, errno, self.pair);
        if self.index + 1 == self.route.rungs.len() {
            return Err(self.exhausted(errno));
        }
        self.index += 1;
        Ok(())
    }

    /// All rungs have refused, the last one with this errno.
    pub(super) fn exhausted(&self, errno: Errno) -> Fault {
        Fault { refused: self.route.rungs.last().copied(), ..Fault::at(Side::Both, errno) }
    }
}
