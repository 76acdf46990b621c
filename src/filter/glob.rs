//! From a pattern as git reads it (gitignore(5), glob(7)) to one that the crate `ignore` reads the same way.
//!
//! The two differ in a few places. There braces are alternatives, here they are characters. Here a
//! backslash holds in brackets too, and `[:alpha:]` is a class. Stars that do not stand alone between
//! slashes are one star here, and three of them are two.

use std::iter::Peekable;
use std::str::Chars;

/// The pattern, or why it is none.
pub(super) fn translated(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut starts = true;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                out.push(c);
                out.extend(chars.next());
            }
            '{' | '}' => out.extend(['\\', c]),
            '*' => {
                let mut several = false;
                while chars.next_if_eq(&'*').is_some() {
                    several = true;
                }
                let alone = starts && matches!(chars.peek(), None | Some('/'));
                out.push_str(if several && alone { "**" } else { "*" });
            }
            '[' => out.push_str(&brackets(&mut chars)?),
            _ => out.push(c),
        }
        // What takes a pattern back does not count as its first character.
        starts = c == '/' || (starts && c == '!' && out.len() == 1);
    }
    Ok(out)
}

/// What stands between brackets, and what it is to be there.
fn brackets(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let unclosed = || "a bracket is not closed".to_owned();
    let negated = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
    let mut ranges: Vec<(char, char)> = Vec::new();
    loop {
        let c = chars.next().ok_or_else(unclosed)?;
        match c {
            ']' if !ranges.is_empty() => break,
            '[' if chars.peek() == Some(&':') => {
                let rest: String = chars.clone().skip(1).take_while(|c| *c != ']').collect();
                let Some(name) = rest.strip_suffix(':') else {
                    ranges.push((c, c));
                    continue;
                };
                ranges.extend(class(name)?);
                chars.nth(name.len() + 2);
                continue;
            }
            _ => {}
        }
        let mut literal = |c| if c == '\\' { chars.next().ok_or_else(unclosed) } else { Ok(c) };
        let first = literal(c)?;
        let mut ahead = chars.clone();
        let is_range = ahead.next() == Some('-') && !matches!(ahead.next(), None | Some(']'));
        if !is_range {
            ranges.push((first, first));
            continue;
        }
        chars.next();
        let last = chars.next().ok_or_else(unclosed)?;
        let last = if last == '\\' { chars.next().ok_or_else(unclosed)? } else { last };
        if first > last {
            return Err(format!("the range {first}-{last} is empty"));
        }
        ranges.push((first, last));
    }
    Ok(written(negated, ranges))
}

/// In an order in which no character has another meaning.
fn written(negated: bool, ranges: Vec<(char, char)>) -> String {
    let place = |c: char| match c {
        ']' => 0,
        '[' => 2, // else what follows could be read as a class
        '!' | '^' => 3,
        '-' => 4,
        _ => 1,
    };
    let mut ranges: Vec<_> = ranges.into_iter().flat_map(|range| apart(range, |c| place(c) != 1)).collect();
    ranges.sort_unstable_by_key(|range| (place(range.0), *range));
    ranges.dedup();
    match ranges.as_slice() {
        [(c @ ('!' | '^'), _)] if !negated => return format!("\\{c}"),
        [('!', _), ('^', _)] if !negated => return "{!,^}".into(),
        [('!' | '^', _), .., ('-', _)] if !negated => ranges.rotate_right(1),
        _ => {}
    }
    let mut out = String::from(if negated { "[!" } else { "[" });
    for (first, last) in ranges {
        out.push(first);
        if first != last {
            out.extend(['-', last]);
        }
    }
    out.push(']');
    out
}

/// A range, and those of its ends that could be read as something else, each for itself.
fn apart((mut first, mut last): (char, char), is_special: impl Fn(char) -> bool) -> Vec<(char, char)> {
    let mut pieces = Vec::new();
    while first < last && is_special(first) {
        pieces.push((first, first));
        first = (first..=last).nth(1).unwrap_or(last);
    }
    while first < last && is_special(last) {
        pieces.push((last, last));
        last = (first..last).next_back().unwrap_or(first);
    }
    pieces.push((first, last));
    pieces
}

/// The characters of a class of glob(7), as in the POSIX locale.
fn class(name: &str) -> Result<Vec<(char, char)>, String> {
    Ok(match name {
        "alnum" => vec![('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => vec![('A', 'Z'), ('a', 'z')],
        "blank" => vec![('\t', '\t'), (' ', ' ')],
        "cntrl" => vec![('\u{1}', '\u{1f}'), ('\u{7f}', '\u{7f}')],
        "digit" => vec![('0', '9')],
        "graph" => vec![('!', '~')],
        "lower" => vec![('a', 'z')],
        "print" => vec![(' ', '~')],
        "punct" => vec![('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => vec![('\t', '\r'), (' ', ' ')],
        "upper" => vec![('A', 'Z')],
        "xdigit" => vec![('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return Err(format!("there is no class [:{name}:]")),
    })
}

#[cfg(test)]
mod tests {
    use super::translated;

    #[test]
    fn what_git_reads_differently_is_written_differently() {
        for (git, here) in [
            ("*.o", "*.o"),
            ("{a,b}", "\\{a,b\\}"),
            ("a\\{b", "a\\{b"),
            ("**/a/**", "**/a/**"),
            ("!**/a", "!**/a"),
            ("***/a", "**/a"),
            ("a**/b**c", "a*/b*c"),
            ("[\\]a]", "[]a]"),
            ("[!\\-a-c]", "[!a-c-]"),
            ("[a-]", "[a-]"),
            ("[]a]", "[]a]"),
            ("[^b]", "[!b]"),
            ("[a\\!]", "[a!]"),
            ("[\\!]", "\\!"),
            ("[[:digit:]_]", "[0-9_]"),
            ("[[:a]", "[:a[]"),
            ("[\\--\\]]", "[].-\\-]"),
            ("[\\!-~]", "[\"-~!]"),
            ("[\\!^]", "{!,^}"),
            ("[\\!-]", "[-!]"),
            ("[\\[:alpha:]", "[:ahlp[]"),
        ] {
            assert_eq!(translated(git).as_deref(), Ok(here), "{git}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for wrong in ["[a", "[z-a]", "[[:letter:]]", "[\\", "[a-\\"] {
            assert!(translated(wrong).is_err(), "{wrong}");
        }
    }
}
