//! Arguments by the rules of getopt_long(3): clusters, abbreviations, permutation.
//!
//! The table is the clap definition. Nothing here knows what an option means.

use super::{Misuse, definition};
use crate::report::quote::shown;
use clap::{Arg, ArgAction, Command};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// An option that was given, in its place among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// The clap id.
    pub(super) id: String,
    /// Its argument.
    pub(super) value: Option<OsString>,
}

/// Whether an option takes an argument (`has_arg` of getopt_long(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    Optional,
    Required,
}

struct Known {
    id: String,
    long: Vec<String>,
    short: Vec<char>,
    takes: Takes,
    cp: bool,
}

/// Arguments, taken apart.
#[derive(Default)]
pub(super) struct Arguments {
    /// The options, up to the first that makes no sense.
    pub(super) given: Vec<Given>,
    /// All that is no option.
    pub(super) operands: Vec<OsString>,
    /// What is wrong with the first option that makes no sense. Those before it count first: a
    /// `--help` among them is obeyed.
    pub(super) misuse: Option<Misuse>,
}

/// Separates options from operands. With `posix` the first operand ends the options.
pub(super) fn read(command: &Command, args: Vec<OsString>, posix: bool) -> Arguments {
    let mut arguments = Arguments::default();
    arguments.misuse = read_into(command, args, posix, &mut arguments).err();
    arguments
}

fn read_into(
    command: &Command,
    args: Vec<OsString>,
    posix: bool,
    Arguments { given, operands, .. }: &mut Arguments,
) -> Result<(), Misuse> {
    let table: Vec<Known> = command.get_arguments().filter_map(known).collect();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"--" => break,
            [b'-', b'-', long @ ..] => given.push(read_long(&table, long, &mut args)?),
            [b'-', shorts @ ..] if !shorts.is_empty() => read_cluster(&table, shorts, &mut args, given)?,
            _ => {
                operands.push(arg);
                if posix {
                    break;
                }
            }
        }
    }
    operands.extend(args);
    Ok(())
}

fn known(arg: &Arg) -> Option<Known> {
    if arg.is_positional() {
        return None;
    }
    let takes = match (arg.get_action(), arg.get_num_args().map(|n| n.min_values())) {
        (ArgAction::SetTrue, _) => Takes::Nothing,
        (_, Some(0)) => Takes::Optional,
        _ => Takes::Required,
    };
    let mut long: Vec<String> = arg.get_long().into_iter().map(str::to_owned).collect();
    long.extend(arg.get_all_aliases().unwrap_or_default().into_iter().map(str::to_owned));
    let mut short: Vec<char> = arg.get_short().into_iter().collect();
    short.extend(arg.get_all_short_aliases().unwrap_or_default());
    Some(Known {
        id: arg.get_id().as_str().to_owned(),
        long,
        short,
        takes,
        cp: arg.get_help_heading() == Some(definition::CP),
    })
}

fn read_long(table: &[Known], text: &[u8], rest: &mut impl Iterator<Item = OsString>) -> Result<Given, Misuse> {
    let (name, value) = match text.iter().position(|b| *b == b'=') {
        Some(at) => (&text[..at], Some(OsString::from_vec(text[at + 1..].to_vec()))),
        None => (text, None),
    };
    let (option, long) = find_long(table, name, text)?;
    match (option.takes, value) {
        (Takes::Nothing, Some(_)) => Err(Misuse::new(format!("option '--{long}' doesn't allow an argument"))),
        (Takes::Required, None) => match rest.next() {
            Some(value) => Ok(Given { id: option.id.clone(), value: Some(value) }),
            None => Err(Misuse::new(format!("option '--{long}' requires an argument"))),
        },
        (_, value) => Ok(Given { id: option.id.clone(), value }),
    }
}

/// The option of that name, or the only one that begins so; cp's come before zcp's own.
fn find_long<'t>(table: &'t [Known], name: &[u8], text: &[u8]) -> Result<(&'t Known, &'t str), Misuse> {
    let all = || table.iter().flat_map(|known| known.long.iter().map(move |long| (known, long.as_str())));
    if let Some(exact) = all().find(|(_, long)| long.as_bytes() == name) {
        return Ok(exact);
    }
    for cp in [true, false] {
        let found: Vec<_> =
            all().filter(|(known, long)| known.cp == cp && long.as_bytes().starts_with(name)).collect();
        if let Some(first) = found.first() {
            if found.iter().all(|(known, _)| known.id == first.0.id) {
                return Ok(*first);
            }
            let mut words = [b"option '--".as_slice(), &shown(text), b"' is ambiguous; possibilities:"].concat();
            let mut last = None;
            for (known, long) in found {
                if last != Some(&known.id) {
                    words.extend_from_slice(format!(" '--{long}'").as_bytes());
                }
                last = Some(&known.id);
            }
            return Err(Misuse::new(words));
        }
    }
    Err(Misuse::new([b"unrecognized option '--".as_slice(), &shown(text), b"'"].concat()))
}

fn read_cluster(
    table: &[Known],
    shorts: &[u8],
    rest: &mut impl Iterator<Item = OsString>,
    given: &mut Vec<Given>,
) -> Result<(), Misuse> {
    for (at, short) in shorts.iter().enumerate() {
        let Some(option) = table.iter().find(|known| known.short.contains(&char::from(*short))) else {
            return Err(Misuse::new([b"invalid option -- '".as_slice(), &shown(&[*short]), b"'"].concat()));
        };
        if option.takes == Takes::Nothing {
            given.push(Given { id: option.id.clone(), value: None });
            continue;
        }
        let attached = &shorts[at + 1..];
        let value = if attached.is_empty() { rest.next() } else { Some(OsStr::from_bytes(attached).to_owned()) };
        let Some(value) = value else {
            let letter = char::from(*short);
            return Err(Misuse::new(format!("option requires an argument -- '{letter}'")));
        };
        given.push(Given { id: option.id.clone(), value: Some(value) });
        break;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(args: &[&str]) -> Result<(Vec<String>, Vec<OsString>), String> {
        let args = args.iter().map(OsString::from).collect();
        let Arguments { given, operands, misuse } = read(&definition::command(), args, false);
        if let Some(misuse) = misuse {
            return Err(String::from_utf8_lossy(&misuse.text).into_owned());
        }
        let show = |given: Given| match given.value {
            Some(value) => format!("{}={}", given.id, value.to_string_lossy()),
            None => given.id,
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
        // What only zcp has can be shortened too.
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
