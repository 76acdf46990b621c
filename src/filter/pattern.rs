//! A pattern of gitignore(5), with git's semantics, including git's oddities.
//!
//! Patterns and names are bytes and need not be UTF-8. An invalid pattern, such as one with an unclosed bracket,
//! matches nothing; [`Pattern::check`] says why it is invalid.

#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// The pattern without a leading `!` and without a slash at its start or end.
    glob: Vec<u8>,
    /// A leading `!`: matching names are included again.
    pub(super) negated: bool,
    /// A slash at the end: only directories match.
    only_directories: bool,
    /// No other slash: the pattern is matched against names in any directory.
    any_directory: bool,
    /// The number of bytes of `glob` before the first special one.
    literal: usize,
}

impl Pattern {
    /// Parses a line of .gitignore; `None` for a comment or an empty line.
    pub(super) fn of_line(line: &[u8]) -> Option<Pattern> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let line = without_trailing_spaces(line);
        match line {
            [] | [b'#', ..] => None,
            [b'!', glob @ ..] => Some(Pattern::new(glob, true)),
            glob => Some(Pattern::new(glob, false)),
        }
    }

    /// Parses a pattern in which a leading `#` or `!` has no special meaning.
    pub(super) fn new(glob: &[u8], negated: bool) -> Pattern {
        let (glob, only_directories) = match glob {
            [glob @ .., b'/'] => (glob, true),
            glob => (glob, false),
        };
        let any_directory = !glob.contains(&b'/');
        let glob = glob.strip_prefix(b"/").unwrap_or(glob).to_vec();
        let literal = glob.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(glob.len());
        Pattern { glob, negated, only_directories, any_directory, literal }
    }

    /// Checks the syntax. The error says why the pattern cannot match anything.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut at = self.literal;
        while let Some(byte) = self.glob.get(at) {
            at = match byte {
                b'\\' if at + 1 == self.glob.len() => return Err("nothing follows its last backslash".into()),
                b'\\' => at + 2,
                b'[' => self.check_brackets(at + 1)?,
                _ => at + 1,
            };
        }
        Ok(())
    }

    fn check_brackets(&self, at: usize) -> Result<usize, String> {
        let mut wrong = None;
        let parsed = each_in_brackets(&self.glob, at, |member| match member {
            Member::Range(first, last) if first > last => {
                let range = [first, b'-', last];
                wrong = Some(format!("the range {} is empty", range.escape_ascii()));
            }
            Member::Class(name) if !is_class(name) => {
                wrong = Some(format!("there is no class [:{}:]", name.escape_ascii()));
            }
            _ => {}
        });
        let (_, next) = parsed.ok_or_else(|| "a bracket is not closed".to_owned())?;
        wrong.map_or(Ok(next), Err)
    }

    /// Returns whether `path`, relative to the directory of the pattern, matches.
    pub(super) fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        if self.only_directories && !is_dir {
            return false;
        }
        if self.any_directory {
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            return matches_whole(&self.glob, name, false);
        }
        // As in git, the literal prefix is removed first, so two stars right after it count as the start of the
        // pattern.
        let (literal, glob) = self.glob.split_at(self.literal);
        let Some(rest) = path.strip_prefix(literal) else { return false };
        matches_whole(glob, rest, true)
    }

    /// Returns whether the name of an operand matches. Only patterns that match in any directory apply, because
    /// the others are relative to the operand.
    pub(super) fn matches_operand(&self, name: &[u8], is_dir: bool) -> bool {
        (self.any_directory || self.glob.starts_with(b"**/")) && self.matches(name, is_dir)
    }
}

/// Removes trailing spaces, unless a backslash quotes them.
fn without_trailing_spaces(line: &[u8]) -> &[u8] {
    let (mut at, mut end) = (0, 0);
    while let Some(byte) = line.get(at) {
        at += if *byte == b'\\' { 2 } else { 1 };
        if *byte != b' ' {
            end = at;
        }
    }
    line.get(..end).unwrap_or(line)
}

/// Matches the whole pattern against the whole text. With `paths`, a slash is matched only by a slash and by two stars
/// that are a whole component.
///
/// After a mismatch, the last star takes one more byte. It can reach whatever an earlier star could, but if it may not
/// take a slash, the last star that may has to try.
fn matches_whole(pattern: &[u8], text: &[u8], paths: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last: Option<Star> = None;
    let mut last_across: Option<Star> = None;
    while p < pattern.len() || t < text.len() {
        let star = if pattern.get(p) == Some(&b'*') {
            Star::at(pattern, p, t, paths)
        } else if let Some(next) = text.get(t).and_then(|byte| after_one(pattern, p, *byte, paths)) {
            (p, t) = (next, t + 1);
            continue;
        } else {
            let longer = |star: Option<Star>| star.and_then(|star| star.longer(text));
            let Some(star) = longer(last).or_else(|| longer(last_across)) else { return false };
            star
        };
        (p, t) = (star.end, star.until);
        last = Some(star);
        if star.crosses {
            last_across = last;
        }
    }
    true
}

/// Returns the index after the element of the pattern at `p`, which is no star, if it matches the byte.
fn after_one(pattern: &[u8], p: usize, byte: u8, paths: bool) -> Option<usize> {
    let is_slash = paths && byte == b'/';
    let (matches, next) = match pattern.get(p)? {
        b'?' => (!is_slash, p + 1),
        b'[' => {
            let mut is_member = false;
            let mut makes_sense = true;
            let (negated, next) = each_in_brackets(pattern, p + 1, |member| match member {
                Member::Class(name) if !is_class(name) => makes_sense = false,
                member => is_member |= member.has(byte),
            })?;
            (makes_sense && is_member != negated && !is_slash, next)
        }
        b'\\' => (pattern.get(p + 1) == Some(&byte), p + 2),
        literal => (*literal == byte, p + 1),
    };
    matches.then_some(next)
}

/// A run of stars, and the text that it has taken so far.
#[derive(Clone, Copy)]
struct Star {
    /// The index in the pattern at which the rest begins.
    end: usize,
    /// The index in the text at which the rest begins.
    until: usize,
    /// Whether the run matches slashes.
    crosses: bool,
    /// Whether the run, with the slash after it, takes whole directories.
    takes_directories: bool,
}

impl Star {
    fn at(pattern: &[u8], start: usize, t: usize, paths: bool) -> Star {
        let stars = pattern.iter().skip(start).take_while(|byte| **byte == b'*').count();
        let end = start + stars;
        let starts = matches!(start.checked_sub(1).and_then(|at| pattern.get(at)), None | Some(b'/'));
        let rest = pattern.get(end..).unwrap_or_default();
        let ends = matches!(rest, [] | [b'/', ..] | [b'\\', b'/', ..]);
        let is_component = paths && stars > 1 && starts && ends;
        let takes_directories = is_component && rest.starts_with(b"/");
        let end = end + usize::from(takes_directories);
        Star { end, until: t, crosses: is_component || !paths, takes_directories }
    }

    /// Returns the star with as little more text as possible, or `None` if it cannot take more.
    fn longer(self, text: &[u8]) -> Option<Star> {
        let rest = text.get(self.until..)?;
        let more = match rest.first()? {
            _ if self.takes_directories => rest.iter().position(|byte| *byte == b'/')? + 1,
            b'/' if !self.crosses => return None,
            _ => 1,
        };
        Some(Star { until: self.until + more, ..self })
    }
}

#[derive(Clone, Copy)]
enum Member<'p> {
    Byte(u8),
    Range(u8, u8),
    /// `[:NAME:]`
    Class(&'p [u8]),
}

impl Member<'_> {
    fn has(self, byte: u8) -> bool {
        match self {
            Member::Byte(member) => byte == member,
            Member::Range(first, last) => (first..=last).contains(&byte),
            Member::Class(name) => in_class(name, byte) == Some(true),
        }
    }
}

/// Passes each member of the bracket expression from `at` on to `each`. Returns whether it is negated and the
/// index after it; `None` if no bracket closes it.
fn each_in_brackets<'p>(
    pattern: &'p [u8],
    mut at: usize,
    mut each: impl FnMut(Member<'p>),
) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(at)?, b'!' | b'^');
    at += usize::from(negated);
    let start = at;
    // The byte that may start a range.
    let mut before = None;
    loop {
        let rest = pattern.get(at..)?;
        let is_first = at == start;
        match (rest, before) {
            ([b']', ..], _) if !is_first => return Some((negated, at + 1)),
            ([b'\\', byte, ..], _) => {
                each(Member::Byte(*byte));
                (before, at) = (Some(*byte), at + 2);
            }
            ([b'-', b'\\', last, ..], Some(first)) => {
                each(Member::Range(first, *last));
                (before, at) = (None, at + 3);
            }
            ([b'-', last, ..], Some(first)) if !matches!(last, b']' | b'\\') => {
                each(Member::Range(first, *last));
                (before, at) = (None, at + 2);
            }
            ([b'[', b':', class @ ..], _) => {
                let length = class.iter().position(|byte| *byte == b']')?;
                match class.get(..length)? {
                    [name @ .., b':'] => {
                        each(Member::Class(name));
                        (before, at) = (None, at + 2 + length + 1);
                    }
                    _ => {
                        each(Member::Byte(b'['));
                        (before, at) = (Some(b'['), at + 1);
                    }
                }
            }
            ([b'\\'] | [], _) => return None,
            ([byte, ..], _) => {
                each(Member::Byte(*byte));
                (before, at) = (Some(*byte), at + 1);
            }
        }
    }
}

fn is_class(name: &[u8]) -> bool {
    in_class(name, 0).is_some()
}

/// Returns whether a byte is in a class of glob(7) in the POSIX locale; `None` if there is no such class.
fn in_class(name: &[u8], byte: u8) -> Option<bool> {
    Some(match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte.is_ascii_graphic() || byte == b' ',
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}
