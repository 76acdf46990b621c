//! Names of the reasons of step-downs, and explanations for them.

use crate::error::errno::{message, name, number};
use crate::transfer::{Reason, Strategy};

pub(crate) fn reason(name: &str) -> Option<Reason> {
    let ours = || [Reason::EarlyEnd, Reason::Changed].into_iter().find(|reason| reason_name(*reason) == name);
    number(name).map(Reason::Errno).or_else(ours)
}

pub(crate) fn reason_name(reason: Reason) -> String {
    match reason {
        Reason::Errno(errno) => name(errno),
        Reason::EarlyEnd => "EARLY_END".to_owned(),
        Reason::Changed => "CHANGED".to_owned(),
    }
}

pub(crate) fn explain(strategy: Strategy, reason: Reason) -> String {
    let errno = match reason {
        Reason::Errno(errno) => errno,
        Reason::EarlyEnd => {
            return "the call returned 0 bytes before the end of the file; read gets the rest".to_owned();
        }
        Reason::Changed => {
            return "the source changed during the call; the next strategy repeated it".to_owned();
        }
    };
    let text = match (strategy, name(errno).as_str()) {
        (_, "ENOSYS") => "this kernel does not have the call",
        (Strategy::Reflink, "EXDEV") | (Strategy::CopyFileRange, "EXDEV") => {
            "source and destination are on different file systems"
        }
        (Strategy::Reflink, "EOPNOTSUPP" | "ENOTTY") => "this file system cannot share blocks between files",
        (Strategy::Reflink, "EINVAL") => {
            "the file's blocks cannot be shared (alignment, swap file, or no such call)"
        }
        (_, "EOPNOTSUPP") => "this file system does not support the call",
        (_, "EINVAL") => "the call does not work on a file of this kind",
        (_, "EBADF") => "the file was opened in a way the call does not accept (such as append)",
        (_, "EPERM") => "a security policy or a file attribute forbids the call",
        (_, "EACCES") => "access denied",
        (_, "ETXTBSY") => "the file is in use as swap or as a running program",
        (_, "EFBIG") => "the call reaches past the largest size of a file",
        (_, "EAGAIN") => "the call would have had to wait",
        (_, "EFAULT") => "the source was truncated while it was mapped",
        (_, "EMFILE" | "ENFILE") => "too many files are open",
        (_, "ENODEV") => "the file system cannot map its files into memory",
        _ => return message(crate::sys::Errno::from_raw_os_error(errno)),
    };
    text.to_owned()
}
