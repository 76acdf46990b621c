//! The manifest of a job: the facts that all machines must agree on, and the files that are copied in byte ranges.
//! JSON, written when the plan is complete.

use super::facts::{Facts, Line};
use crate::batch::Entry;
use crate::error::{Failure, Operation};
use crate::report::json::{bytes, from_bytes};
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use crate::sys::{self, Kind, Stat, io};
use crate::transfer::route::FsKind;
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The version of the job folder's format. A program refuses any other version.
pub(super) const SCHEMA: u64 = 3;

/// A directory that every machine must find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) path: OsString,
    pub(super) id: FileId,
    /// The type of its file system (`f_type` of statfs(2)).
    pub(super) magic: u64,
}

impl Root {
    pub(super) fn of(path: OsString, dir: impl AsFd, stat: &Stat) -> Result<Root, Failure> {
        match io::fs_magic(dir) {
            Ok(magic) => Ok(Root { path, id: stat.id(), magic }),
            Err(errno) => Err(Failure::new(Operation::Access, path).errno(errno)),
        }
    }

    /// Opens the directory on this machine and checks that it is the same one.
    ///
    /// Device numbers are compared only on the machine that made the plan, and only for a file system on a
    /// block device: a network file system gets another number with each mount. On FUSE, where inode numbers
    /// do not last, only the type is compared.
    pub(super) fn open(&self, same_machine: bool) -> Result<(OwnedFd, Stat), Failure> {
        let cannot = |errno| Failure::new(Operation::Access, &self.path).errno(errno);
        let fd = at::open_dir(at::CWD, &self.path, Follow::Yes).map_err(cannot)?;
        let now = at::fstat(&fd).map_err(cannot)?;
        let magic = io::fs_magic(&fd).map_err(cannot)?;
        let device_counts = same_machine && sys::stat::is_on_block_device(self.id.dev);
        let same_device = !device_counts || now.dev == self.id.dev;
        let same_inode = now.ino == self.id.ino || !FsKind::has_lasting_inodes(magic);
        match same_device && same_inode && magic == self.magic {
            true => Ok((fd, now)),
            false => Err(Failure::new(Operation::NotPlannedDirectory, &self.path)),
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

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manifest {
    /// Identifies the job, so that results of another job are not taken for its own.
    pub(super) job: String,
    /// Identifies the machine that made the plan, until it is rebooted.
    pub(super) machine: String,
    pub(super) parts: u64,
    /// The options of the copy, as they were typed.
    pub(super) arguments: Vec<OsString>,
    pub(super) source: Root,
    pub(super) destination: Root,
    /// The name of a source that is a single file. Both roots are then the directories above.
    pub(super) name: Option<OsString>,
    pub(super) new_name: Option<OsString>,
    /// The failures of the plan, and their objects in the form of `--stats=json`.
    pub(super) failed: u64,
    pub(super) errors: Vec<Value>,
    /// Totals and balance, for people to read.
    pub(super) figures: Value,
}

impl Manifest {
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
            "name": self.name.as_deref().map(bytes),
            "new_name": self.new_name.as_deref().map(bytes),
            "failed": self.failed,
            "errors": self.errors,
            "figures": self.figures,
        })
    }

    /// `None` if the value is no manifest or of another version.
    pub(super) fn parse(value: &Value) -> Option<Manifest> {
        if value["schema"].as_u64()? != SCHEMA {
            return None;
        }
        let optional = |key: &str| match &value[key] {
            Value::Null => Some(None),
            name => from_bytes(name).map(Some),
        };
        Some(Manifest {
            job: value["job"].as_str()?.to_owned(),
            machine: value["machine"].as_str()?.to_owned(),
            parts: value["parts"].as_u64()?,
            arguments: value["arguments"].as_array()?.iter().map(from_bytes).collect::<Option<_>>()?,
            source: Root::parse(&value["source"])?,
            destination: Root::parse(&value["destination"])?,
            name: optional("name")?,
            new_name: optional("new_name")?,
            failed: value["failed"].as_u64()?,
            errors: value["errors"].as_array()?.clone(),
            figures: value["figures"].clone(),
        })
    }

    pub(super) fn operands(&self) -> (OsString, OsString) {
        let path = |root: &Root, name: &Option<OsString>| match name {
            Some(name) => Path::new(&root.path).join(name).into(),
            None => root.path.clone(),
        };
        (path(&self.source, &self.name), path(&self.destination, &self.new_name))
    }

    /// Returns the types of the source's and the destination's file system (`f_type` of statfs(2)).
    pub(super) fn magics(&self) -> Vec<u64> {
        vec![self.source.magic, self.destination.magic]
    }

    pub(super) fn entry(&self, name: &OsStr, kind: Kind) -> Entry {
        let new_name = self.new_name.clone();
        Entry { name: name.to_owned(), operand: new_name.is_some(), new_name, hint: Some(kind) }
    }

    /// Returns whether a file of the destination has the same inode number on every machine.
    pub(super) fn has_lasting_inodes(&self) -> bool {
        FsKind::has_lasting_inodes(self.destination.magic)
    }

    /// Returns the inode number of a file in the destination, or 0 where inode numbers do not last.
    pub(super) fn identity(&self, ino: u64) -> u64 {
        if self.has_lasting_inodes() { ino } else { 0 }
    }
}

/// A file that is copied in byte ranges and joined by `--finish`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Join {
    pub(super) number: u64,
    pub(super) ranges: u64,
    pub(super) facts: Facts,
    /// All its names. The parts copy the first one.
    pub(super) names: Vec<OsString>,
}

impl Join {
    pub(super) fn json(&self) -> Value {
        json!({
            "number": self.number,
            "ranges": self.ranges,
            "facts": self.facts.to_string(),
            "names": self.names.iter().map(|name| bytes(name)).collect::<Vec<_>>(),
        })
    }

    pub(super) fn parse(value: &Value) -> Option<Join> {
        let facts = Facts::parse(&mut value["facts"].as_str()?.split_ascii_whitespace())?;
        let names: Vec<OsString> = value["names"].as_array()?.iter().map(from_bytes).collect::<Option<_>>()?;
        (!names.is_empty()).then_some(())?;
        Some(Join { number: value["number"].as_u64()?, ranges: value["ranges"].as_u64()?, facts, names })
    }

    pub(super) fn first(&self) -> &OsStr {
        self.names.first().map(OsString::as_os_str).unwrap_or_default()
    }
}
