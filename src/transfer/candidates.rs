//! The position of one copy in its route.

use super::ladder::{Ladder, cannot_copy_by};
use super::{Account, Reason, Route, Strategy};
use crate::error::Failure;
use crate::sys::Errno;

pub(super) struct Candidates<'a> {
    route: &'a Route,
    /// The strategy in use, as an index into the route.
    index: usize,
    /// The devices of source and destination, for which refusals are remembered.
    pair: (u64, u64),
    /// The strategies whose tally has counted this file.
    credited: [bool; Strategy::ALL.len()],
}

impl<'a> Candidates<'a> {
    pub(super) fn new(route: &'a Route, pair: (u64, u64)) -> Candidates<'a> {
        Candidates { route, index: 0, pair, credited: [false; Strategy::ALL.len()] }
    }

    pub(super) fn contains(&self, strategy: Strategy) -> bool {
        self.route.strategies.contains(&strategy)
    }

    /// Returns the strategy to use now, without those that are known to be refused. The last is always tried,
    /// because its refusal is the reason to report.
    pub(super) fn current(&mut self, ladder: &Ladder) -> Option<Strategy> {
        while self.index + 1 < self.route.strategies.len()
            && ladder.is_known_refusal(self.route.strategies[self.index], self.pair)
        {
            self.index += 1;
        }
        self.route.strategies.get(self.index).copied()
    }

    /// Skips to a strategy; false if the route does not have it.
    pub(super) fn skip_to(&mut self, strategy: Strategy) -> bool {
        let place = self.route.strategies.iter().position(|other| *other == strategy);
        self.index = place.unwrap_or(self.index);
        place.is_some()
    }

    pub(super) fn position(&self) -> usize {
        self.index
    }

    pub(super) fn return_to(&mut self, position: usize) {
        self.index = position;
    }

    pub(super) fn has_later(&self, strategy: Strategy) -> bool {
        self.route.strategies.iter().skip(self.index + 1).any(|other| *other == strategy)
    }

    /// Returns whether the route has any strategy after the one in use.
    pub(super) fn has_another(&self) -> bool {
        self.index + 1 < self.route.strategies.len()
    }

    pub(super) fn credit(&mut self, account: &mut Account, strategy: Strategy, bytes: u64) {
        let first = !std::mem::replace(&mut self.credited[strategy as usize], true);
        let tally = account.tally_mut(strategy);
        tally.bytes += bytes;
        tally.interruptions.reset();
        tally.files += u64::from(first);
    }

    /// Changes to the next strategy; an error if there is none.
    pub(super) fn step_down(
        &mut self,
        ladder: &mut Ladder,
        account: &mut Account,
        reason: Reason,
        errno: Errno,
    ) -> Result<(), Failure> {
        let Some(&strategy) = self.route.strategies.get(self.index) else { return Err(self.exhausted(errno)) };
        account.step_down(strategy, reason);
        ladder.learn(strategy, errno, self.pair);
        if self.index + 1 == self.route.strategies.len() {
            return Err(self.exhausted(errno));
        }
        self.index += 1;
        Ok(())
    }

    /// Returns the error after all strategies were refused, the last one with this errno.
    pub(super) fn exhausted(&self, errno: Errno) -> Failure {
        let last = self.route.strategies.last();
        last.map_or(Failure::copying(errno), |last| Failure::from(cannot_copy_by(*last)).errno(errno))
    }
}
