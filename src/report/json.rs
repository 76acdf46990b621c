//! Byte strings in JSON: text if it is UTF-8, else an array of numbers, which loses nothing. And the appending of values
//! to a line, for the log, which has many of them: these functions need no memory but the line's.

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
    if is_plain(directory) && is_plain(name) {
        line.push(b'"');
        line.extend_from_slice(directory);
        line.extend_from_slice(name);
        line.push(b'"');
    } else {
        let path = OsString::from_vec([directory, name].concat());
        line.extend_from_slice(bytes(&path).to_string().as_bytes());
    }
}

/// Returns whether the text is ASCII without bytes that JSON escapes. It looks at eight bytes at a time, because the
/// log asks this of every path.
fn is_plain(text: &[u8]) -> bool {
    const EACH: u64 = u64::MAX / 255;
    const HIGH: u64 = EACH * 0x80;
    // The highest bit of some byte is set if any byte of the word is less than `bound`, which is at most 128.
    let has_less = |word: u64, bound: u8| word.wrapping_sub(EACH * u64::from(bound)) & !word & HIGH;
    let has = |word: u64, byte: u8| has_less(word ^ (EACH * u64::from(byte)), 1);
    let is_plain = |word: u64| (word & HIGH) | has_less(word, b' ') | has(word, b'"') | has(word, b'\\') == 0;
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [b' '; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    words.iter().all(|word| is_plain(u64::from_ne_bytes(*word))) && is_plain(u64::from_ne_bytes(last))
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

    fn pushed(directory: &[u8], name: &[u8]) -> OsString {
        let mut line = Vec::new();
        push_path(&mut line, directory, name);
        from_bytes(&serde_json::from_slice(&line).unwrap()).unwrap()
    }

    #[test]
    fn paths_of_any_bytes_are_read_back() {
        for byte in 0..=255 {
            for name in
                [vec![byte], vec![b'a', byte, byte], vec![0xc3, byte], [[b'x'; 9].as_slice(), &[byte]].concat()]
            {
                let path = [b"d\xc3\xa9/\"".as_slice(), &name].concat();
                assert_eq!(pushed(b"d\xc3\xa9/\"", &name), OsString::from_vec(path.clone()));
                assert_eq!(pushed(&path, b"n"), OsString::from_vec([&path, b"n".as_slice()].concat()));
            }
        }
    }
}
