//! Byte strings in JSON: text if it is UTF-8, else an array of numbers, which loses nothing. And the appending of values
//! to a line, for the log, which has many of them: these functions need no memory but the line's.

use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Returns the JSON value of a byte string.
pub fn bytes(text: &OsStr) -> Value {
    match text.to_str() {
        Some(text) => json!(text),
        None => json!(text.as_bytes()),
    }
}

/// Appends a path, given as its directory and its name: as [`bytes`] does.
pub fn push_path(line: &mut Vec<u8>, directory: &[u8], name: &[u8]) {
    match (std::str::from_utf8(directory), std::str::from_utf8(name)) {
        (Ok(directory), Ok(name)) => {
            line.push(b'"');
            push_escaped(line, directory);
            push_escaped(line, name);
            line.push(b'"');
        }
        _ => {
            line.push(b'[');
            for (index, byte) in directory.iter().chain(name).enumerate() {
                if index > 0 {
                    line.push(b',');
                }
                push_number(line, u64::from(*byte));
            }
            line.push(b']');
        }
    }
}

/// Appends a text as it is inside a JSON string.
fn push_escaped(line: &mut Vec<u8>, text: &str) {
    let is_special = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    let mut rest = text.as_bytes();
    // Most texts have no such byte. This looks at many bytes at a time.
    if !rest.iter().fold(false, |found, byte| found | is_special(*byte)) {
        return line.extend_from_slice(rest);
    }
    while let Some(at) = rest.iter().position(|byte| is_special(*byte)) {
        let (plain, special) = rest.split_at(at);
        line.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', *byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\r' => line.extend_from_slice(b"\\r"),
            byte => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let digit = |value: u8| DIGITS[usize::from(value & 15)];
                line.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(*byte)]);
            }
        }
        rest = after;
    }
    line.extend_from_slice(rest);
}

/// Appends a number.
pub fn push_number(line: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        length += 1;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(digits.get(20 - length..).unwrap_or_default());
}

/// Returns the byte string in a JSON value, or `None` if there is none.
pub fn from_bytes(value: &Value) -> Option<OsString> {
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
            for name in [vec![byte], vec![b'a', byte, byte], vec![0xc3, byte], vec![]] {
                let path = [b"d\xc3\xa9/\"".as_slice(), &name].concat();
                assert_eq!(pushed(b"d\xc3\xa9/\"", &name), OsString::from_vec(path.clone()));
                assert_eq!(pushed(&path, b"n"), OsString::from_vec([&path, b"n".as_slice()].concat()));
            }
        }
    }

    #[test]
    fn numbers() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            let mut line = Vec::new();
            push_number(&mut line, number);
            assert_eq!(line, number.to_string().into_bytes());
        }
    }
}
