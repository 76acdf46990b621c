//! Renders the texts of `--generate`: the manual page, and the completions of the shells.
//!
//! clap_complete's own scripts do not suit a program whose arguments are files: bash's offers options where a
//! file is expected and nothing after `=` (readline splits the word there), and none supports lists of words or
//! optional arguments. There are no scripts for elvish and powershell: a script there would disable the
//! completion of paths unless it brings its own.

mod bash;
mod fish;
mod man;
mod zsh;

use super::opt::{Effect, Opt};
use super::options::options;
use super::words::Words;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Man,
    Bash,
    Zsh,
    Fish,
}

pub(super) const TEXTS: &Words<Text> =
    &[("man", Text::Man), ("bash", Text::Bash), ("zsh", Text::Zsh), ("fish", Text::Fish)];

pub(super) fn render(text: Text) -> String {
    let table: Vec<&Opt> = options().collect();
    match text {
        Text::Man => man::render(),
        Text::Bash => bash::render(&table),
        Text::Zsh => zsh::render(&table),
        Text::Fish => fish::render(&table),
    }
}

/// The need of an option for an argument. An optional argument can only be given after `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Argument {
    None,
    Optional,
    Required,
}

fn argument(option: &Opt) -> Argument {
    match option.effect {
        Effect::Flag(_) | Effect::Print(_) => Argument::None,
        Effect::OptionalValue(_) => Argument::Optional,
        Effect::Value(_) | Effect::Generate(_) => Argument::Required,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use crate::cli::opt::ArgumentKind;
    use std::ffi::OsString;
    use zcp::Console;

    /// The completions offer the words that the option accepts, and a list where it accepts one.
    #[test]
    fn offered_words_are_accepted() {
        let accepts = |argument: &str| {
            let error = cli::parse([argument, "a", "b"].map(OsString::from).to_vec(), &Console::new("zcp")).err();
            !error.is_some_and(|error| String::from_utf8_lossy(&error.text).contains("invalid argument"))
        };
        for option in options() {
            let (words, is_list) = match option.kind {
                ArgumentKind::Word(words) => (words(), false),
                ArgumentKind::List(words) => (words(), true),
                _ => {
                    assert!(argument(option) == Argument::None || accepts(&format!("{}=?", option.spelling())));
                    continue;
                }
            };
            let name = option.spelling();
            assert!(words.len() > 1 && !accepts(&format!("{name}=?")), "{name}");
            assert!(words.iter().all(|word| accepts(&format!("{name}={word}"))), "{name}: {words:?}");
            assert_eq!(accepts(&format!("{name}={0},{0}", words[0])), is_list, "{name}");
        }
    }
}
