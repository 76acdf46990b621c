//! Who frees the pages of a large file that is thrown away.
//!
//! The last to close a file without a name frees its pages and blocks, and that cannot be interrupted: a
//! quarter of a second for a GiB in the page cache of ext4, and nobody who waits for the process sees it
//! end before. So another process holds the file open until this one is gone.

use super::{Errno, Result, at};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// From how many bytes on that is worth a process.
const LARGE: u64 = 64 << 20;

/// Has the program itself, started once more, hold a large regular file open until this process has ended: it
/// copies what comes through a pipe, which is nothing, to nowhere. Only for the program, not for a library,
/// and only just before the end.
///
/// # Errors
/// What keeps it from being started. It is no loss but of time.
pub fn outlive_with(file: impl AsFd) -> Result<()> {
    let stat = at::fstat(&file)?;
    if !stat.is_regular() || stat.blocks.saturating_mul(512) < LARGE {
        return Ok(());
    }
    let (held_until, ours) = pipe_with(PipeFlags::CLOEXEC)?;
    let file =
        file.as_fd().try_clone_to_owned().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let mut holder = Command::new("/proc/self/exe");
    holder.args(["--", "/dev/stdin", "/dev/null"]).env_clear().current_dir("/");
    // A second signal to those in the foreground is not for the holder.
    holder.stdin(held_until).stdout(file).stderr(Stdio::null()).process_group(0);
    holder.spawn().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let _ = ours.into_raw_fd(); // open to the very end
    Ok(())
}
