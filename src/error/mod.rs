//! Failures: an operation, its paths, and the system's reason.
//!
//! Messages are cp's where cp has one, because users and scripts know them.

pub(crate) mod errno;
pub mod quote;

use crate::sys::{Errno, Stat};
use std::ffi::{OsStr, OsString};
use std::fmt::{Display, Formatter};

/// A failure or a warning: an operation, its paths, and the system's reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The message, with `{}` for a quoted path and `{?}` for a path that is quoted only if a shell needs it.
    operation: &'static str,
    paths: Vec<OsString>,
    errno: Option<Errno>,
    /// A reason other than the system's.
    why: Option<String>,
    about: About,
    /// The source and the destination of the name that was copied.
    names: Option<Box<(OsString, OsString)>>,
}

/// The kind of operation that failed, if more than the message depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum About {
    #[default]
    Other,
    /// Reading or setting an attribute.
    Attribute,
    /// Reading the source.
    Source,
    /// Accessing an entry of the source that was listed but does not exist any more.
    VanishedEntry,
}

impl Failure {
    /// Makes a failure without a path.
    #[doc(hidden)]
    pub fn plain(operation: &'static str) -> Failure {
        Failure { operation, paths: Vec::new(), errno: None, why: None, about: About::Other, names: None }
    }

    /// Makes a failure about `path`, which replaces the first `{}` of `operation`.
    #[doc(hidden)]
    pub fn new(operation: &'static str, path: impl AsRef<OsStr>) -> Failure {
        Failure::plain(operation).and(path)
    }

    /// Makes the failure of a name that became another file while it was copied.
    pub(crate) fn replaced(path: impl AsRef<OsStr>) -> Failure {
        Failure::new("skipping file {}, as it was replaced while being copied", path)
    }

    /// Adds a path for the next `{}`.
    #[must_use]
    pub(crate) fn and(mut self, path: impl AsRef<OsStr>) -> Failure {
        self.paths.push(path.as_ref().into());
        self
    }

    /// Sets the source and the destination of the name that was copied.
    #[must_use]
    pub(crate) fn of_names(mut self, source: OsString, destination: OsString) -> Failure {
        self.names = Some(Box::new((source, destination)));
        self
    }

    /// Returns the source and the destination of the name that was copied, if the failure belongs to one.
    pub fn names(&self) -> Option<(&OsStr, &OsStr)> {
        self.names.as_ref().map(|names| (names.0.as_os_str(), names.1.as_os_str()))
    }

    /// Returns the first byte in which a copy differs from its source, counted from 0.
    pub fn offset(&self) -> Option<u64> {
        let offset = self.paths.last().filter(|_| self.operation.ends_with("offset {?}"))?;
        offset.to_str()?.parse().ok()
    }

    /// Sets the system's reason.
    #[must_use]
    #[doc(hidden)]
    pub fn errno(mut self, errno: Errno) -> Failure {
        self.errno = Some(errno);
        self
    }

    /// Describes the operation in other words, for the same paths.
    #[must_use]
    pub(crate) fn in_words(self, operation: &'static str) -> Failure {
        Failure { operation, ..self }
    }

    /// Sets a reason in words instead of the system's.
    #[must_use]
    #[doc(hidden)]
    pub fn because(mut self, why: String) -> Failure {
        self.why = Some(why);
        self
    }

    /// Says that the operation was on an entry that a directory or a list of the source contained; an operand
    /// is not one. `look` returns the status of the name itself, because a dangling symbolic link still exists.
    #[must_use]
    pub(crate) fn of_entry(
        mut self,
        is_operand: bool,
        look: impl FnOnce() -> crate::sys::Result<Stat>,
    ) -> Failure {
        if !is_operand && self.errno == Some(Errno::NOENT) && look() == Err(Errno::NOENT) {
            self.about = About::VanishedEntry;
        }
        self
    }

    /// Returns whether an entry of the source does not exist any more, although it was listed.
    pub(crate) fn is_vanished_entry(&self) -> bool {
        self.about == About::VanishedEntry
    }

    /// Returns whether the destination is full or read-only. ENOSPC for an attribute concerns only one file: ext4
    /// has little space for attributes in an inode.
    pub(crate) fn is_of_full_destination(&self) -> bool {
        self.about == About::Other && matches!(self.errno, Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS))
    }

    /// Returns whether a sync to the disk failed.
    pub(crate) fn is_of_sync(&self) -> bool {
        self.operation.starts_with("cannot sync ")
    }

    /// Makes a failure to keep an attribute. The path is still to be added.
    pub(crate) fn attribute(operation: &'static str, errno: Errno) -> Failure {
        Failure { about: About::Attribute, ..Failure::plain(operation).errno(errno) }
    }

    /// Notes that the operation reads the source.
    #[must_use]
    pub(crate) fn of_source(self) -> Failure {
        Failure { about: About::Source, ..self }
    }

    /// Returns whether the operation reads the source.
    pub(crate) fn reads_source(&self) -> bool {
        self.about == About::Source
    }

    /// Returns the whole message: words, paths quoted for a shell, and the system's reason. It is in bytes,
    /// because a file name need not be UTF-8.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut paths = self.paths.iter();
        for part in self.operation.split_inclusive(['{', '}']) {
            match (part.strip_suffix('}'), part.strip_suffix('{')) {
                (Some(""), _) => text.extend(paths.next().map(quote::quoted).unwrap_or_default()),
                (Some(_), _) => text.extend(paths.next().map(quote::quoted_if_needed).unwrap_or_default()),
                (_, Some(words)) => text.extend_from_slice(words.as_bytes()),
                (None, None) => text.extend_from_slice(part.as_bytes()),
            }
        }
        if let Some(errno) = self.errno {
            text.extend_from_slice(b": ");
            text.extend_from_slice(errno::message(errno).as_bytes());
        }
        if let Some(why) = &self.why {
            text.extend_from_slice(b": ");
            text.extend_from_slice(why.as_bytes());
        }
        text
    }

    /// Returns the message without the paths and the reason.
    pub fn operation(&self) -> String {
        let words = self.operation.strip_prefix("warning: ").unwrap_or(self.operation);
        // The reason follows the colon.
        let words = words.split_once(':').map_or(words, |(words, _)| words);
        let words: Vec<_> =
            words.split(['{', '}', '?', ':']).map(str::trim).filter(|part| !part.is_empty()).collect();
        words.join(" ").trim_start_matches("and ").to_owned()
    }

    /// Returns the first path, if there is one.
    pub fn path(&self) -> Option<&OsStr> {
        self.paths.first().map(OsString::as_os_str)
    }

    /// Returns all paths, in the order of the message.
    pub fn paths(&self) -> impl Iterator<Item = &OsStr> {
        self.paths.iter().map(OsString::as_os_str)
    }

    /// Returns the system's reason, for `std::io::Error::from_raw_os_error`, or `None` if there is none.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.errno.map(Errno::raw_os_error)
    }

    /// Returns whether this errno is the system's reason.
    pub fn has_errno(&self, errno: Errno) -> bool {
        self.errno == Some(errno)
    }

    /// Returns the system's reason.
    pub(crate) fn reason(&self) -> Option<Errno> {
        self.errno
    }

    /// Returns the symbolic name of the system's reason, such as `ENOSPC`.
    pub fn errno_name(&self) -> Option<String> {
        self.raw_os_error().map(errno::name)
    }
}

/// The message, with a replacement character for bytes that are not UTF-8.
impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text()))
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_where_they_belong() {
        let failure = Failure::new("cannot create hard link {} to {}", "b").and("a c").errno(Errno::MLINK);
        assert_eq!(failure.text(), b"cannot create hard link 'b' to 'a c': Too many links");
        assert_eq!(failure.operation(), "cannot create hard link to");
        assert_eq!(failure.errno_name().as_deref(), Some("EMLINK"));
        let failure = Failure::new("verification failed: {} and {} differ at offset {?}", "a").and("b").and("7");
        assert_eq!((failure.operation().as_str(), failure.offset()), ("verification failed", Some(7)));
    }

    #[test]
    fn a_path_that_looks_like_a_place_is_left_alone() {
        let failure = Failure::new("{} and {} are the same file", "{}").and("b");
        assert_eq!(failure.text(), b"'{}' and 'b' are the same file");
    }
}
