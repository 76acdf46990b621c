//! The ladder of one worker: limits, reusable resources, and the refusals met so far.
//!
//! The loop over the strategies is in `copy_loop.rs`.

use super::chunk::PipeLoad;
use super::copy_loop::CopyLoop;
use super::endpoint::{Endpoint, Form, Offsets};
use super::enlarge;
use super::evict::{self, Evictor};
use super::rate_limit::RateLimit;
use super::route::{Case, Cloning, FsKind, SMALL, default_route, forced_route, stream_route};
use super::strategies::read_write::Buffer;
use super::strategies::splice::Pipe;
use super::uncached::{self, Sides};
use super::writeback::Writeback;
use super::{Account, Meter, Route, Strategy};
use crate::error::{Failure, Operation};
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, Stat, at, io};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Returns the operation that failed if the kernel refused this strategy, the last of its ladder.
pub(super) fn cannot_copy_by(strategy: Strategy) -> Operation {
    match strategy {
        Strategy::Reflink => Operation::Clone,
        Strategy::CopyFileRange => Operation::CopyByCopyFileRange,
        Strategy::Splice => Operation::CopyBySplice,
        Strategy::Sendfile => Operation::CopyBySendfile,
        Strategy::Mmap => Operation::CopyByMmap,
        Strategy::ReadWrite => Operation::CopyByReadWrite,
    }
}

/// Returns whether a copy failed because the kernel refused all strategies that were allowed.
pub(crate) fn all_strategies_refused(failure: &Failure) -> bool {
    Strategy::ALL.into_iter().any(|strategy| failure.is_of(cannot_copy_by(strategy)))
}

/// The treatment of holes (`--sparse`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sparse {
    /// Holes of the source stay holes.
    #[default]
    Auto,
    /// Runs of zeros become holes as well.
    Always,
    /// All bytes are written.
    Never,
}

/// The options that limit or direct a transfer.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// `--strategy`: the only strategies to use, in order.
    pub forced: Option<Vec<Strategy>>,
    /// `--reflink`.
    pub cloning: Cloning,
    /// `--sparse`.
    pub sparse: Sparse,
    /// `--bwlimit`, shared by all workers.
    pub rate_limit: Option<Arc<RateLimit>>,
    /// `--cache=drop`: drop the pages that the copy brings into the page cache.
    pub drop_cache: bool,
    /// `--fsync`: files are synced at the end, by a call that no signal interrupts.
    pub fsync: bool,
}

impl Limits {
    pub(super) fn route(&self, case: Case) -> Route {
        let default = default_route(case, self.cloning);
        self.restrict(if case.uncached { uncached::route(default) } else { default })
    }

    /// Returns the route if either side is a stream, within the limits.
    pub(super) fn stream_route(&self, case: Case) -> Route {
        self.restrict(stream_route(case, self.cloning))
    }

    /// Returns whether small new files are cloned between file systems of these kinds, if they can be.
    pub(crate) fn tries_clone(&self, kinds: (FsKind, FsKind), same_device: bool) -> bool {
        self.route(Case::small(kinds, same_device)).strategies.first() == Some(&Strategy::Reflink)
    }

    fn restrict(&self, default: Route) -> Route {
        let mut route = self.forced.as_deref().map_or(default, forced_route);
        match self.sparse {
            Sparse::Auto => {}
            // Only in user space can bytes be searched for zeros.
            Sparse::Always => {
                route.strategies.retain(|s| *s == Strategy::ReadWrite);
                route.preallocate = false;
            }
            // These strategies may copy holes as holes.
            Sparse::Never => {
                route.strategies.retain(|s| !matches!(s, Strategy::Reflink | Strategy::CopyFileRange))
            }
        }
        route
    }
}

/// The two open files of one copy.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// Open for reading.
    pub src: BorrowedFd<'a>,
    /// The result of fstat on `src`.
    pub stat: Stat,
    /// Open for writing.
    pub dst: BorrowedFd<'a>,
    /// The device number of the destination.
    pub dst_dev: u64,
    /// Whether the destination is a file or a stream.
    pub destination_kind: DestinationKind,
    /// Whether the destination existed before and has just been truncated.
    pub overwritten: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// The kind of a destination.
pub enum DestinationKind {
    /// A regular file that is written at offsets; it may have holes.
    File,
    /// Anything else, with its fstat. This may be a regular file that is written at the descriptor's position, as
    /// after `>>` in a shell.
    Stream(Stat),
}

impl<'a> Transfer<'a> {
    pub(super) fn forms(&self) -> (Form, Form) {
        let dst = match &self.destination_kind {
            DestinationKind::File => Form::File,
            DestinationKind::Stream(stat) => Form::of_open(stat, self.dst),
        };
        (Form::of_open(&self.stat, self.src), dst)
    }

    pub(super) fn is_stream(&self) -> bool {
        !self.stat.is_regular() || self.destination_kind != DestinationKind::File
    }

    pub(super) fn offsets(&self, source: Form) -> Offsets {
        let destination = Cell::new(self.destination_kind == DestinationKind::File);
        Offsets { source: Cell::new(source == Form::File), destination }
    }

    pub(super) fn source_size(&self) -> Result<u64, Failure> {
        at::fstat(self.src).map(|stat| stat.size).map_err(Failure::reading)
    }

    /// Returns the endpoints of source and destination; `stop` ends a wait for either.
    pub(super) fn ends<'e>(
        &self,
        (src, dst): (Form, Form),
        offsets: &'e Offsets,
        stop: &'e StopFlag,
    ) -> (Endpoint<'e>, Endpoint<'e>)
    where
        'a: 'e,
    {
        (
            Endpoint { fd: self.src, form: src, has_offsets: &offsets.source, uncached: false, stop },
            Endpoint { fd: self.dst, form: dst, has_offsets: &offsets.destination, uncached: false, stop },
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePart {
    /// All of it. The destination is empty.
    Whole,
    /// The rest. The destination ends at this offset and has the same bytes before.
    From(u64),
    /// A range. The destination has its full length and, in the range, only holes or the same bytes.
    Range(Range<u64>),
}

impl FilePart {
    fn range(&self, size: u64) -> Range<u64> {
        match self {
            FilePart::Whole => 0..size,
            FilePart::From(start) => *start..size.max(*start),
            FilePart::Range(range) => range.clone(),
        }
    }
}

/// The result of a copy; all but the size is for `--debug`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The offset at which the copy ended; for a whole file, its length in bytes.
    pub size: u64,
    pub searched_zeros: bool,
}

/// The resources and the knowledge that one worker keeps from file to file.
#[derive(Default)]
pub struct Ladder {
    pub(super) limits: Limits,
    pub(super) stop: StopFlag,
    pub(super) meter: Arc<Meter>,
    pub(super) pipe: Pipe,
    pub(super) pipe_load: PipeLoad,
    pub(super) buffer: Buffer,
    evictor: Option<Evictor>,
    /// Whether the evictor drops the pages of the current file.
    evicting: bool,
    writeback: Writeback,
    /// Whether the current file must not be flushed before it is complete: some FUSE servers take a flush, an
    /// fsync or the closing of any of its descriptors as its end.
    written_in_one: bool,
    uncached: uncached::TriedPairs,
    // There are only a few devices and cases, and each file looks them up: a list is faster than a map.
    file_systems: Vec<(u64, FsKind)>,
    routes: Vec<(Case, Arc<Route>, u64)>,
    refused_here: Vec<((u64, u64), Strategy)>,
    refused_ever: Vec<Strategy>,
}

impl Ladder {
    /// Makes a ladder that adds to `meter` as bytes are copied, and stops when `stop` is raised.
    pub fn new(limits: Limits, stop: StopFlag, meter: Arc<Meter>) -> Ladder {
        let evictor = limits.drop_cache.then(|| Evictor::new(stop.clone()));
        let writeback = Writeback::new(stop.clone());
        Ladder { limits, stop, meter, evictor, writeback, ..Ladder::default() }
    }

    /// Returns the routes that were taken and the number of files of each, for the statistics.
    pub fn into_routes(self) -> BTreeMap<Case, (Route, u64)> {
        let taken = self.routes.into_iter().filter(|(.., files)| *files > 0);
        taken.map(|(case, route, files)| (case, (Arc::unwrap_or_clone(route), files))).collect()
    }

    /// Copies all data of `t.src` to `t.dst`. After a failure, which no strategy could avoid, the content of the
    /// destination is unspecified.
    pub fn copy(&mut self, t: &Transfer<'_>, account: &mut Account) -> Result<Outcome, Failure> {
        self.copy_part(t, FilePart::Whole, account)
    }

    /// Copies a part of `t.src` to the same offset of `t.dst`.
    pub fn copy_part(
        &mut self,
        t: &Transfer<'_>,
        part: FilePart,
        account: &mut Account,
    ) -> Result<Outcome, Failure> {
        self.writeback.begin();
        let may_be_flushed = self.limits.fsync || self.evictor.is_some();
        self.written_in_one = may_be_flushed
            && t.destination_kind == DestinationKind::File
            && self.file_system(t.dst_dev, t.dst) == FsKind::Fuse;
        let outcome = if t.is_stream() { self.copy_stream(t, account) } else { self.copy_file(t, part, account) }?;
        self.writeback.wait().map_err(Failure::writing)?;
        Ok(outcome)
    }

    fn copy_file(&mut self, t: &Transfer<'_>, part: FilePart, account: &mut Account) -> Result<Outcome, Failure> {
        let source = self.file_system(t.stat.dev, t.src);
        let destination = self.file_system(t.dst_dev, t.dst);
        let is_whole = part == FilePart::Whole;
        let sides =
            if is_whole { self.uncached_sides(t, [source, destination], account) } else { Sides::default() };
        let case = Case::new(source, destination, &t.stat, t.dst_dev, t.overwritten);
        let mut route = self.route(Case { uncached: sides.any(), ..case }, Limits::route);
        if !is_whole {
            // A reflink clones whole files.
            Arc::make_mut(&mut route).strategies.retain(|strategy| *strategy != Strategy::Reflink);
        }
        self.evicting = !sides.any();
        if let Some(evictor) = self.evictor.as_mut().filter(|_| self.evicting) {
            evictor.begin(t, part.range(t.stat.size));
        }
        let copy = CopyLoop::new(self, t, &route, account, source.sizes_are_true());
        let outcome = copy.past_cache(sides).run(part)?;
        if let Some(evictor) = self.evictor.as_mut().filter(|_| self.evicting) {
            evictor.end(t, outcome.size, !self.written_in_one).map_err(Failure::writing)?;
        }
        Ok(outcome)
    }

    /// Copies all bytes if either side is a stream.
    fn copy_stream(&mut self, t: &Transfer<'_>, account: &mut Account) -> Result<Outcome, Failure> {
        let forms = t.forms();
        // One call moves as much as a default pipe holds in any case.
        let is_long = !t.stat.is_regular() || t.stat.size > SMALL;
        if is_long {
            enlarge::pipe(forms.0, t.src);
            enlarge::pipe(forms.1, t.dst);
        }
        let _enlarged = if is_long { enlarge::socket(forms.1, t.dst) } else { None };
        let source = self.kind_of(forms.0, t.stat.dev, t.src);
        let destination = self.kind_of(forms.1, t.dst_dev, t.dst);
        let true_size = t.stat.is_regular() && source.sizes_are_true();
        let route = self.route(Case::stream(source, destination), Limits::stream_route);
        let answer = CopyLoop::new(self, t, &route, account, true_size).run_stream();
        if answer.is_err() {
            self.pipe = Pipe::default(); // bytes of this stream must not reach another file
        }
        answer
    }

    fn kind_of(&mut self, form: Form, dev: u64, fd: BorrowedFd<'_>) -> FsKind {
        match form {
            Form::File => self.file_system(dev, fd),
            Form::Pipe => FsKind::Pipe,
            Form::Socket | Form::Messages => FsKind::Socket,
            Form::Null | Form::Device => FsKind::Device,
        }
    }

    /// Returns the sides that bypass the page cache: all that are on a disk or none, in files that the evictor would flush
    /// many at a time, if read and write may come first.
    fn uncached_sides(&mut self, t: &Transfer<'_>, kinds: [FsKind; 2], account: &mut Account) -> Sides {
        let forced = self.limits.forced.as_deref().and_then(|strategies| strategies.first());
        let free = forced.is_none_or(|first| *first == Strategy::ReadWrite);
        if !self.limits.drop_cache || !free || t.stat.size >= evict::FLUSH {
            return Sides::default();
        }
        self.uncached.sides(t, kinds, account.tally_mut(Strategy::ReadWrite))
    }

    /// Returns the bytes of the last file that may not be on the disk yet.
    pub fn unwritten(&self) -> u64 {
        self.writeback.unwritten()
    }

    fn flushes(&self, t: &Transfer<'_>) -> bool {
        let wanted = self.limits.fsync || self.evictor.is_some() && self.evicts(t);
        wanted && t.destination_kind == DestinationKind::File && !self.written_in_one
    }

    fn evicts(&self, t: &Transfer<'_>) -> bool {
        self.evicting && t.stat.is_regular() && t.destination_kind == DestinationKind::File
    }

    /// Returns the most bytes to request from one call at `at`: the least of `len` and the limits in force.
    pub(super) fn most_bytes(&self, t: &Transfer<'_>, at: u64, len: u64) -> u64 {
        let limited = self.limits.rate_limit.as_ref().map_or(len, |limit| len.min(limit.step()));
        let flushed = if self.flushes(t) { limited.min(self.writeback.most_bytes()) } else { limited };
        let evictor = self.evictor.as_ref().filter(|_| self.evicts(t));
        evictor.map_or(flushed, |evictor| flushed.min(evictor.most_bytes(at)))
    }

    /// Accounts for `bytes` by which the destination is now complete up to `at`.
    pub(super) fn moved(&mut self, t: &Transfer<'_>, at: u64, bytes: u64) -> Result<(), Failure> {
        self.meter.add(bytes);
        let left = if t.stat.is_regular() { t.stat.size.saturating_sub(at) } else { u64::MAX };
        let written = match self.flushes(t) {
            true => self.writeback.add(t.dst, at, bytes, left).map_err(Failure::writing)?,
            false => None,
        };
        let evicts = self.evicts(t);
        if let Some(evictor) = self.evictor.as_mut().filter(|_| evicts) {
            evictor.copied_to(t, at);
            if let Some(end) = written {
                evictor.flushed(t, end);
            }
        }
        if let Some(limit) = &self.limits.rate_limit {
            limit.throttle(bytes, || self.stop.is_raised());
        }
        Ok(())
    }

    /// Returns the file system of an open file with this device number. statfs is called once for each device.
    pub fn file_system(&mut self, dev: u64, fd: BorrowedFd<'_>) -> FsKind {
        if let Some((_, kind)) = self.file_systems.iter().find(|(known, _)| *known == dev) {
            return *kind;
        }
        let kind = io::fs_magic(fd).map_or(FsKind::Other, FsKind::from_magic);
        self.file_systems.push((dev, kind));
        kind
    }

    /// Returns whether small new files between these open directories are cloned, as far as it is known; each
    /// with its device number.
    pub fn tries_clone(&mut self, source: (u64, BorrowedFd<'_>), destination: (u64, BorrowedFd<'_>)) -> bool {
        let kinds = (self.file_system(source.0, source.1), self.file_system(destination.0, destination.1));
        self.limits.tries_clone(kinds, source.0 == destination.0)
    }

    pub(super) fn route(&mut self, case: Case, choose: fn(&Limits, Case) -> Route) -> Arc<Route> {
        let index = self.route_index(case, choose);
        self.count_file(index);
        self.route_at(index)
    }

    pub(super) fn route_index(&mut self, case: Case, choose: fn(&Limits, Case) -> Route) -> usize {
        self.routes.iter().position(|(known, ..)| *known == case).unwrap_or_else(|| {
            self.routes.push((case, Arc::new(choose(&self.limits, case)), 0));
            self.routes.len() - 1
        })
    }

    pub(super) fn route_at(&self, index: usize) -> Arc<Route> {
        Arc::clone(&self.routes[index].1)
    }

    pub(super) fn count_file(&mut self, index: usize) {
        self.routes[index].2 += 1;
    }

    /// Returns the first strategy of a route that is not known to be refused for a pair of devices.
    pub(super) fn first_strategy(&self, route: usize, pair: (u64, u64)) -> Option<Strategy> {
        let strategies = &self.routes.get(route)?.1.strategies;
        strategies.iter().copied().find(|strategy| !self.is_known_refusal(*strategy, pair))
    }

    pub(super) fn check_stop(&self) -> Result<(), Failure> {
        if self.stop.is_raised() { Err(Failure::interruption()) } else { Ok(()) }
    }

    /// Remembers a refusal that holds beyond this file: for the run, or for this pair of devices.
    pub(super) fn learn(&mut self, strategy: Strategy, errno: Errno, pair: (u64, u64)) {
        if self.is_known_refusal(strategy, pair) {
            return;
        }
        match errno {
            Errno::NOSYS => self.refused_ever.push(strategy),
            Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY => self.refused_here.push((pair, strategy)),
            _ => {}
        }
    }

    pub(super) fn is_known_refusal(&self, strategy: Strategy, pair: (u64, u64)) -> bool {
        self.refused_ever.contains(&strategy) || self.refused_here.contains(&(pair, strategy))
    }
}
