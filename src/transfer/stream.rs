//! Copies where one side has no offsets: pipes, sockets, terminals, devices. And the search for
//! zeros, which is read/write of another kind.

use super::buffered::{self, Buffer, End};
use super::ladder::{Fault, Ladder, Outcome, Side, Sparse, Transfer};
use super::route::Cloning;
use super::{Account, Step, Strategy, Tally, spans};
use crate::sys::{self, Errno, io};

/// The most bytes for one step.
const STEP: u64 = 64 << 20;

impl Ladder {
    /// A pipe, a device or a terminal on either side: what comes is what there is.
    pub(super) fn copy_stream(&mut self, t: &Transfer<'_>, account: &mut Account) -> Result<Outcome, Fault> {
        let limits = &self.limits;
        let refused = match &limits.forced {
            _ if limits.cloning == Cloning::Require => Some(Strategy::Reflink),
            Some(forced) if !forced.contains(&Strategy::ReadWrite) => forced.last().copied(),
            _ => None,
        };
        if refused.is_some() {
            return Err(Fault { refused, ..Fault::at(Side::Both, Errno::OPNOTSUPP) });
        }
        let ends = ends(t);
        let zeros = limits.sparse == Sparse::Always && t.dst_regular;
        let block = block_size(t);
        let mut at = 0;
        let tally = account.path_mut(Strategy::ReadWrite);
        let mut holes = 0;
        loop {
            self.check_stop()?;
            let most = self.limits.pace.as_ref().map_or(STEP, |pace| pace.step().min(STEP));
            let step = if zeros {
                skip_zeros(&mut self.buffer, ends, at, most, block, tally, &mut holes)
            } else {
                buffered::step(&mut self.buffer, ends.0, ends.1, at, most, tally)
            };
            match step {
                Step::Moved(n) => {
                    tally.files += u64::from(at == 0);
                    tally.bytes += n;
                    at += n;
                    self.moved(t, at, n);
                }
                Step::Dry => break,
                Step::Refused(Errno::INTR) | Step::Failed(Fault { errno: Errno::INTR, .. }) => {}
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
}

/// Block devices have offsets; pipes, sockets and most character devices do not.
pub(super) fn ends<'a>(t: &Transfer<'a>) -> (End<'a>, End<'a>) {
    let seekable = matches!(t.stat.kind(), sys::Kind::Regular | sys::Kind::BlockDevice);
    (End { fd: t.src, seekable }, End { fd: t.dst, seekable: t.dst_regular })
}

/// The unit in which zeros are looked for: smaller holes would be filled by the file system.
pub(super) fn block_size(t: &Transfer<'_>) -> usize {
    usize::try_from(t.stat.blksize).unwrap_or(4096).clamp(512, 1 << 16)
}

/// Reads a buffer and writes what is not zeros. Moved counts the zeros too; `holes` says how many.
pub(super) fn skip_zeros(
    buffer: &mut Buffer,
    (src, dst): (End<'_>, End<'_>),
    at: u64,
    len: u64,
    block: usize,
    tally: &mut Tally,
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
