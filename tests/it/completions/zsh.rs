//! zsh: one specification of `_arguments` for each name of each option.

use super::{Kind, Known, Takes, Value};
use std::fmt::Write;

pub(super) fn render(table: &[Known]) -> String {
    let mut script =
        "#compdef zcp\n# Completion of zcp for zsh. Rendered from the table of options; do not edit.\n\n\
                      _arguments -s -S : \\\n"
            .to_owned();
    for known in table {
        let help = escape(&known.help);
        for short in &known.shorts {
            let (sign, argument) = argument(&known.takes, "+", "");
            let _ = writeln!(script, "  {} \\", quote(&format!("*-{short}{sign}[{help}]{argument}")));
        }
        if let Some(long) = &known.long {
            let (sign, argument) = argument(&known.takes, "=", "=-");
            let _ = writeln!(script, "  {} \\", quote(&format!("*--{long}{sign}[{help}]{argument}")));
        }
    }
    script.push_str("  '*:file:_files'\n");
    script
}

/// The part after an option's name: the sign for the place of its argument, and the argument's kind.
fn argument(takes: &Takes, required: &'static str, optional: &'static str) -> (&'static str, String) {
    let of = |colon: &str, value: &Value| format!("{colon}{}:{}", escape(&value.name), action(&value.kind));
    match takes {
        Takes::Nothing => ("", String::new()),
        Takes::Optional(value) => (optional, of("::", value)),
        Takes::Required(value) => (required, of(":", value)),
    }
}

fn action(kind: &Kind) -> String {
    match kind {
        Kind::Word(words) => format!("({})", words.join(" ")),
        Kind::List(words) => format!("_sequence compadd - {}", words.join(" ")),
        Kind::File => "_files".to_owned(),
        Kind::Directory => "_files -/".to_owned(),
        Kind::Free => " ".to_owned(),
    }
}

fn escape(text: &str) -> String {
    let special = |c: char| if "[]:\\".contains(c) { format!("\\{c}") } else { c.to_string() };
    text.chars().map(special).collect()
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
