//! fish: one line for each option. Without `-r`, fish looks for an argument only after `=`.

use super::{Kind, Known, Takes, Value};
use std::fmt::Write;

pub(super) fn render(table: &[Known]) -> String {
    let mut script =
        "# Completion of zcp for fish. Rendered from the table of options; do not edit.\n\n".to_owned();
    for known in table {
        script.push_str("complete -c zcp");
        for short in &known.shorts {
            let _ = write!(script, " -s {short}");
        }
        if let Some(long) = &known.long {
            let _ = write!(script, " -l {long}");
        }
        match &known.takes {
            Takes::Nothing => {}
            Takes::Optional(value) => script.push_str(&argument(value)),
            Takes::Required(value) => script.push_str(&format!(" -r{}", argument(value))),
        }
        let _ = writeln!(script, " -d {}", quote(&known.help));
    }
    script
}

fn argument(value: &Value) -> String {
    match &value.kind {
        Kind::Word(words) => format!(" -f -a {}", quote(&words.join(" "))),
        Kind::List(words) => format!(" -f -a {}", quote(&format!("(__fish_append , {})", words.join(" ")))),
        Kind::File => " -F".to_owned(),
        Kind::Directory => " -f -a '(__fish_complete_directories)'".to_owned(),
        Kind::Free => " -f".to_owned(),
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}
