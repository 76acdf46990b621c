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

/// Sets the context of all files that this thread creates from now on (proc_pid_attr(5), `fscreate`). EINVAL for a
/// context that the policy does not know, EACCES where the policy forbids it.
pub(crate) fn create_as(context: &OsStr) -> Result<()> {
    // The kernel takes the context with its terminating NUL byte.
    let text = [context.as_bytes(), b"\0"].concat();
    let file = at::open_write(CWD, OsStr::new("/proc/thread-self/attr/fscreate"), Follow::No, true)?;
    Bounded(File::from(file)).write_all(&text).map_err(|error| errno_of(&error))
}
