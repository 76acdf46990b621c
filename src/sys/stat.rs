//! The attributes of a file that stat(2) reports.
//!
//! A type of this crate, so that decisions can be tested on values that no real file system returns.

pub(crate) use rustix::fs::FileType as Kind;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since the epoch.
    pub sec: i64,
    /// Nanoseconds within the second.
    pub nsec: u32,
}

/// Device and inode number, which identify a file as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    pub dev: u64,
    pub ino: u64,
}

/// The fields of stat(2) that a copy needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// The device that holds the file.
    pub dev: u64,
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// The number of hard links.
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    /// The device that a special file refers to.
    pub rdev: u64,
    /// The length in bytes; only a hint for files of virtual file systems.
    pub size: u64,
    /// Allocated blocks of 512 bytes.
    pub blocks: u64,
    /// The preferred block size in bytes.
    pub blksize: u64,
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the inode; it cannot be set.
    pub ctime: Time,
}

/// Returns whether a device number belongs to a block device of this machine. Network file systems and those in
/// memory get an unnamed device (major 0) at each mount.
pub(crate) fn is_on_block_device(dev: u64) -> bool {
    rustix::fs::major(dev) != 0
}

impl Stat {
    pub fn kind(&self) -> Kind {
        Kind::from_raw_mode(self.mode)
    }

    pub fn is_dir(&self) -> bool {
        self.kind() == Kind::Directory
    }

    pub fn is_symlink(&self) -> bool {
        self.kind() == Kind::Symlink
    }

    pub fn is_regular(&self) -> bool {
        self.kind() == Kind::RegularFile
    }

    /// Returns whether it is /dev/null: character device 1:3 (null(4)).
    pub fn is_null_device(&self) -> bool {
        self.kind() == Kind::CharacterDevice && self.rdev == 0x103
    }

    pub fn id(&self) -> FileId {
        FileId { dev: self.dev, ino: self.ino }
    }

    /// Returns the permission bits, set-ID and sticky included.
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    /// Returns whether fewer blocks are allocated than the length needs, which suggests holes.
    pub fn seems_sparse(&self) -> bool {
        self.blocks < self.size / 512
    }
}

// The widths of the kernel's struct differ between architectures.
#[allow(clippy::unnecessary_cast)]
impl From<rustix::fs::Stat> for Stat {
    fn from(s: rustix::fs::Stat) -> Self {
        Stat {
            dev: s.st_dev as u64,
            ino: s.st_ino as u64,
            mode: s.st_mode as u32,
            nlink: s.st_nlink as u64,
            uid: s.st_uid as u32,
            gid: s.st_gid as u32,
            rdev: s.st_rdev as u64,
            size: u64::try_from(s.st_size).unwrap_or(0),
            blocks: s.st_blocks as u64,
            blksize: u64::try_from(s.st_blksize).unwrap_or(4096),
            atime: Time { sec: s.st_atime as i64, nsec: s.st_atime_nsec as u32 },
            mtime: Time { sec: s.st_mtime as i64, nsec: s.st_mtime_nsec as u32 },
            ctime: Time { sec: s.st_ctime as i64, nsec: s.st_ctime_nsec as u32 },
        }
    }
}
