//! A FUSE file system that shows a directory in the way of a slow server: each request takes a while, and many
//! requests can be in progress at the same time.
//!
//!     cargo run --release --example slow_fs SOURCE MOUNTPOINT [--delay-us N] [--mib-per-s N]
//!
//! `--mib-per-s` is the bandwidth of this mount, like the link of one client: all bytes that are read and written
//! through it share it.
//!
//! It runs until it is unmounted (`umount MOUNTPOINT`), and needs root or a user namespace with mounts. It is made for
//! measurements and experiments, not for use with real data.

use fuser::{
    FileAttr, FileType, Filesystem, KernelConfig, MountOption, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, consts,
};
use rustix::fs::{self, AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::HashMap;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long the kernel may cache names and attributes, as with a network file system.
const TTL: Duration = Duration::from_secs(1);
/// The most requests at the same time.
const AT_ONCE: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut number = |option: &str| -> Result<u64, Box<dyn Error>> {
        let Some(at) = args.iter().position(|arg| arg == option) else { return Ok(0) };
        let number = args.drain(at..(at + 2).min(args.len())).nth(1).and_then(|text| text.to_str()?.parse().ok());
        number.ok_or_else(|| format!("{option} takes a number").into())
    };
    let delay = Duration::from_micros(number("--delay-us")?);
    let link = Arc::new(Link { bytes_per_s: number("--mib-per-s")? << 20, free: Mutex::new(Instant::now()) });
    let [source, mountpoint] = args.as_slice() else {
        return Err("usage: slow_fs SOURCE MOUNTPOINT [--delay-us N] [--mib-per-s N]".into());
    };
    raise_descriptor_limit();
    let root = fs::open(source, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(AT_ONCE).build()?;
    let slow = Slow { server: Arc::new(Server::new(root)?), pool, delay, link };
    let options = [MountOption::FSName("slow_fs".into()), MountOption::DefaultPermissions];
    fuser::mount2(slow, mountpoint, &options)?;
    Ok(())
}

/// Raises the limit of open files: each inode that the kernel knows costs a descriptor.
fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
}

/// Handles each request in a thread, after the delay.
struct Slow {
    server: Arc<Server>,
    pool: rayon::ThreadPool,
    delay: Duration,
    link: Arc<Link>,
}

/// A link that all bytes pass, one after the other.
struct Link {
    /// 0 means no limit.
    bytes_per_s: u64,
    /// The time when all bytes that are on their way will have passed.
    free: Mutex<Instant>,
}

impl Link {
    fn pass(&self, bytes: usize) {
        if self.bytes_per_s == 0 {
            return;
        }
        let until = {
            let mut free = lock(&self.free);
            *free = (*free).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
            *free
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

impl Slow {
    fn later(&self, answer: impl FnOnce(&Server) + Send + 'static) {
        let (server, delay) = (Arc::clone(&self.server), self.delay);
        self.pool.spawn(move || {
            std::thread::sleep(delay);
            answer(&server);
        });
    }
}

/// The inodes and open files of the source that the kernel knows.
struct Server {
    nodes: Mutex<Nodes>,
    open: Mutex<HashMap<u64, Arc<Open>>>,
}

#[derive(Default)]
struct Nodes {
    by_id: HashMap<u64, Node>,
    ids: HashMap<(u64, u64), u64>,
    last: u64,
}

struct Node {
    /// Opened with O_PATH: it identifies the inode without opening the file for reading or writing.
    fd: Arc<OwnedFd>,
    key: (u64, u64),
    lookups: u64,
}

enum Open {
    File(OwnedFd),
    Directory(Vec<(u64, FileType, OsString)>),
}

type Answer<T> = Result<T, Errno>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A path that leads to the inode of a descriptor (proc_pid_fd(5)).
fn by_descriptor(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

impl Server {
    fn new(root: OwnedFd) -> Answer<Server> {
        let server = Server { nodes: Mutex::default(), open: Mutex::default() };
        server.remember(root)?; // the first inode has the number 1, as FUSE requires
        Ok(server)
    }

    fn remember(&self, fd: OwnedFd) -> Answer<FileAttr> {
        let stat = fs::statat(&fd, "", AtFlags::EMPTY_PATH)?;
        let key = (stat.st_dev, stat.st_ino);
        let mut nodes = lock(&self.nodes);
        let id = match nodes.ids.get(&key) {
            Some(id) => *id,
            None => {
                nodes.last += 1;
                let id = nodes.last;
                nodes.ids.insert(key, id);
                nodes.by_id.insert(id, Node { fd: Arc::new(fd), key, lookups: 0 });
                id
            }
        };
        if let Some(node) = nodes.by_id.get_mut(&id) {
            node.lookups += 1;
        }
        Ok(attributes(id, &stat))
    }

    fn forget(&self, id: u64, lookups: u64) {
        let mut nodes = lock(&self.nodes);
        let Some(node) = nodes.by_id.get_mut(&id) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0 && id != 1 {
            let key = node.key;
            nodes.by_id.remove(&id);
            nodes.ids.remove(&key);
        }
    }

    fn node(&self, id: u64) -> Answer<Arc<OwnedFd>> {
        lock(&self.nodes).by_id.get(&id).map(|node| Arc::clone(&node.fd)).ok_or(Errno::STALE)
    }

    fn lookup(&self, parent: u64, name: &OsStr) -> Answer<FileAttr> {
        let dir = self.node(parent)?;
        self.remember(fs::openat(&*dir, name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?)
    }

    fn stat(&self, id: u64) -> Answer<FileAttr> {
        Ok(attributes(id, &fs::statat(&*self.node(id)?, "", AtFlags::EMPTY_PATH)?))
    }

    fn keep(&self, open: Open) -> u64 {
        let mut all = lock(&self.open);
        let handle = (1..).find(|handle| !all.contains_key(handle)).unwrap_or(0);
        all.insert(handle, Arc::new(open));
        handle
    }

    fn open(&self, id: u64, flags: i32) -> Answer<u64> {
        let flags = OFlags::from_bits_retain(flags.cast_unsigned()) - OFlags::NOFOLLOW - OFlags::APPEND;
        let file = fs::open(by_descriptor(&*self.node(id)?), flags, Mode::empty())?;
        Ok(self.keep(Open::File(file)))
    }

    fn open_directory(&self, id: u64) -> Answer<u64> {
        let dir = fs::openat(&*self.node(id)?, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let entries = fs::Dir::new(dir)?.map(|entry| {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            Ok((entry.ino(), kind(entry.file_type().as_raw_mode()), name))
        });
        Ok(self.keep(Open::Directory(entries.collect::<Answer<_>>()?)))
    }

    fn with_file<T>(&self, handle: u64, run: impl FnOnce(&OwnedFd) -> Answer<T>) -> Answer<T> {
        let open = lock(&self.open).get(&handle).cloned();
        match open.as_deref() {
            Some(Open::File(file)) => run(file),
            _ => Err(Errno::BADF),
        }
    }

    fn set(&self, id: u64, change: &Change) -> Answer<FileAttr> {
        let node = self.node(id)?;
        let path = by_descriptor(&node);
        if change.owner.0.is_some() || change.owner.1.is_some() {
            let (uid, gid) = (change.owner.0.map(Uid::from_raw), change.owner.1.map(Gid::from_raw));
            fs::chownat(&*node, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if let Some(mode) = change.mode {
            fs::chmodat(CWD, &path, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        if let Some(size) = change.size {
            let file = fs::open(&path, OFlags::WRONLY, Mode::empty())?;
            fs::ftruncate(&file, size)?;
        }
        if let Some(times) = &change.times {
            fs::utimensat(CWD, &path, times, AtFlags::empty())?;
        }
        self.stat(id)
    }
}

/// The attributes that a setattr request changes.
struct Change {
    mode: Option<u32>,
    owner: (Option<u32>, Option<u32>),
    size: Option<u64>,
    times: Option<Timestamps>,
}

fn time(time: Option<TimeOrNow>) -> Timespec {
    let special = |nsec| Timespec { tv_sec: 0, tv_nsec: nsec };
    match time {
        None => special(fs::UTIME_OMIT),
        Some(TimeOrNow::Now) => special(fs::UTIME_NOW),
        Some(TimeOrNow::SpecificTime(at)) => {
            let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
            Timespec { tv_sec: since.as_secs().cast_signed(), tv_nsec: since.subsec_nanos().into() }
        }
    }
}

fn kind(mode: u32) -> FileType {
    match fs::FileType::from_raw_mode(mode) {
        fs::FileType::Directory => FileType::Directory,
        fs::FileType::Symlink => FileType::Symlink,
        fs::FileType::Fifo => FileType::NamedPipe,
        fs::FileType::Socket => FileType::Socket,
        fs::FileType::CharacterDevice => FileType::CharDevice,
        fs::FileType::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

fn attributes(id: u64, stat: &fs::Stat) -> FileAttr {
    // The types differ between architectures.
    fn at(sec: impl TryInto<u64>, nsec: impl TryInto<u32>) -> SystemTime {
        UNIX_EPOCH + Duration::new(sec.try_into().unwrap_or(0), nsec.try_into().unwrap_or(0))
    }
    FileAttr {
        ino: id,
        size: stat.st_size.cast_unsigned(),
        blocks: stat.st_blocks.cast_unsigned(),
        atime: at(stat.st_atime, stat.st_atime_nsec),
        mtime: at(stat.st_mtime, stat.st_mtime_nsec),
        ctime: at(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: kind(stat.st_mode),
        perm: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: u32::try_from(stat.st_rdev).unwrap_or(0),
        blksize: u32::try_from(stat.st_blksize).unwrap_or(4096),
        flags: 0,
    }
}

/// Replies with the result of an expression, or with its errno.
macro_rules! answer {
    ($reply:ident, $answer:expr, $found:pat => $yes:expr) => {
        match $answer {
            Ok($found) => $yes,
            Err(errno) => $reply.error(errno.raw_os_error()),
        }
    };
}

impl Filesystem for Slow {
    fn init(&mut self, _: &Request<'_>, config: &mut KernelConfig) -> Result<(), i32> {
        let wanted = consts::FUSE_ASYNC_READ | consts::FUSE_PARALLEL_DIROPS | consts::FUSE_MAX_PAGES;
        let _ = config.add_capabilities(wanted);
        let _ = config.set_max_background(u16::try_from(AT_ONCE).unwrap_or(u16::MAX));
        Ok(())
    }

    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        self.later(
            move |server| answer!(reply, server.lookup(parent, &name), attr => reply.entry(&TTL, &attr, 0)),
        );
    }

    fn forget(&mut self, _: &Request<'_>, id: u64, lookups: u64) {
        self.server.forget(id, lookups);
    }

    fn getattr(&mut self, _: &Request<'_>, id: u64, _: Option<u64>, reply: ReplyAttr) {
        self.later(move |server| answer!(reply, server.stat(id), attr => reply.attr(&TTL, &attr)));
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
        _: Option<u64>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        let times = (atime.is_some() || mtime.is_some())
            .then(|| Timestamps { last_access: time(atime), last_modification: time(mtime) });
        let change = Change { mode, owner: (uid, gid), size, times };
        self.later(move |server| answer!(reply, server.set(id, &change), attr => reply.attr(&TTL, &attr)));
    }

    fn readlink(&mut self, _: &Request<'_>, id: u64, reply: ReplyData) {
        self.later(move |server| {
            let target = server.node(id).and_then(|node| fs::readlinkat(&*node, "", Vec::new()));
            answer!(reply, target, target => reply.data(target.to_bytes()));
        });
    }

    fn mkdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let name = name.to_owned();
        self.later(move |server| {
            let made = server.node(parent).and_then(|dir| {
                fs::mkdirat(&*dir, &name, Mode::from_raw_mode(mode & !umask))?;
                server.lookup(parent, &name)
            });
            answer!(reply, made, attr => reply.entry(&TTL, &attr, 0));
        });
    }

    fn symlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let (name, target) = (name.to_owned(), target.to_owned());
        self.later(move |server| {
            let made = server.node(parent).and_then(|dir| {
                fs::symlinkat(&target, &*dir, &name)?;
                server.lookup(parent, &name)
            });
            answer!(reply, made, attr => reply.entry(&TTL, &attr, 0));
        });
    }

    fn link(&mut self, _: &Request<'_>, id: u64, parent: u64, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        self.later(move |server| {
            let made = server.node(parent).and_then(|dir| {
                fs::linkat(CWD, by_descriptor(&*server.node(id)?), &*dir, &name, AtFlags::SYMLINK_FOLLOW)?;
                server.lookup(parent, &name)
            });
            answer!(reply, made, attr => reply.entry(&TTL, &attr, 0));
        });
    }

    fn unlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.later(move |server| {
            let done = server.node(parent).and_then(|dir| fs::unlinkat(&*dir, &name, AtFlags::empty()));
            answer!(reply, done, () => reply.ok());
        });
    }

    fn rmdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.later(move |server| {
            let done = server.node(parent).and_then(|dir| fs::unlinkat(&*dir, &name, AtFlags::REMOVEDIR));
            answer!(reply, done, () => reply.ok());
        });
    }

    fn rename(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        new_parent: u64,
        new_name: &OsStr,
        flags: u32,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        self.later(move |server| {
            let flags = RenameFlags::from_bits_retain(flags);
            let dirs = server.node(parent).and_then(|old| Ok((old, server.node(new_parent)?)));
            let done = dirs.and_then(|(old, new)| fs::renameat_with(&*old, &name, &*new, &new_name, flags));
            answer!(reply, done, () => reply.ok());
        });
    }

    fn open(&mut self, _: &Request<'_>, id: u64, flags: i32, reply: ReplyOpen) {
        self.later(move |server| answer!(reply, server.open(id, flags), handle => reply.opened(handle, 0)));
    }

    fn create(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let name = name.to_owned();
        self.later(move |server| {
            let made = server.node(parent).and_then(|dir| {
                let flags = OFlags::from_bits_retain(flags.cast_unsigned()) | OFlags::CREATE | OFlags::NOFOLLOW;
                let file = fs::openat(&*dir, &name, flags, Mode::from_raw_mode(mode & !umask))?;
                Ok((server.lookup(parent, &name)?, server.keep(Open::File(file))))
            });
            answer!(reply, made, (attr, handle) => reply.created(&TTL, &attr, 0, handle, 0));
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
        let link = Arc::clone(&self.link);
        self.later(move |server| {
            let mut bytes = vec![0; size as usize];
            let read = server.with_file(handle, |file| {
                let mut filled = 0;
                // The kernel takes a short answer for the end of the file.
                loop {
                    match rustix::io::pread(file, &mut bytes[filled..], offset.cast_unsigned() + filled as u64)? {
                        0 => return Ok(filled),
                        n => filled += n,
                    }
                }
            });
            link.pass(*read.as_ref().unwrap_or(&0));
            answer!(reply, read, n => reply.data(&bytes[..n]));
        });
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
        let data = data.to_owned();
        let link = Arc::clone(&self.link);
        self.later(move |server| {
            link.pass(data.len());
            let written = server.with_file(handle, |file| rustix::io::pwrite(file, &data, offset.cast_unsigned()));
            answer!(reply, written, n => reply.written(u32::try_from(n).unwrap_or(u32::MAX)));
        });
    }

    fn lseek(&mut self, _: &Request<'_>, _: u64, handle: u64, offset: i64, whence: i32, reply: ReplyLseek) {
        self.later(move |server| {
            let offset = offset.cast_unsigned();
            let to = if whence == 3 { fs::SeekFrom::Data(offset) } else { fs::SeekFrom::Hole(offset) };
            answer!(reply, server.with_file(handle, |file| fs::seek(file, to)), at => reply.offset(at.cast_signed()));
        });
    }

    fn flush(&mut self, _: &Request<'_>, _: u64, _: u64, _: u64, reply: ReplyEmpty) {
        self.later(move |_| reply.ok());
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
        lock(&self.server.open).remove(&handle);
        reply.ok();
    }

    fn fsync(&mut self, _: &Request<'_>, _: u64, handle: u64, _: bool, reply: ReplyEmpty) {
        self.later(
            move |server| answer!(reply, server.with_file(handle, |file| fs::fsync(file)), () => reply.ok()),
        );
    }

    fn opendir(&mut self, _: &Request<'_>, id: u64, _: i32, reply: ReplyOpen) {
        self.later(move |server| answer!(reply, server.open_directory(id), handle => reply.opened(handle, 0)));
    }

    fn readdir(&mut self, _: &Request<'_>, _: u64, handle: u64, offset: i64, mut reply: ReplyDirectory) {
        self.later(move |server| {
            let open = lock(&server.open).get(&handle).cloned();
            let Some(Open::Directory(entries)) = open.as_deref() else {
                return reply.error(Errno::BADF.raw_os_error());
            };
            let start = usize::try_from(offset).unwrap_or(0);
            for (index, (id, kind, name)) in entries.iter().enumerate().skip(start) {
                if reply.add(*id, index as i64 + 1, *kind, name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn releasedir(&mut self, _: &Request<'_>, _: u64, handle: u64, _: i32, reply: ReplyEmpty) {
        lock(&self.server.open).remove(&handle);
        reply.ok();
    }

    fn statfs(&mut self, _: &Request<'_>, id: u64, reply: ReplyStatfs) {
        self.later(move |server| {
            let found = server.node(id).and_then(|node| fs::statvfs(by_descriptor(&node)));
            answer!(reply, found, s => {
                let size = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
                let (block, name, unit) = (size(s.f_bsize), size(s.f_namemax), size(s.f_frsize));
                reply.statfs(s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree, block, name, unit);
            });
        });
    }
}
