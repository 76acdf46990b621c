//! Quotes file names in messages as a shell would need them.
//!
//! A quoted name can be pasted into a shell, and no control character of a hostile name reaches the terminal.
//! The forms are those of GNU's "shell-escape-always": 'a b', "it's", 'a'$'\n''b'.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

/// Returns the name, always quoted.
pub fn quoted(name: impl AsRef<OsStr>) -> Vec<u8> {
    quote(name.as_ref().as_bytes(), is_utf8_locale())
}

/// Returns an argument in single quotes, for messages about arguments (GNU's "locale" style).
pub fn plainly_quoted(text: &[u8]) -> Vec<u8> {
    let mut out = vec![b'\''];
    for piece in split(text, is_utf8_locale()) {
        match piece {
            Segment::Plain(text @ (b"'" | b"\\"), _) => out.extend_from_slice(&[b"\\", text].concat()),
            Segment::Plain(text, _) => out.extend_from_slice(text),
            Segment::Escape(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
    out.push(b'\'');
    out
}

/// Returns the text without quotes, for the few messages where cp does not quote. Bytes that could control a
/// terminal are escaped; a newline or a tab is harmless.
pub fn shown(text: &[u8]) -> Vec<u8> {
    let show = |piece| match piece {
        Segment::Plain(text, _) => text.to_owned(),
        Segment::Escape(text) if text == "\\n" => b"\n".to_vec(),
        Segment::Escape(text) if text == "\\t" => b"\t".to_vec(),
        Segment::Escape(text) => text.into_bytes(),
    };
    split(text, true).into_iter().flat_map(show).collect()
}

/// Returns the name, quoted only if a shell would need it.
pub fn quoted_if_needed(name: impl AsRef<OsStr>) -> Vec<u8> {
    let bytes = name.as_ref().as_bytes();
    let plain = |piece: &Segment<'_>| match piece {
        Segment::Plain(b"#" | b"~", at) => *at > 0,
        Segment::Plain(b"{" | b"}", _) => bytes.len() > 1,
        Segment::Plain([byte], _) => byte.is_ascii_alphanumeric() || b"%+,-./:@_]".contains(byte),
        Segment::Plain(..) => true,
        Segment::Escape(_) => false,
    };
    let needless = !bytes.is_empty() && split(bytes, is_utf8_locale()).iter().all(plain);
    if needless { bytes.to_vec() } else { quoted(name) }
}

/// Returns whether messages may contain characters beyond ASCII (locale(7): LC_ALL, LC_CTYPE, LANG).
fn is_utf8_locale() -> bool {
    static UTF8: OnceLock<bool> = OnceLock::new();
    *UTF8.get_or_init(|| {
        let value =
            ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(std::env::var_os).find(|v| !v.is_empty());
        let value = value.map(|v| v.to_string_lossy().to_lowercase()).unwrap_or_default();
        value.contains("utf-8") || value.contains("utf8")
    })
}

fn quote(bytes: &[u8], utf8: bool) -> Vec<u8> {
    let pieces: Vec<Segment<'_>> = split(bytes, utf8);
    if bytes.contains(&b'\'') && pieces.iter().all(|piece| piece.fits_double_quotes(bytes.len())) {
        return [b"\"", bytes, b"\""].concat();
    }
    let mut out = vec![b'\''];
    let mut escaping = false;
    for piece in pieces {
        match piece {
            Segment::Escape(text) => {
                if !escaping {
                    out.extend_from_slice(b"'$'");
                }
                escaping = true;
                out.extend_from_slice(text.as_bytes());
            }
            Segment::Plain(b"'", _) => {
                out.extend_from_slice(b"'\\''");
                escaping = false;
            }
            Segment::Plain(text, _) => {
                if escaping {
                    out.extend_from_slice(b"''");
                }
                escaping = false;
                out.extend_from_slice(text);
            }
        }
    }
    out.push(b'\'');
    out
}

enum Segment<'a> {
    /// A printable character and its position.
    Plain(&'a [u8], usize),
    /// The escape of a byte, to be written inside $'…'.
    Escape(String),
}

impl Segment<'_> {
    /// Returns whether the character is literal inside "…" in every shell and in C.
    fn fits_double_quotes(&self, length: usize) -> bool {
        match self {
            Segment::Escape(_) => false,
            Segment::Plain([byte], at) => match byte {
                b'#' | b'~' => *at == 0,
                b'{' | b'}' => length == 1,
                b'\'' | b' ' => true,
                byte => byte.is_ascii_alphanumeric() || b"%+,-./:@]_".contains(byte),
            },
            Segment::Plain(..) => true,
        }
    }
}

/// Appends the text without quotes. Bytes that could end the line or control a terminal are escaped.
pub fn push_in_line(line: &mut Vec<u8>, text: &[u8]) {
    if text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return line.extend_from_slice(text);
    }
    for piece in split(text, true) {
        match piece {
            Segment::Plain(text, _) => line.extend_from_slice(text),
            Segment::Escape(text) => line.extend_from_slice(text.as_bytes()),
        }
    }
}

fn split(bytes: &[u8], utf8: bool) -> Vec<Segment<'_>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        for (offset, c) in chunk.valid().char_indices() {
            let start = at + offset;
            let text = &bytes[start..start + c.len_utf8()];
            if is_printable(c, utf8) {
                pieces.push(Segment::Plain(text, start));
            } else {
                pieces.extend(text.iter().map(|byte| Segment::Escape(escape(*byte))));
            }
        }
        pieces.extend(chunk.invalid().iter().map(|byte| Segment::Escape(escape(*byte))));
        at += chunk.valid().len() + chunk.invalid().len();
    }
    pieces
}

fn is_printable(c: char, utf8: bool) -> bool {
    if c.is_ascii() {
        !c.is_ascii_control()
    } else {
        utf8 && !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}')
    }
}

fn escape(byte: u8) -> String {
    match byte {
        7 => "\\a".into(),
        8 => "\\b".into(),
        9 => "\\t".into(),
        10 => "\\n".into(),
        11 => "\\v".into(),
        12 => "\\f".into(),
        13 => "\\r".into(),
        other => format!("\\{other:03o}"),
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn forms_of_the_shell() {
        // The expected forms were printed by GNU cp 9.1.
        let cases: &[(&[u8], &str)] = &[
            (b"a b", "'a b'"),
            (b"", "''"),
            (b"it's", "\"it's\""),
            (b"it's#", r"'it'\''s#'"),
            (b"it's{", r"'it'\''s{'"),
            (b"it's=", r"'it'\''s='"),
            (b"a'b\"c", r#"'a'\''b"c'"#),
            (b"a\nb", r"'a'$'\n''b'"),
            (b"t\tx", r"'t'$'\t''x'"),
            (b"zz\xff", r"'zz'$'\377'"),
            (b"\x1b[31m", r"''$'\033''[31m'"),
            (b"a\n'b", r"'a'$'\n'\''b'"),
        ];
        for (name, expected) in cases {
            assert_eq!(String::from_utf8_lossy(&quote(name, true)), *expected);
        }
    }

    #[test]
    fn beyond_ascii_it_depends_on_the_locale() {
        assert_eq!(quote("é".as_bytes(), true), "'é'".as_bytes());
        assert_eq!(quote("é".as_bytes(), false), br"''$'\303\251'");
    }
}
