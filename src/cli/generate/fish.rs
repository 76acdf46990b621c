//! fish: one line for each option. Without `-r`, fish looks for an argument only after `=`.

use super::{Argument, argument};
use crate::cli::opt::{ArgumentKind, Opt};
use std::fmt::Write;

pub(super) fn render(table: &[&Opt]) -> String {
    let mut script =
        "# Completion of zcp for fish. Rendered from the table of options; do not edit.\n\n".to_owned();
    for option in table {
        script.push_str("complete -c zcp");
        for short in option.shorts() {
            let _ = write!(script, " -s {short}");
        }
        if let Some(long) = option.long() {
            let _ = write!(script, " -l {long}");
        }
        match argument(option) {
            Argument::None => {}
            Argument::Optional => script.push_str(&suggestions(option.kind)),
            Argument::Required => script.push_str(&format!(" -r{}", suggestions(option.kind))),
        }
        let _ = writeln!(script, " -d {}", quote(option.help));
    }
    script
}

fn suggestions(kind: ArgumentKind) -> String {
    match kind {
        ArgumentKind::Word(words) => format!(" -f -a {}", quote(&words().join(" "))),
        ArgumentKind::List(words) => {
            format!(" -f -a {}", quote(&format!("(__fish_append , {})", words().join(" "))))
        }
        ArgumentKind::File => " -F".to_owned(),
        ArgumentKind::Directory => " -f -a '(__fish_complete_directories)'".to_owned(),
        ArgumentKind::Free => " -f".to_owned(),
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}
