//! What the kernel says of a file, in plain numbers.
//!
//! A type of our own, so that the plan can be tested on stats that no file system ever gave.

/// A point in time as the file system keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since the epoch.
    pub sec: i64,
    /// Nanoseconds within the second.
    pub nsec: u32,
}

/// The type of a file (`S_IFMT` of stat(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A UNIX socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// None that stat(2) names.
    Unknown,
}

/// A device and an inode number: the identity of a file while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
}

/// The part of stat(2) that copying needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// The device that holds the file.
    pub dev: u64,
    /// The inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// The number of names.
    pub nlink: u64,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The device that a special file stands for.
    pub rdev: u64,
    /// The length in bytes; a hint only for what is not on a disk.
    pub size: u64,
    /// Blocks of 512 bytes that are allocated.
    pub blocks: u64,
    /// The preferred block size in bytes.
    pub blksize: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of anything about the inode; nobody can set it.
    pub ctime: Time,
}

/// Whether a file on this device is on a block device of the machine. Network file systems, and those
/// in memory, have a number of their own with each mount (major 0, "unnamed device").
pub fn is_on_block_device(dev: u64) -> bool {
    rustix::fs::major(dev) != 0
}

/// The bits that chmod(2) can set.
pub const MODE_BITS: u32 = 0o7777;
/// Type bits of a mode (`S_IFMT`).
const TYPE_BITS: u32 = 0o170_000;

impl Stat {
    /// The type of the file.
    pub fn kind(&self) -> Kind {
        match self.mode & TYPE_BITS {
            0o100_000 => Kind::Regular,
            0o040_000 => Kind::Directory,
            0o120_000 => Kind::Symlink,
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            0o020_000 => Kind::CharDevice,
            0o060_000 => Kind::BlockDevice,
            _ => Kind::Unknown,
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == Kind::Directory
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind() == Kind::Symlink
    }

    /// Whether it is a regular file.
    pub fn is_regular(&self) -> bool {
        self.kind() == Kind::Regular
    }

    /// Whether it is /dev/null: character device 1:3 (null(4)).
    pub fn is_null_device(&self) -> bool {
        self.kind() == Kind::CharDevice && self.rdev == 0x103
    }

    /// Device and inode, both: an inode number alone says nothing.
    pub fn id(&self) -> FileId {
        FileId { dev: self.dev, ino: self.ino }
    }

    /// The permission bits, set-ID and sticky included.
    pub fn permissions(&self) -> u32 {
        self.mode & MODE_BITS
    }

    /// Whether fewer blocks are allocated than the length needs, the sign of holes.
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
