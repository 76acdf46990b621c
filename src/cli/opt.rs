//! One option of the command line as data: its names, its argument, its help, and its effect.
//!
//! The options are a constant table (`options.rs`), which the parser reads directly. clap's objects are made
//! from it only for `--help`, the manual page and the completions, so that a copy does not pay for them.

use super::UsageError;
use super::command_line::CommandLine;
use clap::{Arg, ArgAction};
use std::ffi::OsStr;

#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    Flag(fn(&mut CommandLine)),
    Value(fn(&mut CommandLine, &OsStr) -> Result<(), UsageError>),
    /// The option may have an argument, given as `--option=ARGUMENT` only.
    OptionalValue(fn(&mut CommandLine, Option<&OsStr>) -> Result<(), UsageError>),
    /// zcp prints this text, made for the name that it was called by, and copies nothing.
    Print(fn(&str) -> String),
    /// The option requires an argument. zcp prints the text that it names, and copies nothing.
    Generate(fn(&OsStr) -> Result<String, UsageError>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum ArgumentKind {
    /// A number or a pattern, for which there is nothing to offer.
    Free,
    File,
    Directory,
    Word(fn() -> Vec<&'static str>),
    /// Some of these words, separated by commas.
    List(fn() -> Vec<&'static str>),
}

/// The part of a job that an option belongs to. It also decides whether `ZCP_OPTS` may hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Says what to copy. A plan keeps it for the parts of the job; `ZCP_OPTS` may not hold it.
    What,
    /// Says how to copy. A plan keeps it for the parts of the job.
    How,
    /// Concerns one run, such as `--jobs`. Each part of a job may have its own.
    Run,
    /// Says which names are copied, or where. A plan keeps the names themselves instead; `ZCP_OPTS` may not hold it.
    Names,
    /// Selects a step of a job or belongs to one, or prints a text instead of copying.
    Step,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Opt {
    /// The long name, or the letter if there is no long name.
    pub(super) id: &'static str,
    long: bool,
    /// A second long name, hidden from help.
    alias: Option<&'static str>,
    short: Option<char>,
    short_alias: Option<char>,
    pub(super) effect: Effect,
    pub(super) value_name: &'static str,
    pub(super) help: &'static str,
    /// The text of `--help`, if `-h` and the completions need a shorter one.
    long_help: Option<&'static str>,
    pub(super) heading: &'static str,
    pub(super) scope: Scope,
    pub(super) in_short_help: bool,
    /// Whether the letter is zcp's own: under the name cp there is none.
    pub(super) letter_is_own: bool,
    pub(super) kind: ArgumentKind,
}

impl Opt {
    const fn new(id: &'static str, short: Option<char>, help: &'static str, effect: Effect) -> Opt {
        Opt {
            id,
            long: true,
            alias: None,
            short,
            short_alias: None,
            effect,
            value_name: "",
            help,
            long_help: None,
            heading: super::options::CP,
            scope: Scope::What,
            in_short_help: false,
            letter_is_own: false,
            kind: ArgumentKind::Free,
        }
    }

    pub(super) const fn flag(
        id: &'static str,
        short: Option<char>,
        help: &'static str,
        effect: fn(&mut CommandLine),
    ) -> Opt {
        Opt::new(id, short, help, Effect::Flag(effect))
    }

    pub(super) const fn value(
        id: &'static str,
        short: Option<char>,
        value_name: &'static str,
        help: &'static str,
        effect: fn(&mut CommandLine, &OsStr) -> Result<(), UsageError>,
    ) -> Opt {
        Opt { value_name, ..Opt::new(id, short, help, Effect::Value(effect)) }
    }

    pub(super) const fn optional_value(
        id: &'static str,
        value_name: &'static str,
        help: &'static str,
        effect: fn(&mut CommandLine, Option<&OsStr>) -> Result<(), UsageError>,
    ) -> Opt {
        Opt { value_name, ..Opt::new(id, None, help, Effect::OptionalValue(effect)) }
    }

    pub(super) const fn print(id: &'static str, help: &'static str, text: fn(&str) -> String) -> Opt {
        Opt::new(id, None, help, Effect::Print(text))
    }

    /// Makes an option that prints the text that its argument names.
    pub(super) const fn generate(
        id: &'static str,
        value_name: &'static str,
        help: &'static str,
        text: fn(&OsStr) -> Result<String, UsageError>,
    ) -> Opt {
        Opt { value_name, ..Opt::new(id, None, help, Effect::Generate(text)) }
    }

    /// Removes the long name.
    pub(super) const fn letter(self, letter: char) -> Opt {
        Opt { long: false, short: Some(letter), ..self }
    }

    /// Adds a letter that cp does not have.
    pub(super) const fn own_letter(self, letter: char) -> Opt {
        Opt { short: Some(letter), letter_is_own: true, ..self }
    }

    pub(super) const fn alias(self, alias: &'static str) -> Opt {
        Opt { alias: Some(alias), ..self }
    }

    pub(super) const fn short_alias(self, alias: char) -> Opt {
        Opt { short_alias: Some(alias), ..self }
    }

    pub(super) const fn under(self, heading: &'static str, scope: Scope) -> Opt {
        Opt { heading, scope, ..self }
    }

    pub(super) const fn scope(self, scope: Scope) -> Opt {
        Opt { scope, ..self }
    }

    pub(super) const fn kind(self, kind: ArgumentKind) -> Opt {
        Opt { kind, ..self }
    }

    /// Lists the option in `-h`.
    pub(super) const fn common(self) -> Opt {
        Opt { in_short_help: true, ..self }
    }

    /// Lists the option in `-h`. `-h` and the completions show this shorter text.
    pub(super) const fn brief(self, help: &'static str) -> Opt {
        Opt { help, long_help: Some(self.help), ..self.common() }
    }

    pub(super) fn longs(&self) -> impl Iterator<Item = &'static str> {
        self.long().into_iter().chain(self.alias)
    }

    pub(super) fn shorts(&self) -> impl Iterator<Item = char> {
        [self.short, self.short_alias].into_iter().flatten()
    }

    pub(super) fn long(&self) -> Option<&'static str> {
        self.long.then_some(self.id)
    }

    pub(super) fn is_cps(&self) -> bool {
        self.heading == super::options::CP
    }

    pub(super) fn may_be_preset(&self) -> bool {
        !self.is_cps() && matches!(self.scope, Scope::How | Scope::Run)
    }

    /// Returns the name with the dashes that a user types.
    pub(super) fn spelling(&self) -> String {
        format!("{}{}", if self.long { "--" } else { "-" }, self.id)
    }
}

impl From<&Opt> for Arg {
    fn from(opt: &Opt) -> Arg {
        let arg = Arg::new(opt.id).short(opt.short).help(opt.help).help_heading(opt.heading);
        let arg = if opt.long { arg.long(opt.id) } else { arg };
        let arg = arg.alias(opt.alias).visible_short_alias(opt.short_alias);
        let arg = opt.long_help.map_or(arg.clone(), |help| arg.long_help(help));
        let with_value = |arg: Arg| {
            let parser = clap::value_parser!(std::ffi::OsString);
            arg.value_name(opt.value_name).value_parser(parser)
        };
        match opt.effect {
            Effect::Flag(_) | Effect::Print(_) => arg.action(ArgAction::SetTrue),
            Effect::OptionalValue(_) => with_value(arg).num_args(0..=1).require_equals(true),
            Effect::Value(_) | Effect::Generate(_) => with_value(arg).num_args(1),
        }
    }
}
