//! Names and messages of errnos.

use crate::sys::Errno;

/// Returns the symbolic name (errno(3)), such as `EXDEV`, or `errno 524` if there is none.
pub(crate) fn name(errno: i32) -> String {
    match nix::errno::Errno::from_raw(errno) {
        nix::errno::Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?}"),
    }
}

/// Returns the errno with this name.
pub(crate) fn number(text: &str) -> Option<i32> {
    /// The kernel's largest (MAX_ERRNO in linux/err.h).
    const LARGEST: i32 = 4095;
    (1..=LARGEST).find(|errno| name(*errno) == text)
}

pub(crate) fn message(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let names = [Errno::XDEV, Errno::OPNOTSUPP, Errno::AGAIN].map(|errno| name(errno.raw_os_error()));
        assert_eq!(names, ["EXDEV", "EOPNOTSUPP", "EAGAIN"]);
        assert_eq!(
            (name(524), number("errno 524"), number("EARLY_END")),
            ("errno 524".to_owned(), Some(524), None)
        );
        assert!((1..134).all(|errno| number(&name(errno)) == Some(errno)));
    }
}
