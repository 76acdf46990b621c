//! A directory that only its owner may write to: the job folder, and each directory in it.
//!
//! The steps of a job obey its files, so anyone who can write to one of them could make this process read and
//! write anything. Only this module has to keep three rules: a directory or file that belongs to another user,
//! or that others may write to, is refused. Files are opened relative to the open directory and never through a
//! symbolic link. A file is always created (O_EXCL), never opened for writing.

use crate::error::{Failure, Operation};
use crate::sys::at::{self, Follow};
use crate::sys::interrupted::{Bounded, errno_of};
use crate::sys::stale::StaleRetry;
use crate::sys::{Errno, Stat, io, proc};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The permission bits that let others write.
const OTHERS_WRITE: u32 = 0o022;

#[derive(Debug)]
pub(super) struct PrivateDir {
    path: PathBuf,
    fd: OwnedFd,
}

impl AsFd for PrivateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PrivateDir {
    /// Opens the job folder. The user named it, so a symbolic link is followed. Fails if it does not exist, or other
    /// users may write to it.
    pub(super) fn open(path: &Path) -> Result<PrivateDir, Failure> {
        let cannot = |errno| Failure::new(Operation::Access, path).errno(errno);
        let fd = at::open_dir(at::CWD, path.as_os_str(), Follow::Yes).map_err(cannot)?;
        PrivateDir { path: path.to_owned(), fd }.checked()
    }

    /// Makes the job folder and missing directories above it.
    pub(super) fn make(path: &Path) -> Result<PrivateDir, Failure> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let made = std::fs::create_dir_all(parent);
            made.map_err(|error| Failure::io(Operation::CreateDirectory, parent, &error))?;
        }
        match at::mkdir(at::CWD, path.as_os_str(), 0o700) {
            Ok(()) | Err(Errno::EXIST) => PrivateDir::open(path),
            Err(errno) => Err(Failure::new(Operation::CreateDirectory, path).errno(errno)),
        }
    }

    pub(super) fn below(&self, name: &str) -> Result<PrivateDir, Failure> {
        let opened = at::open_dir(&self.fd, OsStr::new(name), Follow::No);
        let fd = opened.map_err(self.cannot(Operation::Access, name))?;
        PrivateDir { path: self.path_of(name), fd }.checked()
    }

    pub(super) fn make_below(&self, name: &str) -> Result<PrivateDir, Failure> {
        match at::mkdir(&self.fd, OsStr::new(name), 0o700) {
            Ok(()) | Err(Errno::EXIST) => self.below(name),
            Err(errno) => Err(self.cannot(Operation::CreateDirectory, name)(errno)),
        }
    }

    fn cannot(&self, operation: Operation, name: &str) -> impl Fn(Errno) -> Failure {
        move |errno| Failure::new(operation, self.path_of(name)).errno(errno)
    }

    fn checked(self) -> Result<PrivateDir, Failure> {
        let stat =
            at::fstat(&self.fd).map_err(|errno| Failure::new(Operation::Access, &self.path).errno(errno))?;
        if !is_trusted_owner(&stat) {
            return Err(Failure::new(Operation::ForeignDirectory, self.path));
        }
        if stat.permissions() & OTHERS_WRITE != 0 {
            return Err(Failure::new(Operation::WritableDirectory, self.path));
        }
        Ok(self)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Creates a file, open for reading and writing. EEXIST if the name is taken, even by a dangling link.
    pub(super) fn create(&self, name: &str) -> Result<Bounded<File>, Failure> {
        let answer = at::create_readable(&self.fd, OsStr::new(name), 0o600);
        answer.map(|fd| Bounded(fd.into())).map_err(self.cannot(Operation::Create, name))
    }

    pub(super) fn replace(&self, name: &str) -> Result<Bounded<File>, Failure> {
        let temporary = temporary(name);
        let file = self.create(&temporary)?;
        self.rename(&temporary, name)?;
        Ok(file)
    }

    fn rename(&self, temporary: &str, name: &str) -> Result<(), Failure> {
        let renamed = at::rename(&self.fd, OsStr::new(temporary), &self.fd, OsStr::new(name));
        renamed.inspect_err(|_| drop(self.remove(temporary))).map_err(self.cannot(Operation::Write, name))
    }

    /// Opens a file for reading; `None` if it does not exist. On a network file system, waits a while for
    /// another machine's new file to become visible.
    pub(super) fn read(&self, name: &str, stale_retry: &StaleRetry) -> Result<Option<Bounded<File>>, Failure> {
        let open = || {
            let fd = at::open_read(&self.fd, OsStr::new(name), Follow::No, false)?;
            let stat = at::fstat(&fd)?;
            Ok((fd, stat))
        };
        let (fd, stat) = match stale_retry.call(open) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.cannot(Operation::OpenSource, name)(errno)),
        };
        if !stat.is_regular() || !is_trusted_owner(&stat) {
            return Err(Failure::new(Operation::ForeignFile, self.path_of(name)));
        }
        if stat.permissions() & OTHERS_WRITE != 0 {
            return Err(Failure::new(Operation::WritableFile, self.path_of(name)));
        }
        Ok(Some(Bounded(fd.into())))
    }

    /// Removes a file if it exists.
    pub(super) fn remove(&self, name: &str) -> Result<(), Failure> {
        match at::unlink(&self.fd, OsStr::new(name)) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.cannot(Operation::Remove, name)(errno)),
        }
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        at::stat(&self.fd, OsStr::new(name), Follow::No).is_ok()
    }

    /// Returns the names in the directory. All names of a job are text.
    pub(super) fn names(&self) -> Result<Vec<String>, Failure> {
        let names = at::names(&self.fd, OsStr::new("."));
        let names = names.map_err(|errno| Failure::new(Operation::Access, &self.path).errno(errno))?;
        let is_entry = |name: &OsString| name != "." && name != "..";
        Ok(names.into_iter().filter(is_entry).map(|name| name.to_string_lossy().into_owned()).collect())
    }

    /// Syncs each file in the directory, and then the directory itself (fsync(2)).
    pub(super) fn sync(&self) -> Result<(), Failure> {
        for name in self.names()? {
            let synced = at::open_read(&self.fd, OsStr::new(&name), Follow::No, false).and_then(io::sync);
            synced.map_err(self.cannot(Operation::Sync, &name))?;
        }
        match io::sync(&self.fd) {
            // A file system without data to write for a directory returns EINVAL.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(Failure::new(Operation::Sync, &self.path).errno(errno)),
        }
    }

    /// Returns the content of a JSON file, or `None` if it does not exist.
    pub(super) fn read_json(&self, name: &str, stale_retry: &StaleRetry) -> Result<Option<Value>, Failure> {
        let Some(mut file) = self.read(name, stale_retry)? else { return Ok(None) };
        let mut text = Vec::new();
        let read = file.read_to_end(&mut text);
        read.map_err(|error| Failure::io(Operation::Read, self.path_of(name), &error))?;
        match serde_json::from_slice(&text) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Failure::new(Operation::Damaged, self.path_of(name))),
        }
    }

    /// Writes a JSON file atomically, in place of an existing one.
    pub(super) fn write_json(&self, name: &str, value: &Value) -> Result<(), Failure> {
        let temporary = self.write_temporary(name, value)?;
        self.rename(&temporary, name)
    }

    /// Writes a JSON file atomically if the name is free; returns false if another process took the name
    /// first.
    pub(super) fn publish_json(&self, name: &str, value: &Value) -> Result<bool, Failure> {
        let temporary = self.write_temporary(name, value)?;
        let answer = at::rename_to_free(self.fd.as_fd(), OsStr::new(&temporary), OsStr::new(name));
        let _ = self.remove(&temporary);
        match answer {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(self.cannot(Operation::Write, name)(errno)),
        }
    }

    fn write_temporary(&self, name: &str, value: &Value) -> Result<String, Failure> {
        let temporary = temporary(name);
        let mut file = self.create(&temporary)?;
        let written = writeln!(file, "{value}").map_err(|error| errno_of(&error));
        let closed = written.and(io::close(file.0.into()));
        closed.inspect_err(|_| drop(self.remove(&temporary))).map_err(self.cannot(Operation::Write, name))?;
        Ok(temporary)
    }
}

fn temporary(name: &str) -> String {
    format!("{name}.{:032x}", proc::random())
}

fn is_trusted_owner(stat: &Stat) -> bool {
    stat.uid == proc::effective_uid() || stat.uid == 0
}
