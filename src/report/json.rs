//! Byte strings in JSON: text if it is UTF-8, else an array of numbers, which loses nothing.

use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

pub(crate) fn bytes(text: &OsStr) -> Value {
    match text.to_str() {
        Some(text) => json!(text),
        None => json!(text.as_bytes()),
    }
}

/// Appends a path, given as its directory and its name: as [`bytes`] does.
pub(crate) fn push_path(line: &mut Vec<u8>, directory: &[u8], name: &[u8]) {
    let path = [directory, name].concat();
    // Writing to a vector cannot fail.
    let _ = match std::str::from_utf8(&path) {
        Ok(text) => serde_json::to_writer(line, text),
        Err(_) => serde_json::to_writer(line, &path),
    };
}

pub(crate) fn push_number(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Returns the byte string in a JSON value, or `None` if there is none.
pub(crate) fn from_bytes(value: &Value) -> Option<OsString> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Array(numbers) => {
            let byte = |number: &Value| u8::try_from(number.as_u64()?).ok();
            Some(OsString::from_vec(numbers.iter().map(byte).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_any_bytes_are_read_back() {
        for byte in 0..=255 {
            for directory in [b"d\xc3\xa9/\"".as_slice(), &[byte, b'/']] {
                let name = [b'a', byte, 0xc3, byte];
                let mut line = Vec::new();
                push_path(&mut line, directory, &name);
                let path = from_bytes(&serde_json::from_slice(&line).unwrap());
                assert_eq!(path, Some(OsString::from_vec([directory, &name].concat())));
            }
        }
    }
}
