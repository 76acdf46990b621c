//! The words of a prompt.

use crate::decision::Question;
use crate::report::{Prompt, quote};
use std::ffi::OsStr;

/// Builds the question, without the program's name.
pub(super) fn prompt(question: Question, destination: &OsStr, mode: u32) -> Prompt {
    let name = quote::quoted(destination);
    let octal = format!("{:04o}", mode & 0o7777);
    let letters = permission_letters(mode);
    let text = match question {
        Question::Overwrite => [b"overwrite ".as_slice(), &name, b"? "].concat(),
        Question::ReplaceUnwritable => {
            let rest = format!(", overriding mode {octal} ({letters})? ");
            [b"replace ".as_slice(), &name, rest.as_bytes()].concat()
        }
        Question::TryUnwritable => {
            let rest = format!(" (mode {octal}, {letters}); try anyway? ");
            [b"unwritable ".as_slice(), &name, rest.as_bytes()].concat()
        }
    };
    Prompt::new(destination, text)
}

/// Returns the nine permission letters of ls(1).
fn permission_letters(mode: u32) -> String {
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    let mut letters = String::new();
    for (class, (bit, both, alone)) in special.into_iter().enumerate() {
        let bits = mode >> (6 - 3 * class);
        letters.push(if bits & 4 != 0 { 'r' } else { '-' });
        letters.push(if bits & 2 != 0 { 'w' } else { '-' });
        letters.push(match (mode & bit != 0, bits & 1 != 0) {
            (true, true) => both,
            (true, false) => alone,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    letters
}
