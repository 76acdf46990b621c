//! The facts that a plan records about each name, as one line of text.
//!
//! The lines are for zcp and for people to read. Names are in a separate file (`lists.rs`), so that any
//! program that reads NUL-delimited names can use them.

use crate::sys::{Kind, Stat, Time};
use std::fmt::{Display, Formatter};
use std::ops::Range;
use std::str::SplitAsciiWhitespace;

/// One line of a facts file.
pub(super) trait Line: Display + Sized {
    fn parse(words: &mut SplitAsciiWhitespace<'_>) -> Option<Self>;
}

/// A byte range of a large file, and the number of its [`Join`](super::manifest::Join).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedRange {
    pub(super) bytes: Range<u64>,
    pub(super) join: u64,
}

/// The facts that reveal whether a file has changed since the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) mtime: Time,
    pub(super) range: Option<PlannedRange>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DirFacts {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) atime: Time,
    pub(super) mtime: Time,
    /// Whether the destination existed before. Such a directory keeps its mode unless modes are copied.
    pub(super) existed: bool,
}

impl Facts {
    pub(super) fn of(stat: &Stat) -> Facts {
        Facts { kind: stat.kind(), size: stat.size, mtime: stat.mtime, range: None }
    }

    pub(super) fn still_hold(&self, now: &Stat) -> bool {
        (self.kind, self.size, self.mtime) == (now.kind(), now.size, now.mtime)
    }
}

impl Line for Facts {
    fn parse(words: &mut SplitAsciiWhitespace<'_>) -> Option<Facts> {
        let kind = kind(words.next()?)?;
        let size = words.next()?.parse().ok()?;
        let mtime = time(words.next()?)?;
        let range = match words.next() {
            None => None,
            Some(range) => {
                let (start, end) = range.split_once('-')?;
                let bytes = start.parse().ok()?..end.parse().ok()?;
                Some(PlannedRange { bytes, join: words.next()?.parse().ok()? })
            }
        };
        Some(Facts { kind, size, mtime, range })
    }
}

impl Display for Facts {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", letter(self.kind), self.size, Stamp(self.mtime))?;
        match &self.range {
            None => Ok(()),
            Some(range) => write!(f, " {}-{} {}", range.bytes.start, range.bytes.end, range.join),
        }
    }
}

impl DirFacts {
    pub(super) fn of(stat: &Stat, existed: bool) -> DirFacts {
        let Stat { mode, uid, gid, atime, mtime, .. } = *stat;
        DirFacts { mode, uid, gid, atime, mtime, existed }
    }
}

impl Line for DirFacts {
    fn parse(words: &mut SplitAsciiWhitespace<'_>) -> Option<DirFacts> {
        Some(DirFacts {
            mode: u32::from_str_radix(words.next()?, 8).ok()?,
            uid: words.next()?.parse().ok()?,
            gid: words.next()?.parse().ok()?,
            atime: time(words.next()?)?,
            mtime: time(words.next()?)?,
            existed: match words.next()? {
                "existed" => true,
                "new" => false,
                _ => return None,
            },
        })
    }
}

impl Display for DirFacts {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let DirFacts { mode, uid, gid, .. } = self;
        let existed = if self.existed { "existed" } else { "new" };
        write!(f, "{mode:o} {uid} {gid} {} {} {existed}", Stamp(self.atime), Stamp(self.mtime))
    }
}

/// A time as seconds and nanoseconds: 1700000000.000000001.
struct Stamp(Time);

impl Display for Stamp {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:09}", self.0.sec, self.0.nsec)
    }
}

fn time(text: &str) -> Option<Time> {
    let (sec, nsec) = text.split_once('.')?;
    Some(Time { sec: sec.parse().ok()?, nsec: nsec.parse().ok().filter(|nsec| *nsec < 1_000_000_000)? })
}

/// The letters of `find -type`.
const LETTERS: [(Kind, &str); 8] = [
    (Kind::RegularFile, "f"),
    (Kind::Directory, "d"),
    (Kind::Symlink, "l"),
    (Kind::Fifo, "p"),
    (Kind::Socket, "s"),
    (Kind::CharacterDevice, "c"),
    (Kind::BlockDevice, "b"),
    (Kind::Unknown, "u"),
];

fn letter(kind: Kind) -> &'static str {
    LETTERS.iter().find(|(known, _)| *known == kind).map_or("u", |(_, letter)| letter)
}

fn kind(letter: &str) -> Option<Kind> {
    LETTERS.iter().find(|(_, known)| *known == letter).map(|(kind, _)| *kind)
}
