//! Parses arguments by the rules of getopt_long(3): clusters, abbreviations, permutation.
//!
//! The table is in `options.rs`. This module does not know the meaning of the options.

use super::UsageError;
use super::command_line::CommandLine;
use super::opt::{Effect, Opt};
use super::options::options;
use super::words::similar;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use zcp::internals::quote::shown;

#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) option: &'static Opt,
    pub(super) value: Option<OsString>,
}

impl Given {
    pub(super) fn apply(&self, line: &mut CommandLine) -> Result<(), UsageError> {
        let value = self.value.as_deref();
        match self.option.effect {
            Effect::Flag(apply) => apply(line),
            Effect::Value(apply) => apply(line, value.unwrap_or_default())?,
            Effect::OptionalValue(apply) => apply(line, value)?,
            Effect::Print(_) | Effect::Generate(_) => {}
        }
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Arguments {
    /// The options before the first error, in order.
    pub(super) given: Vec<Given>,
    pub(super) operands: Vec<OsString>,
    /// The first error. Options before it are applied first, such as `--help`.
    pub(super) error: Option<UsageError>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    /// POSIXLY_CORRECT: the first operand ends the options.
    pub(super) posix: bool,
    /// Under the name cp, some letters are missing, such as `-h`.
    pub(super) cp: bool,
}

/// Separates options from operands.
pub(super) fn read(args: Vec<OsString>, manner: Manner) -> Arguments {
    let mut arguments = Arguments::default();
    arguments.error = read_into(args, manner, &mut arguments).err();
    arguments
}

fn read_into(
    args: Vec<OsString>,
    manner: Manner,
    Arguments { given, operands, .. }: &mut Arguments,
) -> Result<(), UsageError> {
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"--" => break,
            [b'-', b'-', long @ ..] => given.push(read_long(long, &mut args)?),
            [b'-', shorts @ ..] if !shorts.is_empty() => read_cluster(shorts, manner, &mut args, given)?,
            _ => {
                operands.push(arg);
                if manner.posix {
                    break;
                }
            }
        }
    }
    operands.extend(args);
    Ok(())
}

fn read_long(text: &[u8], rest: &mut impl Iterator<Item = OsString>) -> Result<Given, UsageError> {
    let (name, value) = match text.iter().position(|b| *b == b'=') {
        Some(at) => (&text[..at], Some(OsString::from_vec(text[at + 1..].to_vec()))),
        None => (text, None),
    };
    let (option, long) = find_long(name, text)?;
    match (option.effect, value) {
        (Effect::Flag(_) | Effect::Print(_), Some(_)) => {
            Err(UsageError::new(format!("option '--{long}' doesn't allow an argument")))
        }
        (Effect::Value(_) | Effect::Generate(_), None) => match rest.next() {
            Some(value) => Ok(Given { option, value: Some(value) }),
            None => Err(UsageError::new(format!("option '--{long}' requires an argument"))),
        },
        (_, value) => Ok(Given { option, value }),
    }
}

/// Finds the option of that name, or the only one with that prefix. cp's options take precedence over zcp's
/// own.
fn find_long(name: &[u8], text: &[u8]) -> Result<(&'static Opt, &'static str), UsageError> {
    let all = || options().flat_map(|option| option.longs().map(move |long| (option, long)));
    if let Some(exact) = all().find(|(_, long)| long.as_bytes() == name) {
        return Ok(exact);
    }
    for cp in [true, false] {
        let found: Vec<_> =
            all().filter(|(option, long)| option.is_cps() == cp && long.as_bytes().starts_with(name)).collect();
        if let Some(first) = found.first() {
            if found.iter().all(|(option, _)| option.id == first.0.id) {
                return Ok(*first);
            }
            let mut words = [b"option '--".as_slice(), &shown(text), b"' is ambiguous; possibilities:"].concat();
            let mut last = None;
            for (option, long) in found {
                if last != Some(option.id) {
                    words.extend_from_slice(format!(" '--{long}'").as_bytes());
                }
                last = Some(option.id);
            }
            return Err(UsageError::new(words));
        }
    }
    let message = [b"unrecognized option '--".as_slice(), &shown(text), b"'"].concat();
    let similar = similar(name, all().map(|(_, long)| long)).map(|long| format!("--{long}"));
    Err(UsageError { suggestion: similar, ..UsageError::new(message) })
}

fn read_cluster(
    shorts: &[u8],
    manner: Manner,
    rest: &mut impl Iterator<Item = OsString>,
    given: &mut Vec<Given>,
) -> Result<(), UsageError> {
    let known = |letter| {
        let mut present = options().filter(|option| !(manner.cp && option.letter_is_own));
        present.find(|option| option.shorts().any(|short| short == letter))
    };
    for (at, short) in shorts.iter().enumerate() {
        let Some(option) = known(char::from(*short)) else {
            return Err(UsageError::new([b"invalid option -- '".as_slice(), &shown(&[*short]), b"'"].concat()));
        };
        if matches!(option.effect, Effect::Flag(_) | Effect::Print(_)) {
            given.push(Given { option, value: None });
            continue;
        }
        let attached = &shorts[at + 1..];
        let value = if attached.is_empty() { rest.next() } else { Some(OsStr::from_bytes(attached).to_owned()) };
        let Some(value) = value else {
            let letter = char::from(*short);
            return Err(UsageError::new(format!("option requires an argument -- '{letter}'")));
        };
        given.push(Given { option, value: Some(value) });
        break;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(args: &[&str]) -> Result<(Vec<String>, Vec<OsString>), String> {
        let args = args.iter().map(OsString::from).collect();
        let Arguments { given, operands, error } = read(args, Manner::default());
        if let Some(error) = error {
            return Err(String::from_utf8_lossy(&error.text).into_owned());
        }
        let show = |given: Given| match given.value {
            Some(value) => format!("{}={}", given.option.id, value.to_string_lossy()),
            None => given.option.id.to_owned(),
        };
        Ok((given.into_iter().map(show).collect(), operands))
    }

    #[test]
    fn options_may_follow_operands_but_not_a_double_dash() {
        let (given, operands) = read_all(&["a", "-r", "b", "--", "-v"]).unwrap();
        assert_eq!(given, ["recursive"]);
        assert_eq!(operands, ["a", "b", "-v"]);
    }

    #[test]
    fn clusters_take_the_rest_as_an_argument() {
        assert_eq!(
            read_all(&["-rSx", "-tdir", "-t", "d"]).unwrap().0,
            ["recursive", "suffix=x", "target-directory=dir", "target-directory=d"]
        );
    }

    #[test]
    fn abbreviations_are_cps_first() {
        assert_eq!(
            read_all(&["--rem", "--pa", "--path", "--strip", "--sp=auto", "--st"]).unwrap().0,
            [
                "remove-destination",
                "parents",
                "parents",
                "strip-trailing-slashes",
                "sparse=auto",
                "strip-trailing-slashes"
            ]
        );
        // zcp's own options can be abbreviated too.
        assert_eq!(read_all(&["--jo=2", "--stra=mmap"]).unwrap().0, ["jobs=2", "strategy=mmap"]);
    }

    #[test]
    fn refusals_are_worded_as_by_getopt() {
        let words = |args: &[&str]| read_all(args).unwrap_err();
        assert_eq!(words(&["-y"]), "invalid option -- 'y'");
        assert_eq!(words(&["--foo=1"]), "unrecognized option '--foo=1'");
        assert_eq!(words(&["--recursive=1"]), "option '--recursive' doesn't allow an argument");
        assert_eq!(words(&["--suffix"]), "option '--suffix' requires an argument");
        assert_eq!(words(&["-S"]), "option requires an argument -- 'S'");
        assert_eq!(
            words(&["--re"]),
            "option '--re' is ambiguous; possibilities: '--recursive' '--remove-destination' '--reflink'"
        );
    }
}
