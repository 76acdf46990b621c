//! Patterns, compared with gitignore(5) and glob(7): a pattern is generated as a description of what it matches,
//! and then written in one of the possible ways.

use super::fuzz;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use zcp::internals::Filter;

/// A piece of a pattern that matches characters of one name.
#[derive(Clone, Debug)]
enum Token {
    Literal(char, bool),
    Star,
    One,
    Set(bool, Vec<(char, char)>),
}

/// The part of a pattern between two slashes.
#[derive(Clone, Debug)]
enum Part {
    /// Two stars: any directories or, at the end, everything below.
    Deep,
    Name(Vec<Token>),
}

const LETTERS: &str = "aab-!^[]{}*?\\,#~";

fn letter() -> impl Strategy<Value = char> {
    select(LETTERS.chars().collect::<Vec<_>>())
}

fn token() -> impl Strategy<Value = Token> {
    let range = (letter(), letter()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let one = letter().prop_map(|c| (c, c));
    prop_oneof![
        5 => (letter(), any::<bool>()).prop_map(|(c, escaped)| Token::Literal(c, escaped)),
        2 => Just(Token::Star),
        1 => Just(Token::One),
        2 => (any::<bool>(), vec(prop_oneof![one, range], 1..4)).prop_map(|(not, set)| Token::Set(not, set)),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    // A name that consists of several stars means any number of directories.
    let is_deep = |tokens: &[Token]| tokens.len() > 1 && tokens.iter().all(|token| matches!(token, Token::Star));
    let name =
        vec(token(), 1..4).prop_map(move |tokens| if is_deep(&tokens) { Part::Deep } else { Part::Name(tokens) });
    prop_oneof![1 => Just(Part::Deep), 5 => name]
}

fn written(token: &Token) -> String {
    match token {
        // A character other than a letter may be escaped; a special character must be.
        Token::Literal(c, escaped) if *escaped || "*?[\\".contains(*c) => format!("\\{c}"),
        Token::Literal(c, _) => c.to_string(),
        Token::Star => "*".into(),
        Token::One => "?".into(),
        Token::Set(not, ranges) => {
            let escaped = |c: char| if "]-!^[\\".contains(c) { format!("\\{c}") } else { c.to_string() };
            let range = |(a, b): &(char, char)| {
                if a == b { escaped(*a) } else { format!("{}-{}", escaped(*a), escaped(*b)) }
            };
            format!("[{}{}]", if *not { "!" } else { "" }, ranges.iter().map(range).collect::<String>())
        }
    }
}

fn pattern(parts: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Deep => "**".to_owned(),
        Part::Name(tokens) => tokens.iter().map(written).collect(),
    };
    format!("/{}", parts.iter().map(text).collect::<Vec<_>>().join("/"))
}

fn name_matches(tokens: &[Token], name: &[char]) -> bool {
    match (tokens, name) {
        ([], []) => true,
        ([Token::Star, rest @ ..], _) => (0..=name.len()).any(|skip| name_matches(rest, &name[skip..])),
        ([token, rest @ ..], [c, left @ ..]) => {
            let fits = match token {
                Token::Literal(wanted, _) => wanted == c,
                Token::Set(not, ranges) => *not != ranges.iter().any(|(a, b)| (a..=b).contains(&c)),
                Token::One | Token::Star => true,
            };
            fits && name_matches(rest, left)
        }
        _ => false,
    }
}

fn path_matches(parts: &[Part], path: &[&str]) -> bool {
    match (parts, path) {
        ([], []) => true,
        ([Part::Deep], path) => !path.is_empty(),
        ([Part::Deep, rest @ ..], _) => (0..=path.len()).any(|skip| path_matches(rest, &path[skip..])),
        ([Part::Name(tokens), rest @ ..], [name, left @ ..]) => {
            name_matches(tokens, &name.chars().collect::<Vec<_>>()) && path_matches(rest, left)
        }
        _ => false,
    }
}

fn excludes(filter: &Filter, path: &[&str]) -> bool {
    let (name, dirs) = path.split_last().unwrap();
    let top = filter.level(None, OsStr::new(""), None);
    let level = dirs.iter().fold(top, |level, dir| filter.level(Some(&level), OsStr::new(dir), None));
    filter.excludes(&level, OsStr::new(name), false)
}

/// A pattern matches what its description says, and nothing else.
pub(super) fn meaning() {
    let name = vec(letter(), 1..4).prop_map(String::from_iter);
    fuzz(400, (vec(part(), 1..4), vec(vec(name, 1..4), 1..6)), |(parts, paths)| {
        let text = pattern(&parts);
        let mut filter = Filter::default();
        filter.exclude(std::ffi::OsStr::new(&text)).unwrap_or_else(|why| panic!("{text}: {why}"));
        for path in paths {
            let path: Vec<_> = path.iter().map(String::as_str).collect();
            assert_eq!(excludes(&filter, &path), path_matches(&parts, &path), "{text} on {path:?}");
        }
    });
}

/// Any bytes are a pattern or are refused, with any names.
pub(super) fn bytes() {
    let byte = prop_oneof![3 => select(b"ab*?[]!^\\-/{}#: \n\r".to_vec()), 1 => any::<u8>()];
    let name = vec(any::<u8>().prop_filter("no name", |byte| !b"/\0".contains(byte)), 1..8);
    fuzz(400, (vec(byte, 0..40), vec(name, 1..4)), |(text, names)| {
        let mut filter = Filter::default();
        let _ = filter.exclude_from(&text);
        let level = filter.level(None, OsStr::new(""), Some(&text));
        for name in names.iter().map(|name| OsStr::from_bytes(name)) {
            for is_dir in [false, true] {
                filter.excludes(&level, name, is_dir);
                filter.excludes(&filter.level(Some(&level), name, Some(&text)), name, is_dir);
                filter.excludes_operand(name, is_dir);
            }
        }
    });
}
