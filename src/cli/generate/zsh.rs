//! zsh: one specification of `_arguments` for each name of each option.

use super::{Argument, argument};
use crate::cli::opt::{ArgumentKind, Opt};
use std::fmt::Write;

pub(super) fn render(table: &[&Opt]) -> String {
    let mut script =
        "#compdef zcp\n# Completion of zcp for zsh. Rendered from the table of options; do not edit.\n\n\
                      _arguments -s -S : \\\n"
            .to_owned();
    for option in table {
        let help = escape(option.help);
        for short in option.shorts() {
            let (sign, value) = specification(option, "+", "");
            let _ = writeln!(script, "  {} \\", quote(&format!("*-{short}{sign}[{help}]{value}")));
        }
        if let Some(long) = option.long() {
            let (sign, value) = specification(option, "=", "=-");
            let _ = writeln!(script, "  {} \\", quote(&format!("*--{long}{sign}[{help}]{value}")));
        }
    }
    script.push_str("  '*:file:_files'\n");
    script
}

/// Returns the part after an option's name: the sign for the place of its argument, and the argument's kind.
fn specification(option: &Opt, required: &'static str, optional: &'static str) -> (&'static str, String) {
    let of = |colon: &str| format!("{colon}{}:{}", escape(option.value_name), action(option.kind));
    match argument(option) {
        Argument::None => ("", String::new()),
        Argument::Optional => (optional, of("::")),
        Argument::Required => (required, of(":")),
    }
}

fn action(kind: ArgumentKind) -> String {
    match kind {
        ArgumentKind::Word(words) => format!("({})", words().join(" ")),
        ArgumentKind::List(words) => format!("_sequence compadd - {}", words().join(" ")),
        ArgumentKind::File => "_files".to_owned(),
        ArgumentKind::Directory => "_files -/".to_owned(),
        ArgumentKind::Free => " ".to_owned(),
    }
}

fn escape(text: &str) -> String {
    let special = |c: char| if "[]:\\".contains(c) { format!("\\{c}") } else { c.to_string() };
    text.chars().map(special).collect()
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
