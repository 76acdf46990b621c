//! The climb: one offset, the rungs in order, and what refusals have taught.
//!
//! `at` is what the destination has. A rung that is refused hands over exactly there, so no byte is
//! lost or doubled, whichever rung gets how far.

use super::buffered::{self, Buffer, End};
use super::route::{Case, Cloning, FsKind, default_route, forced_route};
use super::spans::{self, Next};
use super::splice::Pipe;
use super::{Account, Call, Meter, Reason, Route, Step, Strategy, copy_range, mmap, reflink, sendfile, splice};
use crate::sys::proc::StopFlag;
use crate::sys::{self, Errno, Stat, io};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The most bytes for one call, so that Ctrl-C and the progress bar stay alive.
const STEP: u64 = 64 << 20;

/// Which of the two files a failure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Reading failed.
    Source,
    /// Writing failed.
    Destination,
    /// One call did both, and does not say.
    Both,
}

/// Why a file could not be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it failed.
    pub side: Side,
    /// The system's reason.
    pub errno: Errno,
    /// The last allowed path, if all allowed paths were refused.
    pub refused: Option<Strategy>,
}

impl Fault {
    pub(super) fn at(side: Side, errno: Errno) -> Fault {
        Fault { side, errno, refused: None }
    }

    /// Whether a signal asked to stop in the middle.
    pub fn is_interruption(&self) -> bool {
        self.errno == Errno::INTR
    }
}

/// How holes are treated (`--sparse`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sparse {
    /// Holes of the source stay holes.
    #[default]
    Auto,
    /// Runs of zeros become holes as well.
    Always,
    /// All bytes are written.
    Never,
}

/// What the user allows the ladder to do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `--strategy`: these rungs and no others.
    pub forced: Option<Vec<Strategy>>,
    /// `--reflink`.
    pub cloning: Cloning,
    /// `--sparse`.
    pub sparse: Sparse,
}

/// The two open files of one copy.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// Open for reading.
    pub src: BorrowedFd<'a>,
    /// What fstat said of it.
    pub stat: Stat,
    /// Open for writing, empty.
    pub dst: BorrowedFd<'a>,
    /// The device that holds the destination.
    pub dst_dev: u64,
    /// Whether the destination is a regular file; otherwise it has neither holes nor offsets.
    pub dst_regular: bool,
}

/// What was learnt on the way, for `--debug`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The length that the destination has now, in bytes.
    pub size: u64,
    /// Whether the file system was asked for holes.
    pub asked_for_holes: bool,
    /// Whether the bytes were searched for zeros.
    pub searched_zeros: bool,
}

/// The rungs of one worker, with the resources that they reuse and what they have learnt.
#[derive(Debug)]
pub struct Ladder {
    limits: Limits,
    stop: StopFlag,
    meter: Arc<Meter>,
    pipe: Pipe,
    buffer: Buffer,
    file_systems: HashMap<u64, FsKind>,
    routes: HashMap<Case, (Arc<Route>, u64)>,
    refused_here: HashMap<(u64, u64), Vec<Strategy>>,
    refused_ever: Vec<Strategy>,
}

impl Ladder {
    /// A ladder that adds to `meter` as bytes arrive, and stops when `stop` is raised.
    pub fn new(limits: Limits, stop: StopFlag, meter: Arc<Meter>) -> Ladder {
        Ladder {
            limits,
            stop,
            meter,
            pipe: Pipe::default(),
            buffer: Buffer::default(),
            file_systems: HashMap::new(),
            routes: HashMap::new(),
            refused_here: HashMap::new(),
            refused_ever: Vec::new(),
        }
    }

    /// The routes that were taken, and by how many files, for the statistics.
    pub fn into_routes(self) -> BTreeMap<Case, (Route, u64)> {
        self.routes
            .into_iter()
            .map(|(case, (route, files))| (case, (Arc::unwrap_or_clone(route), files)))
            .collect()
    }

    /// Copies all data of `t.src` to `t.dst`.
    ///
    /// # Errors
    /// The first fault that no rung could go around. The destination then has an unspecified part.
    pub fn copy(&mut self, t: &Transfer<'_>, account: &mut Account) -> Result<Outcome, Fault> {
        if !t.stat.is_regular() || !t.dst_regular {
            return self.copy_stream(t, account);
        }
        let source = self.file_system(t.stat.dev, t.src);
        let destination = self.file_system(t.dst_dev, t.dst);
        let case = Case::new(source, destination, &t.stat, t.dst_dev);
        let route = self.route(case);
        let mut climb = Climb::new(self, t, &route, account, source.sizes_are_true());
        climb.run()
    }

    fn file_system(&mut self, dev: u64, fd: BorrowedFd<'_>) -> FsKind {
        *self.file_systems.entry(dev).or_insert_with(|| io::fs_magic(fd).map_or(FsKind::Other, FsKind::from_magic))
    }

    fn route(&mut self, case: Case) -> Arc<Route> {
        let Limits { forced, cloning, sparse } = &self.limits;
        let (route, files) = self.routes.entry(case).or_insert_with(|| {
            let mut route = match forced {
                Some(rungs) => forced_route(rungs),
                None => default_route(case, *cloning),
            };
            match sparse {
                Sparse::Auto => {}
                // Only bytes that pass through user space can be searched for zeros.
                Sparse::Always => {
                    route.rungs.retain(|s| *s == Strategy::ReadWrite);
                    route.preallocate = false;
                }
                // Holes are to be filled: no rung may do as it likes with them.
                Sparse::Never => route.rungs.retain(|s| !matches!(s, Strategy::Reflink | Strategy::CopyFileRange)),
            }
            (Arc::new(route), 0)
        });
        *files += 1;
        Arc::clone(route)
    }

    /// A pipe, a device or a terminal on either side: what comes is what there is.
    fn copy_stream(&mut self, t: &Transfer<'_>, account: &mut Account) -> Result<Outcome, Fault> {
        let limits = &self.limits;
        let refused = match &limits.forced {
            _ if limits.cloning == Cloning::Require => Some(Strategy::Reflink),
            Some(forced) if !forced.contains(&Strategy::ReadWrite) => forced.last().copied(),
            _ => None,
        };
        if refused.is_some() {
            return Err(Fault { side: Side::Both, errno: Errno::OPNOTSUPP, refused });
        }
        let ends = ends(t);
        let zeros = limits.sparse == Sparse::Always && t.dst_regular;
        let block = block_size(t);
        let mut at = 0;
        let tally = account.path_mut(Strategy::ReadWrite);
        let mut holes = 0;
        loop {
            self.check_stop()?;
            let step = if zeros {
                skip_zeros(&mut self.buffer, ends, at, STEP, block, tally, &mut holes)
            } else {
                buffered::step(&mut self.buffer, ends.0, ends.1, at, STEP, tally)
            };
            match step {
                Step::Moved(n) => {
                    tally.files += u64::from(at == 0);
                    tally.bytes += n;
                    at += n;
                    self.meter.bytes.fetch_add(n, Ordering::Relaxed);
                }
                Step::Dry => break,
                Step::Refused(errno) => return Err(Fault::at(Side::Both, errno)),
                Step::Failed(fault) => return Err(fault),
            }
        }
        if zeros {
            tally.bytes -= holes;
            account.holes += holes;
            io::truncate(t.dst, at).map_err(|errno| Fault::at(Side::Destination, errno))?;
        }
        Ok(Outcome { size: at, searched_zeros: zeros, ..Outcome::default() })
    }

    fn check_stop(&self) -> Result<(), Fault> {
        if self.stop.is_raised() { Err(Fault::at(Side::Both, Errno::INTR)) } else { Ok(()) }
    }

    /// What a refusal teaches beyond this file.
    fn learn(&mut self, strategy: Strategy, errno: Errno, pair: (u64, u64)) {
        let known = match errno {
            Errno::NOSYS => &mut self.refused_ever,
            Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY => self.refused_here.entry(pair).or_default(),
            _ => return,
        };
        if !known.contains(&strategy) {
            known.push(strategy);
        }
    }

    fn is_known_refusal(&self, strategy: Strategy, pair: (u64, u64)) -> bool {
        self.refused_ever.contains(&strategy)
            || self.refused_here.get(&pair).is_some_and(|known| known.contains(&strategy))
    }
}

/// Block devices have offsets; pipes, sockets and most character devices do not.
fn ends<'a>(t: &Transfer<'a>) -> (End<'a>, End<'a>) {
    let seekable = matches!(t.stat.kind(), sys::Kind::Regular | sys::Kind::BlockDevice);
    (End { fd: t.src, seekable }, End { fd: t.dst, seekable: t.dst_regular })
}

/// The unit in which zeros are looked for: smaller holes would be filled by the file system.
fn block_size(t: &Transfer<'_>) -> usize {
    usize::try_from(t.stat.blksize).unwrap_or(4096).clamp(512, 1 << 16)
}

/// Reads a buffer and writes what is not zeros. Moved counts the zeros too; `holes` says how many.
fn skip_zeros(
    buffer: &mut Buffer,
    (src, dst): (End<'_>, End<'_>),
    at: u64,
    len: u64,
    block: usize,
    tally: &mut super::Tally,
    holes: &mut u64,
) -> Step {
    if let Err(errno) = buffer.fill(src, at, len, tally) {
        return Step::Failed(Fault::at(Side::Source, errno));
    }
    let bytes = buffer.content();
    for (zero, run) in spans::runs(bytes, block) {
        let start = at + run.start as u64;
        if zero {
            *holes += run.len() as u64;
        } else if let Err(errno) = buffered::write_all(&bytes[run], dst, start, tally) {
            return Step::Failed(Fault::at(Side::Destination, errno));
        }
    }
    if bytes.is_empty() { Step::Dry } else { Step::Moved(bytes.len() as u64) }
}

/// One file on its way up the ladder.
struct Climb<'a, 'f> {
    ladder: &'a mut Ladder,
    t: &'a Transfer<'f>,
    route: &'a Route,
    account: &'a mut Account,
    /// Whether `st_size` is where the data ends.
    true_size: bool,
    /// The rung in use, as an index into the route.
    rung: usize,
    /// The destination's own position, which sendfile writes at.
    position: u64,
    /// Zeros that the last step read but did not write.
    skipped: u64,
    /// Which paths were already credited with this file.
    credited: [bool; Strategy::ALL.len()],
    outcome: Outcome,
}

impl<'a, 'f> Climb<'a, 'f> {
    fn new(
        ladder: &'a mut Ladder,
        t: &'a Transfer<'f>,
        route: &'a Route,
        account: &'a mut Account,
        true_size: bool,
    ) -> Self {
        let credited = [false; Strategy::ALL.len()];
        Climb {
            ladder,
            t,
            route,
            account,
            true_size,
            rung: 0,
            position: 0,
            skipped: 0,
            credited,
            outcome: Outcome::default(),
        }
    }

    fn run(&mut self) -> Result<Outcome, Fault> {
        let sparse = self.ladder.limits.sparse;
        let wanted = self.t.stat.size > 0 || self.ladder.limits.cloning == Cloning::Require;
        if wanted && self.try_reflink()? {
            self.outcome.size = self.t.stat.size;
            return Ok(self.outcome);
        }
        let ask = sparse != Sparse::Never && self.t.stat.seems_sparse();
        self.outcome.asked_for_holes = ask;
        self.outcome.searched_zeros = sparse == Sparse::Always;
        self.outcome.size = if ask { self.copy_spans()? } else { self.copy_dense()? };
        Ok(self.outcome)
    }

    fn pair(&self) -> (u64, u64) {
        (self.t.stat.dev, self.t.dst_dev)
    }

    /// Whole files only, so it is tried before anything else, if the route has it.
    fn try_reflink(&mut self) -> Result<bool, Fault> {
        if self.route.rungs.first() != Some(&Strategy::Reflink) {
            return Ok(false);
        }
        self.ladder.check_stop()?;
        if self.ladder.is_known_refusal(Strategy::Reflink, self.pair()) && self.route.rungs.len() > 1 {
            self.rung = 1;
            return Ok(false);
        }
        let tally = self.account.path_mut(Strategy::Reflink);
        match reflink::clone_file(self.t.src, self.t.dst, self.t.stat.size, tally) {
            Step::Moved(n) => {
                self.credit(Strategy::Reflink, n);
                Ok(true)
            }
            Step::Failed(fault) => Err(Fault { refused: Some(Strategy::Reflink), ..fault }),
            Step::Refused(errno) => self.step_down(errno.into(), errno).map(|()| false),
            Step::Dry => Ok(false),
        }
    }

    /// A file without holes: from the start to its end.
    fn copy_dense(&mut self) -> Result<u64, Fault> {
        let size = self.t.stat.size;
        let allocated = self.route.preallocate && io::preallocate(self.t.dst, size).is_ok();
        let end = self.climb(0, None)?;
        if (allocated && end < size) || self.outcome.searched_zeros {
            // Blocks beyond a source that shrank, or a hole at the end.
            self.set_size(end)?;
        }
        Ok(end)
    }

    /// A file with holes: span after span of data, and the length at last.
    fn copy_spans(&mut self) -> Result<u64, Fault> {
        let mut at = 0;
        loop {
            match spans::next_span(self.t.src, at) {
                Ok(Next::Data(span)) => {
                    self.account.holes += span.start - at;
                    self.ladder.meter.bytes.fetch_add(span.start - at, Ordering::Relaxed);
                    at = self.climb(span.start, Some(span.end))?;
                    if at < span.end {
                        break; // the source shrank
                    }
                }
                Ok(Next::Hole) => {
                    let stat = sys::at::fstat(self.t.src).map_err(|errno| Fault::at(Side::Source, errno))?;
                    self.account.holes += stat.size.saturating_sub(at);
                    at = at.max(stat.size);
                    break;
                }
                Ok(Next::Unknown) => {
                    at = self.climb(at, None)?;
                    break;
                }
                Err(errno) => return Err(Fault::at(Side::Source, errno)),
            }
        }
        self.set_size(at)?;
        Ok(at)
    }

    fn set_size(&self, size: u64) -> Result<(), Fault> {
        io::truncate(self.t.dst, size).map_err(|errno| Fault::at(Side::Destination, errno))
    }

    /// Moves the bytes from `at` to `end`, or to the end of the file. Gives the offset reached,
    /// which is short of `end` only if the file ends there.
    fn climb(&mut self, mut at: u64, end: Option<u64>) -> Result<u64, Fault> {
        let mut known_end = end.unwrap_or(self.t.stat.size);
        loop {
            self.ladder.check_stop()?;
            if at >= known_end {
                match end {
                    Some(_) => return Ok(at),
                    None if self.true_size => match self.grown(at)? {
                        Some(size) => known_end = size,
                        None => return Ok(at),
                    },
                    None => {}
                }
            }
            let Some(strategy) = self.current_rung() else { return Err(self.exhausted(Errno::OPNOTSUPP)) };
            // Beyond a size that is not believed, ask for a bufferful and see.
            let len = if at < known_end { (known_end - at).min(STEP) } else { 64 << 10 };
            match self.step(strategy, at, len) {
                Step::Moved(n) => {
                    at += n;
                    let written = n - std::mem::take(&mut self.skipped);
                    self.credit(strategy, written);
                    self.ladder.meter.bytes.fetch_add(n, Ordering::Relaxed);
                }
                Step::Dry if strategy == Strategy::ReadWrite || self.at_end(strategy, at)? => return Ok(at),
                Step::Dry => self.step_down(Reason::EarlyEnd, Errno::NODATA)?,
                Step::Refused(errno) => self.step_down(errno.into(), errno)?,
                Step::Failed(fault) => return Err(fault),
            }
        }
    }

    /// Whether a large file that was copied to its known size has grown meanwhile. A small one is
    /// over before anything could matter, and the question would cost it a call.
    fn grown(&self, at: u64) -> Result<Option<u64>, Fault> {
        if at < super::route::LARGE {
            return Ok(None);
        }
        let stat = sys::at::fstat(self.t.src).map_err(|errno| Fault::at(Side::Source, errno))?;
        Ok((stat.size > at).then_some(stat.size))
    }

    /// The rung to use now, past those that are known to refuse. The last is always tried: its
    /// refusal is the reason to be reported.
    fn current_rung(&mut self) -> Option<Strategy> {
        while self.rung + 1 < self.route.rungs.len()
            && self.ladder.is_known_refusal(self.route.rungs[self.rung], self.pair())
        {
            self.rung += 1;
        }
        self.route.rungs.get(self.rung).copied()
    }

    fn step(&mut self, strategy: Strategy, at: u64, len: u64) -> Step {
        let Transfer { src, dst, .. } = *self.t;
        let tally = self.account.path_mut(strategy);
        let ladder = &mut *self.ladder;
        match strategy {
            // Behind other rungs it can still take the whole file, but nothing less.
            Strategy::Reflink if at == 0 => reflink::clone_file(src, dst, self.t.stat.size, tally),
            Strategy::Reflink => Step::Refused(Errno::OPNOTSUPP),
            Strategy::CopyFileRange => copy_range::step(src, dst, at, len, tally),
            Strategy::Splice => splice::step(&mut ladder.pipe, src, dst, at, len, tally),
            Strategy::Sendfile => sendfile::step(src, dst, at, len, &mut self.position, tally),
            Strategy::Mmap => mmap::step(src, dst, at, len, tally),
            Strategy::ReadWrite if self.outcome.searched_zeros => {
                let mut holes = 0;
                let block = block_size(self.t);
                let step = skip_zeros(&mut ladder.buffer, ends(self.t), at, len, block, tally, &mut holes);
                self.account.holes += holes;
                self.skipped = holes;
                step
            }
            Strategy::ReadWrite => {
                let (src, dst) = ends(self.t);
                buffered::step(&mut ladder.buffer, src, dst, at, len, tally)
            }
        }
    }

    /// A rung that gave 0 proves nothing: only `read` knows the end of a file.
    fn at_end(&mut self, strategy: Strategy, at: u64) -> Result<bool, Fault> {
        let tally = self.account.path_mut(strategy);
        let mut byte = [0];
        loop {
            match tally.call(Call::Pread, || rustix::io::pread(self.t.src, &mut byte, at)) {
                Ok(n) => return Ok(n == 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Fault::at(Side::Source, errno)),
            }
        }
    }

    fn credit(&mut self, strategy: Strategy, bytes: u64) {
        let first = !std::mem::replace(&mut self.credited[strategy as usize], true);
        let tally = self.account.path_mut(strategy);
        tally.bytes += bytes;
        tally.files += u64::from(first);
    }

    /// Leaves the rung in use for the next one; an error if there is none.
    fn step_down(&mut self, reason: Reason, errno: Errno) -> Result<(), Fault> {
        let Some(&strategy) = self.route.rungs.get(self.rung) else { return Err(self.exhausted(errno)) };
        *self.account.path_mut(strategy).step_downs.entry(reason).or_default() += 1;
        self.ladder.learn(strategy, errno, self.pair());
        if self.rung + 1 == self.route.rungs.len() {
            return Err(self.exhausted(errno));
        }
        self.rung += 1;
        Ok(())
    }

    fn exhausted(&self, errno: Errno) -> Fault {
        Fault { side: Side::Both, errno, refused: self.route.rungs.last().copied() }
    }
}
