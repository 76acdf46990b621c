//! One pattern of gitignore(5), which means what it means to git, also where it is odd.
//!
//! Patterns and names are bytes: neither has to be UTF-8. A pattern that makes no sense, such as a bracket that is
//! not closed, matches nothing; [`Pattern::check`] says so where the user can be told.

/// A pattern, taken apart as far as that does not depend on a name.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// Without what the other fields say.
    glob: Vec<u8>,
    /// Whether what matches is taken in again (`!`).
    pub(super) negated: bool,
    /// Whether it ends in a slash: only directories match.
    only_directories: bool,
    /// Whether there is no other slash: it is held against names, in any directory.
    any_directory: bool,
    /// How many bytes of `glob` come before the first that means something else than itself.
    literal: usize,
}

impl Pattern {
    /// The pattern of a line of .gitignore; none in a comment or an empty line.
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

    /// A pattern that is `glob` itself.
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

    /// Says why the pattern can match nothing, if that is so because of how it is written.
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

    /// Whether a name matches, whose `path` is relative to where the pattern stands.
    pub(super) fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        if self.only_directories && !is_dir {
            return false;
        }
        if self.any_directory {
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            return matches_from(&self.glob, 0, name, 0, false) == MatchResult::Match;
        }
        // As with git, what is literal is no longer there when two stars are asked whether they stand at the start.
        let (literal, glob) = self.glob.split_at(self.literal);
        let Some(rest) = path.strip_prefix(literal) else { return false };
        matches_from(glob, 0, rest, 0, true) == MatchResult::Match
    }

    /// Whether the name of an operand matches: by patterns that match in any directory only, since the others are
    /// about what is below the operand.
    pub(super) fn matches_operand(&self, name: &[u8], is_dir: bool) -> bool {
        (self.any_directory || self.glob.starts_with(b"**/")) && self.matches(name, is_dir)
    }
}

/// A space at the end counts only behind a backslash.
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

/// What came of holding a part of a pattern against a part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MatchResult {
    Match,
    /// Not here; further on in the text, perhaps.
    Differs,
    /// Not in this text, however far a single star reaches.
    DiffersForOneStar,
    /// Nowhere further on.
    Never,
}

/// Holds the pattern from `p` on against the text from `t` on. In `paths` a slash is matched only by itself and by two
/// stars that stand alone between slashes.
fn matches_from(pattern: &[u8], mut p: usize, text: &[u8], mut t: usize, paths: bool) -> MatchResult {
    while let Some(&special) = pattern.get(p) {
        let Some(&byte) = text.get(t).or((special == b'*').then_some(&0)) else { return MatchResult::Never };
        match special {
            b'*' => {
                let star = Star::at(pattern, p, paths);
                match star.reach(pattern, text, t, paths) {
                    Reach::Slash(at) => (p, t) = (star.end, at),
                    Reach::Done(outcome) => return outcome,
                }
                continue;
            }
            b'?' if paths && byte == b'/' => return MatchResult::Differs,
            b'?' => {}
            b'[' => {
                let mut is_member = false;
                let mut makes_sense = true;
                let parsed = each_in_brackets(pattern, p + 1, |member| match member {
                    Member::Class(name) if !is_class(name) => makes_sense = false,
                    member => is_member |= member.has(byte),
                });
                let Some((negated, next)) = parsed.filter(|_| makes_sense) else { return MatchResult::Never };
                if is_member == negated || (paths && byte == b'/') {
                    return MatchResult::Differs;
                }
                (p, t) = (next, t + 1);
                continue;
            }
            b'\\' => {
                p += 1;
                if pattern.get(p) != Some(&byte) {
                    return MatchResult::Differs;
                }
            }
            literal if literal != byte => return MatchResult::Differs,
            _ => {}
        }
        (p, t) = (p + 1, t + 1);
    }
    if t == text.len() { MatchResult::Match } else { MatchResult::Differs }
}

/// A star, or several in a row.
struct Star {
    /// Where the pattern goes on.
    end: usize,
    /// Whether slashes are matched.
    crosses: bool,
    /// Whether two or more stand alone between slashes.
    alone: bool,
}

/// Where a star has led.
enum Reach {
    /// The pattern goes on with a slash, and here is the next one.
    Slash(usize),
    Done(MatchResult),
}

impl Star {
    fn at(pattern: &[u8], start: usize, paths: bool) -> Star {
        let stars = pattern.iter().skip(start).take_while(|byte| **byte == b'*').count();
        let end = start + stars;
        let before = start.checked_sub(1).and_then(|at| pattern.get(at));
        let starts = matches!(before, None | Some(b'/'));
        let ends = matches!(pattern.get(end..), None | Some([] | [b'/', ..] | [b'\\', b'/', ..]));
        let alone = paths && stars > 1 && starts && ends;
        Star { end, crosses: alone || !paths, alone }
    }

    /// Tries what may come behind the star at each place that it reaches from `t` on.
    fn reach(&self, pattern: &[u8], text: &[u8], t: usize, paths: bool) -> Reach {
        let slash_from = |from: usize| text.iter().skip(from).position(|byte| *byte == b'/').map(|n| from + n);
        match pattern.get(self.end) {
            None if !self.crosses && slash_from(t).is_some() => {
                return Reach::Done(MatchResult::DiffersForOneStar);
            }
            None => return Reach::Done(MatchResult::Match),
            // No directory at all, in the middle of a path.
            Some(b'/')
                if self.alone && matches_from(pattern, self.end + 1, text, t, paths) == MatchResult::Match =>
            {
                return Reach::Done(MatchResult::Match);
            }
            Some(b'/') if !self.crosses => {
                return slash_from(t).map_or(Reach::Done(MatchResult::Never), Reach::Slash);
            }
            _ => {}
        }
        for at in t..text.len() {
            match matches_from(pattern, self.end, text, at, paths) {
                MatchResult::Differs if !self.crosses && text.get(at) == Some(&b'/') => {
                    return Reach::Done(MatchResult::DiffersForOneStar);
                }
                MatchResult::Differs => {}
                MatchResult::DiffersForOneStar if self.crosses => {}
                outcome => return Reach::Done(outcome),
            }
        }
        Reach::Done(MatchResult::Never)
    }
}

/// A part of what stands between brackets.
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

/// Gives all that stands between brackets, from `at` on, to `each`. Says whether it is negated, and where the pattern
/// goes on; `None` if no bracket closes it.
fn each_in_brackets<'p>(
    pattern: &'p [u8],
    mut at: usize,
    mut each: impl FnMut(Member<'p>),
) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(at)?, b'!' | b'^');
    at += usize::from(negated);
    let start = at;
    // What a range can begin with.
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

/// Whether a byte is in a class of glob(7), as in the POSIX locale; `None` where there is no such class.
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
