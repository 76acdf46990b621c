//! The file that collects the ranges of a large file, written by several processes.
//!
//! It is in the destination, where other users may be at work. So one process creates it, exclusively, under
//! a name that nobody can guess, and accessible to its owner alone. That process then publishes the file's
//! name, inode, owner and mode in the job folder. Other processes write to a file of that name only if it is
//! the published one, has its planned length and has no other name. If the file gets lost, or another user or
//! process exchanges or changes it, a new one is made in the same way, and the lost ranges are copied again.

use super::Job;
use super::manifest::Manifest;
use super::sweep::Mark;
use crate::context::Fds;
use crate::dir::Dir;
use crate::error::{Failure, Operation};
use crate::report::json::{bytes, from_bytes};
use crate::sys::at::{self, Follow};
use crate::sys::stale::StaleRetry;
use crate::sys::{Errno, Stat, io, proc};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};

/// Marks a file whose attributes may differ from those in its record.
pub(super) const JOINING: &str = "joining";
/// Marks a file that has its final name.
pub(super) const JOINED: &str = "joined";
/// The most files that one step creates.
const TRIES: u64 = 100;

/// The range file of one join.
#[derive(Clone, Copy)]
pub(super) struct RangedFile<'j> {
    pub(super) job: &'j Job,
    pub(super) join: u64,
    /// The length of the whole file in bytes.
    pub(super) size: u64,
}

/// The published facts about a range file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangeRecord {
    /// The number of files that were published before.
    generation: u64,
    pub(super) name: OsString,
    /// 0 where inode numbers do not last.
    ino: u64,
    dev: u64,
    uid: u32,
    mode: u32,
    /// The machine that made the file. Device numbers are only comparable there.
    machine: String,
}

impl RangeRecord {
    fn of(generation: u64, name: OsString, stat: &Stat, manifest: &Manifest) -> RangeRecord {
        let ino = manifest.identity(stat.ino);
        let Stat { dev, uid, .. } = *stat;
        RangeRecord { generation, name, ino, dev, uid, mode: stat.permissions(), machine: proc::machine() }
    }

    fn json(&self) -> Value {
        let RangeRecord { name, ino, dev, uid, mode, machine, .. } = self;
        json!({"name": bytes(name), "ino": ino, "dev": dev, "uid": uid, "mode": mode, "machine": machine})
    }

    fn parse(generation: u64, value: &Value) -> Option<RangeRecord> {
        let number = |key: &str| u32::try_from(value[key].as_u64()?).ok();
        Some(RangeRecord {
            generation,
            name: from_bytes(&value["name"])?,
            ino: value["ino"].as_u64()?,
            dev: value["dev"].as_u64()?,
            uid: number("uid")?,
            mode: number("mode")?,
            machine: value["machine"].as_str()?.to_owned(),
        })
    }
}

impl RangedFile<'_> {
    /// Returns the record that was published last, or `None` if there is none.
    pub(super) fn latest(&self) -> Result<Option<RangeRecord>, Failure> {
        let mut latest = None;
        for generation in 0.. {
            // Do not wait for a later record to become visible: publishing a second one fails anyway.
            match self.published(generation, &StaleRetry::default())? {
                Some(record) => latest = Some(record),
                None => break,
            }
        }
        Ok(latest)
    }

    fn published(&self, generation: u64, stale_retry: &StaleRetry) -> Result<Option<RangeRecord>, Failure> {
        let name = self.record_name(generation);
        let Some(value) = self.job.folder.ranges.read_json(&name, stale_retry)? else { return Ok(None) };
        let damaged = || Failure::new(Operation::Damaged, self.job.folder.ranges.path_of(&name));
        RangeRecord::parse(generation, &value).map(Some).ok_or_else(damaged)
    }

    fn record_name(&self, generation: u64) -> String {
        format!("{}-{generation}", self.join)
    }

    pub(super) fn is_marked(&self, mark: &str) -> bool {
        self.job.folder.ranges.exists(&format!("{}.{mark}", self.join))
    }

    pub(super) fn mark(&self, mark: &str) -> Result<(), Failure> {
        self.job.folder.ranges.write_json(&format!("{}.{mark}", self.join), &Value::Null)
    }

    /// Opens the file for writing and creates it if there is none.
    pub(super) fn open_or_make(&self, mark: &Mark, dir: &Dir, fds: &Fds) -> Result<(OwnedFd, OsString), Failure> {
        let mut latest = self.latest()?;
        for _ in 0..TRIES {
            if let Some(record) = &latest
                && let Some(fd) = self.open(record, dir, fds)?
            {
                return Ok((fd, record.name.clone()));
            }
            let generation = latest.map_or(0, |record| record.generation + 1);
            let name = OsString::from(format!(".zcp-job-{:032x}", proc::random()));
            mark.note(&name)?;
            let cannot = |errno| Failure::new(Operation::CreateFile, dir.destination_path(&name)).errno(errno);
            let fd = at::create(&fds.dst, &name, 0o600, true).map_err(cannot)?;
            // From now on, another length means that the file was changed by another process.
            let sized = io::truncate(&fd, self.size).and_then(|()| at::fstat(&fd));
            let stat = sized.map_err(|errno| {
                let _ = at::unlink(&fds.dst, &name);
                cannot(errno)
            })?;
            let record = RangeRecord::of(generation, name.clone(), &stat, &self.job.manifest);
            if self.job.folder.ranges.publish_json(&self.record_name(generation), &record.json())? {
                return Ok((fd, name));
            }
            // Another process published first: use its file.
            let _ = at::unlink(&fds.dst, &name);
            latest = self.published(generation, &self.job.ctx.run.stale_retry)?;
            if latest.is_none() {
                break;
            }
        }
        let record = self.job.folder.ranges.path_of(&self.record_name(0));
        Err(Failure::new(Operation::Access, record).errno(Errno::STALE))
    }

    /// Opens a published file; `None` if it does not exist, or with a warning if it was exchanged or changed.
    pub(super) fn open(&self, record: &RangeRecord, dir: &Dir, fds: &Fds) -> Result<Option<OwnedFd>, Failure> {
        let cannot =
            |errno| Failure::new(Operation::OpenDestination, dir.destination_path(&record.name)).errno(errno);
        let objection = match at::open_write(&fds.dst, &record.name, Follow::No, false) {
            Ok(fd) => match self.objection(record, &at::fstat(&fd).map_err(cannot)?) {
                None => return Ok(Some(fd)),
                Some(objection) => objection,
            },
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => Operation::NotMadeByJob,
            Err(errno) => return Err(cannot(errno)),
        };
        self.job.ctx.events.warn(Failure::new(objection, dir.destination_path(&record.name)));
        Ok(None)
    }

    /// Returns the reason why a file under a published name must not be written to, or `None` if it is the
    /// unchanged published file.
    fn objection(&self, record: &RangeRecord, stat: &Stat) -> Option<Operation> {
        if !self.is_same_inode(record, stat) || !stat.is_regular() {
            return Some(Operation::NotMadeByJob);
        }
        if stat.nlink > 1 {
            return Some(Operation::SecondName);
        }
        if !self.has_its_rights(record, stat) {
            return Some(Operation::ChangedOwner);
        }
        (stat.size != self.size).then_some(Operation::ChangedLength)
    }

    /// Returns whether the file has the owner and mode that it was made with. A file that is being joined may
    /// already have its final ones.
    fn has_its_rights(&self, record: &RangeRecord, stat: &Stat) -> bool {
        (stat.uid, stat.permissions()) == (record.uid, record.mode) || self.is_marked(JOINING)
    }

    fn is_same_inode(&self, record: &RangeRecord, stat: &Stat) -> bool {
        let device_counts = record.machine == proc::machine() && crate::sys::stat::is_on_block_device(record.dev);
        self.job.manifest.identity(stat.ino) == record.ino && (!device_counts || stat.dev == record.dev)
    }

    pub(super) fn has_name(&self, record: &RangeRecord, dir: impl AsFd, name: &OsStr) -> bool {
        at::stat(dir, name, Follow::No).is_ok_and(|stat| self.is_same_inode(record, &stat))
    }

    /// Returns whether a published file still exists unchanged.
    pub(super) fn is_intact(&self, record: &RangeRecord, dir: impl AsFd) -> bool {
        at::stat(dir, &record.name, Follow::No).is_ok_and(|stat| self.objection(record, &stat).is_none())
    }

    /// Removes the files that a later one has replaced.
    pub(super) fn discard_replaced(&self, dir: &Dir, fds: &Fds) -> Result<(), Failure> {
        let last = self.latest()?.map_or(0, |record| record.generation);
        for generation in 0..last {
            if let Some(record) = self.published(generation, &StaleRetry::default())? {
                self.discard(&record, dir, fds)?;
            }
        }
        Ok(())
    }

    /// Removes a file that will never be complete, unless another file has its name.
    pub(super) fn discard(&self, record: &RangeRecord, dir: &Dir, fds: &Fds) -> Result<(), Failure> {
        // If inode numbers do not last, compare the owner.
        let is_ours =
            |stat: &Stat| self.is_same_inode(record, stat) && stat.is_regular() && stat.uid == record.uid;
        let is_it = at::stat(&fds.dst, &record.name, Follow::No).is_ok_and(|stat| is_ours(&stat));
        match if is_it { at::unlink(&fds.dst, &record.name) } else { Ok(()) } {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Failure::new(Operation::Remove, dir.destination_path(&record.name)).errno(errno)),
        }
    }
}
