//! Takes paths apart.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Splits a path into its directory (with the slash; empty if there is none) and its last component, without
/// trailing slashes.
pub(crate) fn split(path: &OsStr) -> (&OsStr, &OsStr) {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|b| *b != b'/').map_or(0, |last| last + 1);
    let start = bytes[..end].iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    (OsStr::from_bytes(&bytes[..start]), OsStr::from_bytes(&bytes[start..end]))
}

/// Returns the directory of a path, `.` if it has none.
pub(crate) fn parent(path: &OsStr) -> &OsStr {
    Some(split(path).0).filter(|parent| !parent.is_empty()).unwrap_or(OsStr::new("."))
}

/// Returns the path of another name in the directory of `path`.
pub(crate) fn beside(path: &OsStr, name: &OsStr) -> OsString {
    OsString::from_vec([split(path).0.as_bytes(), name.as_bytes()].concat())
}

/// Removes trailing slashes; `/` stays.
pub(crate) fn without_slashes(path: &OsStr) -> &OsStr {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|b| *b != b'/').map_or(bytes.len().min(1), |last| last + 1);
    OsStr::from_bytes(&bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_at_the_last_component() {
        let check = |path: &str, parent: &str, base: &str| {
            assert_eq!(split(OsStr::new(path)), (OsStr::new(parent), OsStr::new(base)), "{path}");
        };
        check("a", "", "a");
        check("d/a", "d/", "a");
        check("d/a//", "d/", "a");
        check("/a", "/", "a");
        check("/", "", "");
    }
}
