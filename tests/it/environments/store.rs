//! A FUSE file system in memory whose server can refuse requests, lose data and round times, and counts its
//! requests.

use crate::sandbox::Sandbox;
use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, ReplyXattr, Request, TimeOrNow,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The kernel caches no attributes.
const TTL: Duration = Duration::ZERO;

/// The behaviour of the server. It can be changed while the file system is mounted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// The answer to close(2) of a file whose name begins with "bad". Its data is lost.
    pub(crate) flush: Option<Errno>,
    /// The answer to fsync(2) of such a file.
    pub(crate) fsync: Option<Errno>,
    /// The answer to setting an attribute other than an access control list.
    pub(crate) set_xattr: Option<Errno>,
    /// The answer to all requests for access control lists.
    pub(crate) acl: Option<Errno>,
    /// Times are rounded down to multiples of this many seconds. 0: times are kept.
    pub(crate) coarse_seconds: u64,
    /// Times are rounded down to multiples of this many nanoseconds.
    pub(crate) coarse_nanoseconds: u32,
}

/// The requests that the server received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) writes: u64,
    /// The names of synced files, in order.
    pub(crate) synced: Vec<OsString>,
}

#[derive(Debug)]
struct Node {
    attr: FileAttr,
    name: OsString,
    data: Vec<u8>,
    children: BTreeMap<OsString, u64>,
    xattrs: BTreeMap<OsString, Vec<u8>>,
}

#[derive(Default)]
struct State {
    manners: Manners,
    counts: Counts,
    nodes: BTreeMap<u64, Node>,
    last: u64,
}

/// A mounted file system.
pub(crate) struct Store {
    state: Arc<Mutex<State>>,
    _session: BackgroundSession,
}

impl Store {
    /// Mounts it on a new directory of the sandbox.
    pub(crate) fn mount(sandbox: &Sandbox, name: &str, manners: Manners) -> Store {
        sandbox.dir(name);
        let mut state = State { manners, ..State::default() };
        state.make(FileType::Directory, 0o755, OsStr::new("/"));
        let state = Arc::new(Mutex::new(state));
        let options = [MountOption::FSName("store".into()), MountOption::DefaultPermissions];
        let server = Server(Arc::clone(&state));
        let _session = fuser::spawn_mount2(server, sandbox.path(name), &options).unwrap();
        Store { state, _session }
    }

    pub(crate) fn behave(&self, manners: Manners) {
        self.state.lock().unwrap().manners = manners;
    }

    /// The requests since the last call.
    pub(crate) fn take_counts(&self) -> Counts {
        std::mem::take(&mut self.state.lock().unwrap().counts)
    }
}

impl State {
    fn make(&mut self, kind: FileType, perm: u16, name: &OsStr) -> u64 {
        self.last += 1;
        let now = SystemTime::now();
        let attr = FileAttr {
            ino: self.last,
            size: 0,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            crtime: now,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        let (data, children, xattrs) = Default::default();
        self.nodes.insert(self.last, Node { attr, name: name.to_owned(), data, children, xattrs });
        self.last
    }

    fn add(&mut self, parent: u64, name: &OsStr, kind: FileType, mode: u32) -> FileAttr {
        let id = self.make(kind, (mode & 0o7777) as u16, name);
        self.nodes.get_mut(&parent).unwrap().children.insert(name.to_owned(), id);
        self.shown(id)
    }

    fn child(&self, parent: u64, name: &OsStr) -> Option<u64> {
        self.nodes[&parent].children.get(name).copied()
    }

    /// The attributes that stat(2) shows, with times cut off.
    fn shown(&self, id: u64) -> FileAttr {
        let node = &self.nodes[&id];
        let (size, blocks) = (node.data.len() as u64, node.data.len().div_ceil(512) as u64);
        let [atime, mtime, ctime] = [node.attr.atime, node.attr.mtime, node.attr.ctime].map(|time| self.cut(time));
        FileAttr { size, blocks, atime, mtime, ctime, ..node.attr }
    }

    fn cut(&self, time: SystemTime) -> SystemTime {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (mut seconds, mut nanoseconds) = (since.as_secs(), since.subsec_nanos());
        if let unit @ 1.. = self.manners.coarse_seconds {
            (seconds, nanoseconds) = (seconds / unit * unit, 0);
        }
        if let unit @ 1.. = self.manners.coarse_nanoseconds {
            nanoseconds = nanoseconds / unit * unit;
        }
        UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    }

    fn is_bad(&self, id: u64) -> bool {
        self.nodes[&id].name.as_bytes().starts_with(b"bad")
    }
}

struct Server(Arc<Mutex<State>>);

impl Server {
    fn with<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        run(&mut self.0.lock().unwrap())
    }
}

fn is_acl(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"system.")
}

fn done(reply: ReplyEmpty, answer: Option<Errno>) {
    match answer {
        Some(errno) => reply.error(errno.raw_os_error()),
        None => reply.ok(),
    }
}

fn value(reply: ReplyXattr, size: u32, value: &[u8]) {
    match u32::try_from(value.len()).unwrap() {
        length if size == 0 => reply.size(length),
        length if length > size => reply.error(Errno::RANGE.raw_os_error()),
        _ => reply.data(value),
    }
}

impl Filesystem for Server {
    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        match self.with(|state| state.child(parent, name).map(|id| state.shown(id))) {
            Some(attr) => reply.entry(&TTL, &attr, 0),
            None => reply.error(Errno::NOENT.raw_os_error()),
        }
    }

    fn getattr(&mut self, _: &Request<'_>, id: u64, _: Option<u64>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.with(|state| state.shown(id)));
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
        let attr = self.with(|state| {
            let node = state.nodes.get_mut(&id).unwrap();
            let attr = &mut node.attr;
            let time = |time: TimeOrNow| match time {
                TimeOrNow::SpecificTime(time) => time,
                TimeOrNow::Now => SystemTime::now(),
            };
            attr.ctime = SystemTime::now();
            attr.perm = mode.map_or(attr.perm, |mode| (mode & 0o7777) as u16);
            (attr.uid, attr.gid) = (uid.unwrap_or(attr.uid), gid.unwrap_or(attr.gid));
            if let Some(size) = size {
                node.data.resize(usize::try_from(size).unwrap(), 0);
                attr.mtime = attr.ctime;
            }
            attr.atime = atime.map_or(attr.atime, time);
            attr.mtime = mtime.map_or(attr.mtime, time);
            state.shown(id)
        });
        reply.attr(&TTL, &attr);
    }

    fn readlink(&mut self, _: &Request<'_>, id: u64, reply: ReplyData) {
        self.with(|state| reply.data(&state.nodes[&id].data));
    }

    fn mknod(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, mode: u32, _: u32, _: u32, reply: ReplyEntry) {
        let kind = if mode & 0o170_000 == 0o010_000 { FileType::NamedPipe } else { FileType::RegularFile };
        reply.entry(&TTL, &self.with(|state| state.add(parent, name, kind, mode)), 0);
    }

    fn mkdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        reply.entry(&TTL, &self.with(|state| state.add(parent, name, FileType::Directory, mode)), 0);
    }

    fn unlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        self.with(|state| state.nodes.get_mut(&parent).unwrap().children.remove(name));
        reply.ok();
    }

    fn rmdir(&mut self, request: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(request, parent, name, reply);
    }

    fn symlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let attr = self.with(|state| {
            let attr = state.add(parent, name, FileType::Symlink, 0o777);
            state.nodes.get_mut(&attr.ino).unwrap().data = target.as_os_str().as_bytes().to_vec();
            state.shown(attr.ino)
        });
        reply.entry(&TTL, &attr, 0);
    }

    fn rename(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        new_parent: u64,
        new_name: &OsStr,
        _: u32,
        reply: ReplyEmpty,
    ) {
        self.with(|state| {
            let id = state.nodes.get_mut(&parent).unwrap().children.remove(name).unwrap();
            state.nodes.get_mut(&new_parent).unwrap().children.insert(new_name.to_owned(), id);
            state.nodes.get_mut(&id).unwrap().name = new_name.to_owned();
        });
        reply.ok();
    }

    fn open(&mut self, _: &Request<'_>, _: u64, _: i32, reply: ReplyOpen) {
        reply.opened(0, 0);
    }

    fn create(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let attr = self.with(|state| state.add(parent, name, FileType::RegularFile, mode));
        reply.created(&TTL, &attr, 0, 0, 0);
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        id: u64,
        _: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        self.with(|state| {
            let data = &state.nodes[&id].data;
            let start = usize::try_from(offset).unwrap().min(data.len());
            reply.data(&data[start..(start + size as usize).min(data.len())]);
        });
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        id: u64,
        _: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        self.with(|state| {
            state.counts.writes += 1;
            let node = state.nodes.get_mut(&id).unwrap();
            let (start, end) = (usize::try_from(offset).unwrap(), usize::try_from(offset).unwrap() + data.len());
            node.data.resize(node.data.len().max(end), 0);
            node.data[start..end].copy_from_slice(data);
            node.attr.mtime = SystemTime::now();
        });
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn flush(&mut self, _: &Request<'_>, id: u64, _: u64, _: u64, reply: ReplyEmpty) {
        let answer = self.with(|state| {
            let errno = state.manners.flush.filter(|_| state.is_bad(id));
            if errno.is_some() {
                state.nodes.get_mut(&id).unwrap().data.fill(0);
            }
            errno
        });
        done(reply, answer);
    }

    fn fsync(&mut self, _: &Request<'_>, id: u64, _: u64, _: bool, reply: ReplyEmpty) {
        let answer = self.with(|state| {
            state.counts.synced.push(state.nodes[&id].name.clone());
            state.manners.fsync.filter(|_| state.is_bad(id))
        });
        done(reply, answer);
    }

    fn fsyncdir(&mut self, _: &Request<'_>, id: u64, _: u64, _: bool, reply: ReplyEmpty) {
        self.with(|state| state.counts.synced.push(state.nodes[&id].name.clone()));
        reply.ok();
    }

    fn readdir(&mut self, _: &Request<'_>, id: u64, _: u64, offset: i64, mut reply: ReplyDirectory) {
        self.with(|state| {
            let children = state.nodes[&id].children.iter().enumerate();
            for (index, (name, child)) in children.skip(usize::try_from(offset).unwrap()) {
                let kind = state.nodes[child].attr.kind;
                if reply.add(*child, i64::try_from(index).unwrap() + 1, kind, name) {
                    break;
                }
            }
        });
        reply.ok();
    }

    fn setxattr(
        &mut self,
        _: &Request<'_>,
        id: u64,
        name: &OsStr,
        value: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let answer = self.with(|state| {
            let answer = if is_acl(name) { state.manners.acl } else { state.manners.set_xattr };
            if answer.is_none() {
                state.nodes.get_mut(&id).unwrap().xattrs.insert(name.to_owned(), value.to_vec());
            }
            answer
        });
        done(reply, answer);
    }

    fn getxattr(&mut self, _: &Request<'_>, id: u64, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.with(|state| match (state.manners.acl.filter(|_| is_acl(name)), state.nodes[&id].xattrs.get(name)) {
            (Some(errno), _) => reply.error(errno.raw_os_error()),
            (None, Some(found)) => value(reply, size, found),
            (None, None) => reply.error(Errno::NODATA.raw_os_error()),
        });
    }

    fn listxattr(&mut self, _: &Request<'_>, id: u64, size: u32, reply: ReplyXattr) {
        self.with(|state| {
            let names = state.nodes[&id].xattrs.keys().flat_map(|name| [name.as_bytes(), b"\0"].concat());
            value(reply, size, &names.collect::<Vec<_>>());
        });
    }

    fn removexattr(&mut self, _: &Request<'_>, id: u64, name: &OsStr, reply: ReplyEmpty) {
        let answer = self.with(|state| match state.manners.acl.filter(|_| is_acl(name)) {
            Some(errno) => Some(errno),
            None => state.nodes.get_mut(&id).unwrap().xattrs.remove(name).is_none().then_some(Errno::NODATA),
        });
        done(reply, answer);
    }
}
