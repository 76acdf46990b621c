//! Failures: an operation, its paths, and the system's reason.

pub(crate) mod errno;
mod operation;
pub mod quote;

pub use operation::Operation;

use crate::sys::interrupted::errno_of;
use crate::sys::{Errno, Stat};
use std::ffi::{OsStr, OsString};
use std::fmt::{Display, Formatter};

/// A failure or a warning: an operation, its paths, and the system's reason.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Failure {
    operation: Operation,
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
    /// Taking a name of the destination that another process took or removed meanwhile.
    Overtaken,
    /// Copying data until a stop was requested. EINTR alone does not say so, because any signal causes it.
    Interruption,
    /// Interpreting the command line.
    Usage,
}

impl Failure {
    /// Makes a failure with a whole message.
    #[doc(hidden)]
    pub fn plain(message: &'static str) -> Failure {
        Failure::from(Operation::Sentence(message))
    }

    /// Makes a failure about `path`, the first that the message names.
    #[doc(hidden)]
    pub fn new(operation: Operation, path: impl AsRef<OsStr>) -> Failure {
        Failure::from(operation).and(path)
    }

    /// Makes the failure of a call of the standard library.
    #[doc(hidden)]
    pub fn io(operation: Operation, path: impl AsRef<OsStr>, error: &std::io::Error) -> Failure {
        Failure::new(operation, path).errno(errno_of(error))
    }

    /// Makes the failure of a name that became another file while it was copied.
    pub(crate) fn replaced(path: impl AsRef<OsStr>) -> Failure {
        Failure::new(Operation::ReplacedFile, path)
    }

    /// Makes the failure of a command line that cannot be meant.
    pub(crate) fn usage(self) -> Failure {
        Failure { about: About::Usage, ..self }
    }

    pub(crate) fn is_usage(&self) -> bool {
        self.about == About::Usage
    }

    /// Makes a failure to read the source. [`between`](Self::between) adds the paths of this failure and the next
    /// three.
    pub(crate) fn reading(errno: Errno) -> Failure {
        Failure::from(Operation::Read).errno(errno).of_source()
    }

    pub(crate) fn writing(errno: Errno) -> Failure {
        Failure::from(Operation::Write).errno(errno)
    }

    /// Makes the failure of one call that reads and writes.
    pub(crate) fn copying(errno: Errno) -> Failure {
        Failure::from(Operation::CopyData).errno(errno)
    }

    /// Makes the failure for a requested stop.
    pub(crate) fn interruption() -> Failure {
        Failure { about: About::Interruption, ..Failure::copying(Errno::INTR) }
    }

    pub(crate) fn is_interruption(&self) -> bool {
        self.about == About::Interruption
    }

    pub(crate) fn is_of(&self, operation: Operation) -> bool {
        self.operation == operation
    }

    /// Adds the paths that the message of a failed transfer names.
    pub(crate) fn between(self, source: &OsStr, destination: &OsStr) -> Failure {
        match self.operation {
            Operation::Read => self.and(source),
            Operation::Write | Operation::ReadBack => self.and(destination),
            Operation::Clone => self.and(destination).and(source),
            _ => self.and(source).and(destination),
        }
    }

    /// Sets the errno of taking a name that was free a moment ago: EEXIST means that another process was faster.
    pub(crate) fn of_taking(self, errno: Errno) -> Failure {
        let failure = self.errno(errno);
        if errno == Errno::EXIST { failure.overtaken() } else { failure }
    }

    /// Says that another process has just changed the destination, so that it is decided about again.
    pub(crate) fn overtaken(self) -> Failure {
        Failure { about: About::Overtaken, ..self }
    }

    pub(crate) fn is_overtaken(&self) -> bool {
        self.about == About::Overtaken
    }

    /// Adds the next path of the message.
    pub(crate) fn and(mut self, path: impl AsRef<OsStr>) -> Failure {
        self.paths.push(path.as_ref().into());
        self
    }

    /// Sets the source and the destination of the name that was copied.
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
        let offset = self.paths.last().filter(|_| self.operation == Operation::Differ)?;
        offset.to_str()?.parse().ok()
    }

    /// Sets the system's reason.
    #[doc(hidden)]
    pub fn errno(mut self, errno: Errno) -> Failure {
        self.errno = Some(errno);
        self
    }

    /// Names another operation, for the same paths.
    pub(crate) fn renamed(self, operation: Operation) -> Failure {
        Failure { operation, ..self }
    }

    /// Sets a reason in words instead of the system's.
    #[doc(hidden)]
    pub fn because(mut self, why: String) -> Failure {
        self.why = Some(why);
        self
    }

    /// Says that the operation was on an entry that a directory or a list of the source contained; an operand
    /// is not one. `look` returns the status of the name itself, because a dangling symbolic link still exists.
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
        matches!(self.operation, Operation::Sync | Operation::SyncFileSystem)
    }

    /// Makes a failure to keep an attribute. The path is still to be added.
    pub(crate) fn attribute(operation: Operation, errno: Errno) -> Failure {
        Failure { about: About::Attribute, ..Failure::from(operation).errno(errno) }
    }

    /// Notes that the operation reads the source.
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
        for part in self.operation.words().split_inclusive(['{', '}']) {
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
        let words = self.operation.words();
        let words = words.strip_prefix("warning: ").unwrap_or(words);
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
    pub(crate) fn has_errno(&self, errno: Errno) -> bool {
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

/// A failure without a path and a reason.
#[doc(hidden)]
impl From<Operation> for Failure {
    fn from(operation: Operation) -> Failure {
        Failure { operation, paths: Vec::new(), errno: None, why: None, about: About::Other, names: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_where_they_belong() {
        let failure = Failure::new(Operation::CreateHardLink, "b").and("a c").errno(Errno::MLINK);
        assert_eq!(failure.text(), b"cannot create hard link 'b' to 'a c': Too many links");
        assert_eq!(failure.operation(), "cannot create hard link to");
        assert_eq!(failure.errno_name().as_deref(), Some("EMLINK"));
        let failure = Failure::new(Operation::Differ, "a").and("b").and("7");
        assert_eq!((failure.operation().as_str(), failure.offset()), ("verification failed", Some(7)));
    }

    #[test]
    fn a_path_that_looks_like_a_place_is_left_alone() {
        let failure = Failure::new(Operation::SameFile, "{}").and("b");
        assert_eq!(failure.text(), b"'{}' and 'b' are the same file");
    }
}
