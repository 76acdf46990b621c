//! The manifest of a job: what all machines have to agree on. JSON, written when the plan is complete.

use super::json::{bytes, from_bytes};
use crate::report::Failure;
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use crate::sys::{self, Stat, io, proc};
use crate::transfer::route::FsKind;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};

/// The form of the job folder. A program that does not know it keeps its hands off.
pub(super) const SCHEMA: u64 = 2;

/// A directory that every machine has to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// Absolute.
    pub(super) path: OsString,
    pub(super) id: FileId,
    /// The type of its file system (`f_type` of statfs(2)).
    pub(super) magic: u64,
}

impl Root {
    /// What an open directory is.
    ///
    /// # Errors
    /// Those of fstat(2) and fstatfs(2).
    pub(super) fn of(path: OsString, dir: impl AsFd, stat: &Stat) -> sys::Result<Root> {
        Ok(Root { path, id: stat.id(), magic: io::fs_magic(dir)? })
    }

    /// Opens it on this machine, if it is the same directory there.
    ///
    /// A device number is only compared on the machine that made the plan, and only of a file system
    /// on a real device: network file systems get another with each mount. Of FUSE only the type is.
    ///
    /// # Errors
    /// When it is missing or another one.
    pub(super) fn open(&self, same_machine: bool) -> Result<OwnedFd, Failure> {
        let cannot = |errno| Failure::new("cannot access {}", &self.path).errno(errno);
        let fd = at::open_dir(at::CWD, &self.path, Follow::Yes).map_err(cannot)?;
        let now = at::fstat(&fd).map_err(cannot)?;
        let magic = io::fs_magic(&fd).map_err(cannot)?;
        let device_counts = same_machine && sys::stat::is_on_block_device(self.id.dev);
        let same_device = !device_counts || now.dev == self.id.dev;
        let same_inode = now.ino == self.id.ino || !FsKind::has_lasting_inodes(magic);
        match same_device && same_inode && magic == self.magic {
            true => Ok(fd),
            false => Err(Failure::new("{} is not the directory that the plan was made for", &self.path)),
        }
    }

    fn json(&self) -> Value {
        json!({"path": bytes(&self.path), "dev": self.id.dev, "ino": self.id.ino, "file_system": self.magic})
    }

    fn parse(value: &Value) -> Option<Root> {
        Some(Root {
            path: from_bytes(&value["path"])?,
            id: FileId { dev: value["dev"].as_u64()?, ino: value["ino"].as_u64()? },
            magic: value["file_system"].as_u64()?,
        })
    }
}

/// What a job is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manifest {
    /// Names this job's temporary files.
    pub(super) job: String,
    /// The machine that made the plan, until it is started again.
    pub(super) machine: String,
    pub(super) parts: u64,
    /// The options of the copy, as they are typed.
    pub(super) arguments: Vec<OsString>,
    pub(super) source: Root,
    pub(super) destination: Root,
    /// The new name of a source that is a single file; both roots are then the directories they are in.
    pub(super) new_name: Option<OsString>,
    /// What the plan could not look at, in the form of `--stats`.
    pub(super) failed: u64,
    pub(super) errors: Vec<Value>,
    /// Totals and balance, for whoever looks.
    pub(super) figures: Value,
}

impl Manifest {
    /// Whether this is the machine that made the plan.
    pub(super) fn is_here(&self) -> bool {
        self.machine == proc::machine()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "job": self.job,
            "machine": self.machine,
            "parts": self.parts,
            "arguments": self.arguments.iter().map(|argument| bytes(argument)).collect::<Vec<_>>(),
            "source": self.source.json(),
            "destination": self.destination.json(),
            "new_name": self.new_name.as_deref().map(bytes),
            "failed": self.failed,
            "errors": self.errors,
            "figures": self.figures,
        })
    }

    /// `None` if it is not one, or of another form.
    pub(super) fn parse(value: &Value) -> Option<Manifest> {
        if value["schema"].as_u64()? != SCHEMA {
            return None;
        }
        let job = value["job"].as_str()?.to_owned();
        let is_plain = !job.is_empty() && job.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(Manifest {
            job: Some(job).filter(|_| is_plain)?,
            machine: value["machine"].as_str()?.to_owned(),
            parts: value["parts"].as_u64()?,
            arguments: value["arguments"].as_array()?.iter().map(from_bytes).collect::<Option<_>>()?,
            source: Root::parse(&value["source"])?,
            destination: Root::parse(&value["destination"])?,
            new_name: match &value["new_name"] {
                Value::Null => None,
                name => Some(from_bytes(name)?),
            },
            failed: value["failed"].as_u64()?,
            errors: value["errors"].as_array()?.clone(),
            figures: value["figures"].clone(),
        })
    }

    /// Whether a file of the destination has the same inode number on each machine.
    pub(super) fn has_lasting_inodes(&self) -> bool {
        FsKind::has_lasting_inodes(self.destination.magic)
    }

    /// The inode number of a file in the destination, as far as it tells one from another.
    pub(super) fn identity(&self, ino: u64) -> u64 {
        if self.has_lasting_inodes() { ino } else { 0 }
    }
}
