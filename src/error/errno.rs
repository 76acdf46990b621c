//! Names and messages of errnos.

use crate::sys::Errno;

/// Numbers and names (errno(3)) of the errnos that a copy may meet.
macro_rules! names {
    ($($name:ident $errno:ident),* $(,)?) => {
        &[$((crate::sys::Errno::$errno.raw_os_error(), stringify!($name))),*]
    };
}

pub(crate) const NAMES: &[(i32, &str)] = names![
    EPERM PERM, ENOENT NOENT, EINTR INTR, EIO IO, ENXIO NXIO, E2BIG TOOBIG, EBADF BADF, EAGAIN AGAIN,
    ENOMEM NOMEM, EACCES ACCESS, EFAULT FAULT, EBUSY BUSY, EEXIST EXIST, EXDEV XDEV, ENODEV NODEV,
    ENOTDIR NOTDIR, EISDIR ISDIR, EINVAL INVAL, ENFILE NFILE, EMFILE MFILE, ENOTTY NOTTY, ETXTBSY TXTBSY,
    EFBIG FBIG, ENOSPC NOSPC, ESPIPE SPIPE, EROFS ROFS, EMLINK MLINK, EPIPE PIPE, ERANGE RANGE,
    EDEADLK DEADLK, ENAMETOOLONG NAMETOOLONG, ENOSYS NOSYS, ENOTEMPTY NOTEMPTY, ELOOP LOOP,
    ENODATA NODATA, EOVERFLOW OVERFLOW, EOPNOTSUPP OPNOTSUPP, ETIMEDOUT TIMEDOUT, ESTALE STALE,
    EDQUOT DQUOT, ECANCELED CANCELED, ECONNRESET CONNRESET, ENOTCONN NOTCONN,
];

pub(crate) fn name(errno: i32) -> String {
    NAMES
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).into())
}

pub(crate) fn message(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
