//! Memory under a limit of the address space (`RLIMIT_AS`).

use super::{Errno, Result, proc};
use nix::sys::resource::Resource;

/// The stack size of a worker in bytes. The default would depend on the environment (`RUST_MIN_STACK`).
pub(crate) const STACK: usize = 1 << 20;

/// The approximate memory of a worker in bytes: a stack, a copy buffer and two buffers to compare, of 3 MiB together. A
/// map of 8 MiB (mmap) does not count: if it fails, the next strategy copies.
const WORKER: u64 = 4 << 20;
/// Bytes reserved for names and for threads that are not workers.
const OTHERS: u64 = 16 << 20;

/// Returns the number of workers that fit into the address space; `usize::MAX` without a limit.
pub(crate) fn affordable_workers() -> usize {
    let Ok(Some(limit)) = proc::soft_limit(Resource::RLIMIT_AS) else { return usize::MAX };
    let left = limit.saturating_sub(used()).saturating_sub(OTHERS);
    usize::try_from(left / WORKER).unwrap_or(usize::MAX).max(1)
}

pub(crate) fn is_limited() -> bool {
    matches!(proc::soft_limit(Resource::RLIMIT_AS), Ok(Some(_)))
}

/// Returns the bytes of address space in use (proc_pid_statm(5)), or a guess if /proc is not mounted.
fn used() -> u64 {
    let statm = proc::read("/proc/self/statm");
    let pages = statm.split_ascii_whitespace().next().and_then(|pages| pages.parse::<u64>().ok());
    pages.map_or(16 << 20, |pages| pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Makes a buffer of `len` zeros. Fails with ENOMEM where an ordinary allocation would abort the program.
pub(crate) fn buffer(len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::NOMEM)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_large_a_buffer_is_an_error() {
        assert_eq!(buffer(1 << 60), Err(Errno::NOMEM));
        assert_eq!(buffer(3), Ok(vec![0; 3]));
    }
}
