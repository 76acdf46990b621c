//! A FUSE server that serves a directory, and refuses operations as servers of many kinds do.

use crate::sandbox::Sandbox;
use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, KernelConfig, MountOption, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    consts,
};
use rustix::fs::{self as rfs, AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The kernel caches no attributes.
const TTL: Duration = Duration::ZERO;
/// The kernel's number of the root.
const ROOT: u64 = 1;

/// Operations that a server does not support, or performs differently from a disk. By default it lacks only
/// files without a name, since fuser does not support O_TMPFILE.
#[derive(Clone, Copy, Default)]
pub(crate) struct Refusals {
    /// Renaming without replacing (EINVAL).
    pub(crate) rename_flags: bool,
    pub(crate) rename: Option<Errno>,
    pub(crate) link: Option<Errno>,
    pub(crate) symlink: Option<Errno>,
    /// Making special files.
    pub(crate) mknod: Option<Errno>,
    pub(crate) xattr: Option<Errno>,
    /// Counting links: `st_nlink` is 0.
    pub(crate) link_count: bool,
    /// Keeping content: opening a file for writing without O_TRUNC, and ftruncate(2), fail.
    pub(crate) keeping_content: Option<Errno>,
    /// Writing anywhere but at the end: a file is written from its start to its end. The flush of any descriptor
    /// completes it, and until then nobody can read it. A write elsewhere breaks it.
    pub(crate) random_writes: bool,
    /// Writing to such a file after an fsync.
    pub(crate) writes_after_fsync: bool,
    /// Removing the name of an open file.
    pub(crate) unlink_open: Option<Errno>,
    /// Types in a listing: every name has this type.
    pub(crate) types: Option<FileType>,
    /// Reading at an offset (ESPIPE).
    pub(crate) offsets: bool,
}

impl Refusals {
    /// Object storage, like mountpoint-s3 and like rclone without its own cache.
    pub(crate) fn of_object_storage() -> Refusals {
        Refusals {
            rename_flags: true,
            rename: Some(Errno::NOSYS),
            link: Some(Errno::NOSYS),
            symlink: Some(Errno::NOSYS),
            mknod: Some(Errno::NOSYS),
            xattr: Some(Errno::OPNOTSUPP),
            keeping_content: Some(Errno::PERM),
            random_writes: true,
            writes_after_fsync: true,
            unlink_open: Some(Errno::PERM),
            ..Refusals::default()
        }
    }

    /// Serves the directory `served` of the sandbox at `mount`.
    pub(crate) fn mount(self, sandbox: &Sandbox) -> BackgroundSession {
        sandbox.dir("served").dir("mount");
        let root = sandbox.path("served");
        let paths = HashMap::from([(ROOT, vec![root])]);
        let server = Server { refusals: self, paths, open: HashMap::new(), last: 0, held: HashMap::new() };
        let options = [MountOption::FSName("refusing".into()), MountOption::AllowOther];
        fuser::spawn_mount2(server, sandbox.path("mount"), &options).unwrap()
    }
}

struct Server {
    refusals: Refusals,
    /// The paths of each inode. An inode can have several, some of which may no longer exist.
    paths: HashMap<u64, Vec<PathBuf>>,
    open: HashMap<u64, Open>,
    /// The last number of an open file.
    last: u64,
    /// How often the removal of a file is still refused: the kernel may report the end of a file late.
    held: HashMap<u64, u32>,
}

struct Open {
    file: File,
    id: u64,
    writes: bool,
    /// The offset where the next byte is expected.
    next: u64,
    state: State,
}

/// The state of a file that can only be written from start to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begun,
    Complete,
    Broken,
}

type Answer<T> = Result<T, Errno>;

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn refused(refusal: Option<Errno>) -> Answer<()> {
    refusal.map_or(Ok(()), Err)
}

impl Server {
    fn path(&self, id: u64) -> Answer<PathBuf> {
        let candidates = self.paths.get(&id).ok_or(Errno::STALE)?;
        let is_there = |path: &&PathBuf| path.symlink_metadata().is_ok_and(|stat| id == ROOT || stat.ino() == id);
        candidates.iter().rev().find(is_there).cloned().ok_or(Errno::NOENT)
    }

    fn child(&self, parent: u64, name: &OsStr) -> Answer<PathBuf> {
        Ok(self.path(parent)?.join(name))
    }

    /// Records the path of a file, and returns its attributes.
    fn met(&mut self, path: &Path) -> Answer<FileAttr> {
        let stat = path.symlink_metadata().map_err(errno)?;
        let paths = self.paths.entry(stat.ino()).or_default();
        paths.retain(|known| known != path);
        paths.push(path.to_owned());
        Ok(self.attributes(&stat))
    }

    fn attributes(&self, stat: &Metadata) -> FileAttr {
        let time = |sec: i64, nsec: i64| UNIX_EPOCH + Duration::new(u64::try_from(sec).unwrap(), nsec as u32);
        FileAttr {
            ino: stat.ino(),
            size: stat.size(),
            blocks: stat.blocks(),
            atime: time(stat.atime(), stat.atime_nsec()),
            mtime: time(stat.mtime(), stat.mtime_nsec()),
            ctime: time(stat.ctime(), stat.ctime_nsec()),
            crtime: UNIX_EPOCH,
            kind: kind(stat.file_type()),
            perm: (stat.mode() & 0o7777) as u16,
            nlink: if self.refusals.link_count { 0 } else { stat.nlink() as u32 },
            uid: stat.uid(),
            gid: stat.gid(),
            rdev: stat.rdev() as u32,
            blksize: 4096,
            flags: 0,
        }
    }

    fn own(&self, path: &Path, request: &Request<'_>) {
        let _ = std::os::unix::fs::lchown(path, Some(request.uid()), Some(request.gid()));
    }

    fn add(&mut self, file: File, id: u64, writes: bool) -> u64 {
        self.last += 1;
        self.open.insert(self.last, Open { file, id, writes, next: 0, state: State::Begun });
        self.last
    }

    fn is_being_written(&self, id: u64) -> bool {
        self.open.values().any(|open| open.id == id && open.writes && open.state == State::Begun)
    }

    fn try_open(&mut self, id: u64, flags: i32) -> Answer<u64> {
        let flags = OFlags::from_bits_retain(flags as u32);
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        let truncates = flags.contains(OFlags::TRUNC);
        if self.refusals.random_writes && (flags.contains(OFlags::RDWR) || self.is_being_written(id)) {
            return Err(Errno::PERM);
        }
        if writes && !truncates {
            refused(self.refusals.keeping_content)?;
        }
        let kept = OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC;
        let file = rfs::open(self.path(id)?, flags & kept | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(self.add(File::from(file), id, writes))
    }

    fn try_create(
        &mut self,
        request: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
    ) -> Answer<(FileAttr, u64)> {
        let path = self.child(parent, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = File::from(rfs::open(&path, flags, Mode::from_raw_mode(mode))?);
        self.own(&path, request);
        let attributes = self.met(&path)?;
        Ok((attributes, self.add(file, attributes.ino, true)))
    }

    fn try_write(&mut self, handle: u64, offset: i64, data: &[u8]) -> Answer<u32> {
        let sequential = self.refusals.random_writes;
        let open = self.open.get_mut(&handle).ok_or(Errno::BADF)?;
        let offset = offset as u64;
        match open.state {
            State::Complete if sequential => return Err(Errno::BADF),
            State::Broken => return Err(Errno::IO),
            _ if sequential && offset != open.next => {
                open.state = State::Broken;
                return Err(Errno::INVAL);
            }
            _ => {}
        }
        open.file.write_all_at(data, offset).map_err(errno)?;
        open.next = offset + data.len() as u64;
        Ok(data.len() as u32)
    }

    /// Completes a file that is written from start to end.
    fn complete(&mut self, handle: u64) -> Answer<()> {
        let open = self.open.get_mut(&handle).ok_or(Errno::BADF)?;
        if self.refusals.random_writes && open.writes {
            if open.state == State::Broken {
                return Err(Errno::IO);
            }
            open.state = State::Complete;
        }
        Ok(())
    }

    fn try_rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), flags: u32) -> Answer<()> {
        if flags != 0 && self.refusals.rename_flags {
            return Err(Errno::INVAL);
        }
        refused(self.refusals.rename)?;
        let (old, new) = (self.child(from.0, from.1)?, self.child(to.0, to.1)?);
        rfs::renameat_with(CWD, &old, CWD, &new, rfs::RenameFlags::from_bits_retain(flags))?;
        for path in self.paths.values_mut().flatten() {
            if let Ok(below) = path.strip_prefix(&old) {
                *path = if below.as_os_str().is_empty() { new.clone() } else { new.join(below) };
            }
        }
        self.met(&new).map(drop)
    }

    fn try_unlink(&mut self, parent: u64, name: &OsStr) -> Answer<()> {
        let path = self.child(parent, name)?;
        let id = path.symlink_metadata().map_err(errno)?.ino();
        if self.open.values().any(|open| open.id == id) {
            self.held.insert(id, 3);
            refused(self.refusals.unlink_open)?;
        }
        if let Some(left @ 1..) = self.held.get_mut(&id) {
            *left -= 1;
            refused(self.refusals.unlink_open)?;
        }
        fs::remove_file(path).map_err(errno)
    }

    fn set(&mut self, id: u64, handle: Option<u64>, what: &Settings) -> Answer<FileAttr> {
        if let Some(size) = what.size {
            refused(self.refusals.keeping_content)?;
            let is_its_length = |open: &Open| open.next == size;
            if self.refusals.random_writes
                && !handle.and_then(|handle| self.open.get(&handle)).is_some_and(is_its_length)
            {
                return Err(Errno::PERM);
            }
            match handle.and_then(|handle| self.open.get(&handle)) {
                Some(open) => open.file.set_len(size).map_err(errno)?,
                None => File::options()
                    .write(true)
                    .open(self.path(id)?)
                    .map_err(errno)?
                    .set_len(size)
                    .map_err(errno)?,
            }
        }
        let path = self.path(id)?;
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        if what.uid.is_some() || what.gid.is_some() {
            rfs::chownat(CWD, &path, what.uid.map(Uid::from_raw), what.gid.map(Gid::from_raw), no_follow)?;
        }
        if let Some(mode) = what.mode {
            rfs::chmodat(CWD, &path, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
        }
        if what.atime.is_some() || what.mtime.is_some() {
            let times = Timestamps { last_access: timespec(what.atime), last_modification: timespec(what.mtime) };
            rfs::utimensat(CWD, &path, &times, no_follow)?;
        }
        Ok(self.attributes(&path.symlink_metadata().map_err(errno)?))
    }

    fn list(&mut self, id: u64, start: usize, reply: &mut ReplyDirectory) -> Answer<()> {
        let mut names: Vec<_> = fs::read_dir(self.path(id)?).map_err(errno)?.map(Result::unwrap).collect();
        names.sort_by_key(fs::DirEntry::file_name);
        for (index, entry) in names.iter().enumerate().skip(start) {
            let truth = kind(entry.file_type().map_err(errno)?);
            let kind = self.refusals.types.unwrap_or(truth);
            let id = entry.metadata().map_err(errno)?.ino();
            if reply.add(id, index as i64 + 1, kind, entry.file_name()) {
                break;
            }
        }
        Ok(())
    }
}

/// The attributes that a setattr request sets.
struct Settings {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    atime: Option<TimeOrNow>,
    mtime: Option<TimeOrNow>,
}

fn timespec(time: Option<TimeOrNow>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: rfs::UTIME_OMIT },
        Some(TimeOrNow::Now) => Timespec { tv_sec: 0, tv_nsec: rfs::UTIME_NOW },
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap();
            Timespec { tv_sec: since.as_secs() as i64, tv_nsec: since.subsec_nanos().into() }
        }
    }
}

fn kind(kind: fs::FileType) -> FileType {
    match kind {
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_symlink() => FileType::Symlink,
        kind if kind.is_fifo() => FileType::NamedPipe,
        kind if kind.is_socket() => FileType::Socket,
        kind if kind.is_char_device() => FileType::CharDevice,
        kind if kind.is_block_device() => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

/// Runs the closure, so that `?` in it does not leave the calling function.
fn attempt<T>(run: impl FnOnce() -> Answer<T>) -> Answer<T> {
    run()
}

/// Replies with the result of an expression, or with its error.
macro_rules! answer {
    ($reply:ident, $answer:expr, $value:pat => $ok:expr) => {
        match attempt(|| $answer) {
            Ok($value) => $ok,
            Err(errno) => $reply.error(errno.raw_os_error()),
        }
    };
}

impl Filesystem for Server {
    fn init(&mut self, _: &Request<'_>, config: &mut KernelConfig) -> Result<(), i32> {
        if self.refusals.keeping_content.is_some() {
            // Makes opening with O_TRUNC one request, as such servers need it.
            config.add_capabilities(consts::FUSE_ATOMIC_O_TRUNC).unwrap();
        }
        Ok(())
    }

    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.met(&self.child(parent, name)?), stat => reply.entry(&TTL, &stat, 0));
    }

    fn getattr(&mut self, _: &Request<'_>, id: u64, handle: Option<u64>, reply: ReplyAttr) {
        let open = handle.and_then(|handle| self.open.get(&handle));
        let stat = match open {
            Some(open) => open.file.metadata().map_err(errno),
            None => self.path(id).and_then(|path| path.symlink_metadata().map_err(errno)),
        };
        answer!(reply, Ok(self.attributes(&stat?)), stat => {
            reply.attr(&TTL, &FileAttr { ino: id, ..stat });
        });
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        id: u64,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<u64>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        let settings = Settings { mode, uid, gid, size, atime, mtime };
        answer!(reply, self.set(id, handle, &settings), stat => reply.attr(&TTL, &FileAttr { ino: id, ..stat }));
    }

    fn readlink(&mut self, _: &Request<'_>, id: u64, reply: ReplyData) {
        answer!(reply, fs::read_link(self.path(id)?).map_err(errno), target => {
            reply.data(target.as_os_str().as_encoded_bytes());
        });
    }

    fn mknod(
        &mut self,
        request: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        answer!(reply, {
            refused(self.refusals.mknod)?;
            let path = self.child(parent, name)?;
            let kind = rfs::FileType::from_raw_mode(mode);
            rfs::mknodat(CWD, &path, kind, Mode::from_raw_mode(mode & 0o7777 & !umask), rdev.into())?;
            self.own(&path, request);
            self.met(&path)
        }, stat => reply.entry(&TTL, &stat, 0));
    }

    fn mkdir(
        &mut self,
        request: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        answer!(reply, {
            let path = self.child(parent, name)?;
            rfs::mkdir(&path, Mode::from_raw_mode(mode & !umask))?;
            self.own(&path, request);
            self.met(&path)
        }, stat => reply.entry(&TTL, &stat, 0));
    }

    fn unlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.try_unlink(parent, name), () => reply.ok());
    }

    fn rmdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, fs::remove_dir(self.child(parent, name)?).map_err(errno), () => reply.ok());
    }

    fn symlink(&mut self, request: &Request<'_>, parent: u64, name: &OsStr, target: &Path, reply: ReplyEntry) {
        answer!(reply, {
            refused(self.refusals.symlink)?;
            let path = self.child(parent, name)?;
            rfs::symlink(target, &path)?;
            self.own(&path, request);
            self.met(&path)
        }, stat => reply.entry(&TTL, &stat, 0));
    }

    fn rename(
        &mut self,
        _: &Request<'_>,
        from: u64,
        old: &OsStr,
        to: u64,
        new: &OsStr,
        flags: u32,
        reply: ReplyEmpty,
    ) {
        answer!(reply, self.try_rename((from, old), (to, new), flags), () => reply.ok());
    }

    fn link(&mut self, _: &Request<'_>, id: u64, parent: u64, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, {
            refused(self.refusals.link)?;
            let path = self.child(parent, name)?;
            fs::hard_link(self.path(id)?, &path).map_err(errno)?;
            self.met(&path)
        }, stat => reply.entry(&TTL, &stat, 0));
    }

    fn open(&mut self, _: &Request<'_>, id: u64, flags: i32, reply: ReplyOpen) {
        let stream = self.refusals.offsets && flags & 3 == 0;
        let flag = if stream { consts::FOPEN_NONSEEKABLE } else { 0 };
        answer!(reply, self.try_open(id, flags), handle => reply.opened(handle, flag));
    }

    fn create(
        &mut self,
        request: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        answer!(reply, self.try_create(request, parent, name, mode & !umask), (stat, handle) => {
            reply.created(&TTL, &stat, 0, handle, 0);
        });
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        _: u64,
        handle: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        answer!(reply, {
            let open = self.open.get(&handle).ok_or(Errno::BADF)?;
            let mut bytes = vec![0; size as usize];
            let mut filled = 0;
            while filled < bytes.len() {
                match open.file.read_at(&mut bytes[filled..], offset as u64 + filled as u64).map_err(errno)? {
                    0 => break,
                    read => filled += read,
                }
            }
            bytes.truncate(filled);
            Ok(bytes)
        }, bytes => reply.data(&bytes));
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        _: u64,
        handle: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        answer!(reply, self.try_write(handle, offset, data), written => reply.written(written));
    }

    fn flush(&mut self, _: &Request<'_>, _: u64, handle: u64, _: u64, reply: ReplyEmpty) {
        answer!(reply, self.complete(handle), () => reply.ok());
    }

    fn fsync(&mut self, _: &Request<'_>, _: u64, handle: u64, _: bool, reply: ReplyEmpty) {
        if !self.refusals.writes_after_fsync {
            return reply.ok();
        }
        answer!(reply, self.complete(handle), () => reply.ok());
    }

    fn fsyncdir(&mut self, _: &Request<'_>, _: u64, _: u64, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &mut self,
        _: &Request<'_>,
        _: u64,
        handle: u64,
        _: i32,
        _: Option<u64>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.open.remove(&handle);
        reply.ok();
    }

    fn readdir(&mut self, _: &Request<'_>, id: u64, _: u64, offset: i64, mut reply: ReplyDirectory) {
        match self.list(id, offset as usize, &mut reply) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn getxattr(&mut self, _: &Request<'_>, id: u64, name: &OsStr, size: u32, reply: ReplyXattr) {
        answer!(reply, {
            refused(self.refusals.xattr)?;
            let mut value = vec![0; 1 << 16];
            let length = rfs::lgetxattr(self.path(id)?, name, &mut value)?;
            value.truncate(length);
            Ok(value)
        }, value => reply_attribute(reply, size, &value));
    }

    fn listxattr(&mut self, _: &Request<'_>, id: u64, size: u32, reply: ReplyXattr) {
        answer!(reply, {
            refused(self.refusals.xattr)?;
            let mut names = vec![0; 1 << 16];
            let length = rfs::llistxattr(self.path(id)?, &mut names)?;
            names.truncate(length);
            Ok(names)
        }, names => reply_attribute(reply, size, &names));
    }

    fn setxattr(
        &mut self,
        _: &Request<'_>,
        id: u64,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        answer!(reply, {
            refused(self.refusals.xattr)?;
            rfs::lsetxattr(self.path(id)?, name, value, XattrFlags::from_bits_retain(flags as u32))
        }, () => reply.ok());
    }

    fn removexattr(&mut self, _: &Request<'_>, id: u64, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, {
            refused(self.refusals.xattr)?;
            rfs::lremovexattr(self.path(id)?, name)
        }, () => reply.ok());
    }
}

fn reply_attribute(reply: ReplyXattr, size: u32, value: &[u8]) {
    match size {
        0 => reply.size(value.len() as u32),
        size if (size as usize) < value.len() => reply.error(Errno::RANGE.raw_os_error()),
        _ => reply.data(value),
    }
}
