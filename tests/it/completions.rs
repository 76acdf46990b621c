//! The completions are rendered from the table of options, compared with the committed files (`BLESS=1 cargo
//! test --test it completions` writes them), and tried in the shells.
//!
//! clap_complete's own scripts do not suit a program whose arguments are files: bash's offers options where a
//! file is expected and nothing after `=` (readline splits the word there), and none supports lists of words or
//! optional arguments. There are no scripts for elvish and powershell: a script there would disable the
//! completion of paths unless it brings its own.

mod bash;
mod fish;
mod live;
mod zsh;

use crate::generated::is_current;
use crate::needs::{Need, trial};
use clap::{Arg, ValueHint};
use libtest_mimic::Trial;
use std::ffi::OsString;
use zcp::cli;

pub(crate) fn trials() -> Vec<Trial> {
    let current = |shell: &str, file: &'static str, render: fn(&[Known]) -> String| {
        let run = move || is_current(&format!("completions/{file}"), render(&table()).as_bytes());
        trial(format!("completions::{shell}_is_current"), &[], run)
    };
    vec![
        current("bash", "zcp.bash", bash::render),
        current("zsh", "_zcp", zsh::render),
        current("fish", "zcp.fish", fish::render),
        trial("completions::words_are_what_is_accepted", &[], words_are_what_is_accepted),
        trial("completions::bash", &[Need::Program("bash")], live::bash),
        trial("completions::zsh", &[Need::Program("zsh")], live::zsh),
        trial("completions::fish", &[Need::Program("fish")], live::fish),
    ]
}

/// An option, as a completion needs it.
struct Known {
    shorts: Vec<char>,
    long: Option<String>,
    help: String,
    takes: Takes,
}

/// Whether an option takes an argument. An optional argument can only be given after `=`.
enum Takes {
    Nothing,
    Optional(Value),
    Required(Value),
}

/// The argument of an option.
struct Value {
    /// The name in `--help`.
    name: String,
    kind: Kind,
}

enum Kind {
    /// One of these words.
    Word(Vec<String>),
    /// Some of these words, separated by commas.
    List(Vec<String>),
    File,
    Directory,
    /// A number or a pattern, for which there is nothing to offer.
    Free,
}

impl Known {
    fn value(&self) -> Option<&Value> {
        match &self.takes {
            Takes::Nothing => None,
            Takes::Optional(value) | Takes::Required(value) => Some(value),
        }
    }
}

fn table() -> Vec<Known> {
    let command = cli::command();
    command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set()).map(known).collect()
}

fn known(arg: &Arg) -> Known {
    let takes = match arg.get_num_args() {
        _ if !arg.get_action().takes_values() => Takes::Nothing,
        Some(count) if count.min_values() == 0 => Takes::Optional(value(arg)),
        _ => Takes::Required(value(arg)),
    };
    let mut shorts: Vec<char> = arg.get_short().into_iter().collect();
    shorts.extend(arg.get_visible_short_aliases().unwrap_or_default());
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    Known { shorts, long: arg.get_long().map(str::to_owned), help, takes }
}

fn value(arg: &Arg) -> Value {
    let name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default();
    let kind = match (arg.get_value_hint(), arg.get_long()) {
        (ValueHint::DirPath, _) => Kind::Directory,
        (ValueHint::FilePath | ValueHint::AnyPath, _) => Kind::File,
        (_, Some(long)) => words(long),
        _ => Kind::Free,
    };
    Value { name, kind }
}

/// The words that an option accepts, taken from the message about a word that it does not accept.
fn words(long: &str) -> Kind {
    let refusal = refusal(&format!("--{long}=?")).unwrap_or_default();
    let Some((_, list)) = refusal.split_once("Valid arguments are:") else { return Kind::Free };
    // Synonyms are on one line; the first is the plainest.
    let words: Vec<_> = list.lines().filter_map(|line| line.split('\'').nth(1)).map(str::to_owned).collect();
    let two = format!("--{long}={0},{0}", words.first().unwrap());
    let is_list = refusal_is_of_another_kind(&two);
    if is_list { Kind::List(words) } else { Kind::Word(words) }
}

fn refusal_is_of_another_kind(argument: &str) -> bool {
    !refusal(argument).is_some_and(|text| text.contains("invalid argument"))
}

fn refusal(argument: &str) -> Option<String> {
    let args = [argument, "a", "b"].map(OsString::from).to_vec();
    let error = cli::parse(args, &zcp::Console::new("zcp")).err()?;
    Some(String::from_utf8_lossy(&error.text).into_owned())
}

/// The table is taken from messages; this checks that the program accepts the words in it.
fn words_are_what_is_accepted() {
    let table = table();
    let of = |long: &str| {
        let known = table.iter().find(|known| known.long.as_deref() == Some(long)).unwrap();
        match &known.value().unwrap().kind {
            Kind::Word(words) => words.join(" "),
            Kind::List(words) => words.join(","),
            _ => String::new(),
        }
    };
    assert_eq!(of("sparse"), "never auto always");
    assert_eq!(of("backup"), "none simple existing numbered");
    assert_eq!(of("strategy"), "reflink,copy_file_range,splice,sendfile,mmap,read_write");
    assert_eq!(of("preserve"), of("no-preserve"));
    assert_eq!(of("suffix"), "");
    for known in &table {
        let (Some(long), Some(Kind::Word(words) | Kind::List(words))) =
            (&known.long, known.value().map(|value| &value.kind))
        else {
            continue;
        };
        assert!(words.len() > 1, "--{long}: {words:?}");
        for word in words {
            assert!(refusal_is_of_another_kind(&format!("--{long}={word}")), "--{long}={word} is refused");
        }
    }
}
