//! One option as data: its names, whether it takes an argument, and what help says of it.
//!
//! The table of them (`definition.rs`) is a constant. Arguments are read by it, so a copy builds nothing
//! first; clap's own objects are only made of it for --help, the manual page and the completions.

use super::definition;
use clap::{Arg, ArgAction, ValueHint};

/// Whether an option takes an argument (`has_arg` of getopt_long(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Optional,
    Required,
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opt {
    /// What it is called inside: its long name, or its letter.
    pub(super) id: &'static str,
    long: bool,
    /// Another long name, which is not shown.
    alias: Option<&'static str>,
    short: Option<char>,
    /// Another letter.
    short_alias: Option<char>,
    pub(super) takes: Takes,
    value_name: &'static str,
    help: &'static str,
    /// What --help says, where -h and completions have to be short.
    long_help: Option<&'static str>,
    /// Under which heading it is shown.
    heading: &'static str,
    hint: ValueHint,
}

impl Opt {
    pub(super) const fn flag(id: &'static str, short: Option<char>, help: &'static str) -> Opt {
        Opt {
            id,
            long: true,
            alias: None,
            short,
            short_alias: None,
            takes: Takes::Nothing,
            value_name: "",
            help,
            long_help: None,
            heading: definition::CP,
            hint: ValueHint::Unknown,
        }
    }

    pub(super) const fn value(
        id: &'static str,
        short: Option<char>,
        value_name: &'static str,
        help: &'static str,
    ) -> Opt {
        Opt { takes: Takes::Required, value_name, ..Opt::flag(id, short, help) }
    }

    pub(super) const fn optional(id: &'static str, value_name: &'static str, help: &'static str) -> Opt {
        Opt { takes: Takes::Optional, ..Opt::value(id, None, value_name, help) }
    }

    pub(super) const fn short_only(id: &'static str, short: char, help: &'static str) -> Opt {
        Opt { long: false, ..Opt::flag(id, Some(short), help) }
    }

    pub(super) const fn alias(self, alias: &'static str) -> Opt {
        Opt { alias: Some(alias), ..self }
    }

    pub(super) const fn short_alias(self, alias: char) -> Opt {
        Opt { short_alias: Some(alias), ..self }
    }

    pub(super) const fn under(self, heading: &'static str) -> Opt {
        Opt { heading, ..self }
    }

    pub(super) const fn hint(self, hint: ValueHint) -> Opt {
        Opt { hint, ..self }
    }

    /// A help of few words for `-h` and completions, where what there is would not fit beside the option.
    pub(super) const fn brief(self, help: &'static str) -> Opt {
        Opt { help, long_help: Some(self.help), ..self }
    }

    /// Its long names.
    pub(super) fn longs(&self) -> impl Iterator<Item = &'static str> {
        self.long.then_some(self.id).into_iter().chain(self.alias)
    }

    /// Whether it goes by this letter.
    pub(super) fn is_short(&self, letter: char) -> bool {
        [self.short, self.short_alias].contains(&Some(letter))
    }

    /// Whether cp has it as well.
    pub(super) fn is_cps(&self) -> bool {
        self.heading == definition::CP
    }

    /// Whether it is about how things are copied, or reported, and not about what.
    pub(super) fn says_how(&self) -> bool {
        ![definition::CP, definition::CHOICE].contains(&self.heading)
    }

    /// As one types it.
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
            arg.value_name(opt.value_name).value_parser(parser).value_hint(opt.hint)
        };
        match opt.takes {
            Takes::Nothing => arg.action(ArgAction::SetTrue),
            Takes::Optional => with_value(arg).num_args(0..=1).require_equals(true),
            Takes::Required => with_value(arg).num_args(1),
        }
    }
}
