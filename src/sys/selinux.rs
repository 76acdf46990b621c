//! SELinux, through the files of the kernel, without libselinux.

use super::Result;
use super::at::{self, CWD, Follow};
use super::interrupted::{Bounded, errno_of};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

/// The extended attribute that holds a file's context.
pub(crate) const XATTR: &str = "security.selinux";

/// Returns whether SELinux is active, enforcing or permissive: selinuxfs is mounted. Cached.
pub(crate) fn is_enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| at::stat(CWD, OsStr::new("/sys/fs/selinux/enforce"), Follow::Yes).is_ok())
}

/// The context of all files that this thread creates (proc_pid_attr(5)).
const CREATION_CONTEXT: &str = "/proc/thread-self/attr/fscreate";

/// Gives all files that this thread creates a context. Dropping it, in the same thread, restores the context of before.
#[derive(Debug)]
pub(crate) struct CreationContext {
    before: Vec<u8>,
}

impl CreationContext {
    /// # Errors
    /// EINVAL for a context that the policy does not know, EACCES where the policy forbids it.
    pub(crate) fn set(context: &OsStr) -> Result<CreationContext> {
        let before = at::read_small(CWD, OsStr::new(CREATION_CONTEXT));
        write_creation_context(context.as_bytes())?;
        Ok(CreationContext { before: before.ok().flatten().unwrap_or_default() })
    }
}

impl Drop for CreationContext {
    fn drop(&mut self) {
        let _ = write_creation_context(&self.before);
    }
}

/// Writes a context. An empty one leaves the choice to the policy.
fn write_creation_context(context: &[u8]) -> Result<()> {
    // The kernel takes the context with its terminating NUL byte.
    let text = [context.strip_suffix(b"\0").unwrap_or(context), b"\0"].concat();
    let file = at::open_write(CWD, OsStr::new(CREATION_CONTEXT), Follow::No, true)?;
    Bounded(File::from(file)).write_all(&text).map_err(|error| errno_of(&error))
}
