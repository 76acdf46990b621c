//! Parses arguments from a fixed set of words, which may be abbreviated if that is unambiguous.

use super::UsageError;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use zcp::internals::quote::plainly_quoted;

/// The words of an argument with their meanings. Synonyms are adjacent.
pub(super) type Words<T> = [(&'static str, T)];

/// Returns the meaning of `word`, an argument of `what` (as the message calls it).
pub(super) fn find<T: Copy + PartialEq>(what: &str, word: &OsStr, words: &Words<T>) -> Result<T, UsageError> {
    let text = word.as_bytes();
    if let Some((_, meaning)) = words.iter().find(|(name, _)| name.as_bytes() == text) {
        return Ok(*meaning);
    }
    let begins: Vec<T> =
        words.iter().filter(|(name, _)| name.as_bytes().starts_with(text)).map(|(_, m)| *m).collect();
    match begins.first() {
        Some(first) if begins.iter().all(|meaning| meaning == first) => Ok(*first),
        Some(_) => Err(refusal("ambiguous", what, text, words)),
        None => {
            let similar = similar(text, words.iter().map(|(name, _)| *name)).map(str::to_owned);
            Err(UsageError { suggestion: similar, ..refusal("invalid", what, text, words) })
        }
    }
}

/// Returns the words without their synonyms.
pub(super) fn names<T: PartialEq>(words: &Words<T>) -> Vec<&'static str> {
    synonyms(words).filter_map(|names| names.first().copied()).collect()
}

fn synonyms<T: PartialEq>(words: &Words<T>) -> impl Iterator<Item = Vec<&'static str>> {
    words.chunk_by(|one, next| one.1 == next.1).map(|run| run.iter().map(|(name, _)| *name).collect())
}

/// Returns the candidate that a mistyped word probably stands for. Jaro-Winkler favours a common beginning; 0.8 is the
/// threshold with which clap used it.
pub(super) fn similar<'c>(word: &[u8], candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let word = std::str::from_utf8(word).ok()?;
    let scores = candidates.map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    let close = scores.filter(|(score, _)| *score > 0.8);
    close.max_by(|one, next| one.0.total_cmp(&next.0)).map(|(_, candidate)| candidate)
}

fn refusal<T: Copy + PartialEq>(kind: &str, what: &str, text: &[u8], words: &Words<T>) -> UsageError {
    let mut message = [kind.as_bytes(), b" argument ", &plainly_quoted(text)].concat();
    message.extend_from_slice(format!(" for '{what}'\nValid arguments are:").as_bytes());
    for names in synonyms(words) {
        message.extend_from_slice(format!("\n  - '{}'", names.join("', '")).as_bytes());
    }
    UsageError::new(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &Words<u8> = &[("none", 0), ("off", 0), ("simple", 1), ("never", 1), ("numbered", 2)];

    fn find(word: &str) -> Result<u8, String> {
        super::find("backup type", OsStr::new(word), WORDS)
            .map_err(|error| String::from_utf8_lossy(&error.text).into_owned())
    }

    #[test]
    fn words_may_be_shortened() {
        assert_eq!(find("off"), Ok(0));
        assert_eq!(find("num"), Ok(2));
        assert_eq!(find("s"), Ok(1));
    }

    #[test]
    fn refusals_list_what_is_valid() {
        assert_eq!(
            find("n").unwrap_err(),
            "ambiguous argument 'n' for 'backup type'\nValid arguments are:\n  - 'none', 'off'\n  \
             - 'simple', 'never'\n  - 'numbered'"
        );
        assert!(find("x").unwrap_err().starts_with("invalid argument 'x' for 'backup type'\n"));
    }
}
