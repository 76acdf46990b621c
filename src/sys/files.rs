//! Opens files by path, for the readers and writers of std. The functions of std would repeat an interrupted open(2)
//! without end.

use super::at::{self, CWD, Follow};
use super::interrupted::Bounded;
use super::io::truncate;
use std::fs::File;
use std::io::Result;
use std::os::fd::OwnedFd;
use std::path::Path;

fn bounded(fd: OwnedFd) -> Bounded<File> {
    Bounded(fd.into())
}

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<Bounded<File>> {
    Ok(bounded(at::open_read(CWD, path.as_os_str(), Follow::Yes, true)?))
}

/// Creates a file for writing, or empties the file that has the name, as the `>` of a shell does.
pub fn create(path: &Path) -> Result<Bounded<File>> {
    Ok(bounded(at::create_or_empty(CWD, path.as_os_str())?))
}

/// Creates a file for writing. EEXIST if the name is taken.
pub fn create_new(path: &Path) -> Result<Bounded<File>> {
    Ok(bounded(at::create(CWD, path.as_os_str(), 0o666, true)?))
}

/// Opens an existing file, device or fifo for writing, and empties a regular file.
pub fn overwrite(path: &Path) -> Result<Bounded<File>> {
    let fd = at::open_write(CWD, path.as_os_str(), Follow::Yes, true)?;
    if at::fstat(&fd)?.is_regular() {
        truncate(&fd, 0)?;
    }
    Ok(bounded(fd))
}
