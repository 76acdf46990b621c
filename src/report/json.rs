//! Byte strings in JSON: text if it is UTF-8, else an array of numbers, which loses nothing.

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
