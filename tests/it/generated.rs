//! The manual page is rendered from man/zcp.1.in and the table of options, and compared with the committed page.
//! `BLESS=1 cargo test` writes the page.

use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, stats};
use clap_mangen::Man;
use libtest_mimic::Trial;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Defines an apostrophe for troff.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";
/// A warning for readers of the committed page.
const MADE: &str = ".\\\" Made from man/zcp.1.in and the table of options; do not edit.\n";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("generated::man", &[], || is_current("man/zcp.1", &man())),
        trial("generated::man_lint", &[Need::Program("mandoc")], man_lint),
        trial("generated::man_names_every_option", &[], man_names_every_option),
        trial("generated::every_field_is_documented", &[], every_field_is_documented),
    ]
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Checks that a committed file equals the rendered one, or writes it if `BLESS` is set.
pub(crate) fn is_current(file: &str, rendered: &[u8]) {
    let path = path(file);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, rendered).unwrap();
    }
    let committed = fs::read(&path).unwrap_or_default();
    assert!(committed == rendered, "{file} is not current: BLESS=1 cargo test writes it anew");
}

/// The page of man/zcp.1.in, with version, synopsis and options filled in.
fn man() -> Vec<u8> {
    let command = zcp::cli::command().mut_arg("operands", |operands| operands.hide(true));
    let groups: Vec<_> = command.get_arguments().filter_map(|argument| argument.get_help_heading()).collect();
    let groups: BTreeSet<_> = groups.into_iter().map(str::to_owned).collect();
    let man = Man::new(command);
    let synopsis = section(&man, Man::render_synopsis_section).replace(".SH SYNOPSIS\n", "");
    let mut options = section(&man, Man::render_options_section);
    for group in groups {
        options = options.replace(&format!(".SH \"{}\"", group.to_uppercase()), &format!(".SS \"{group}\""));
    }
    // clap_mangen does not print further letters of an option.
    let options =
        options.replace("\\fB\\-r\\fR, \\fB\\-\\-recursive", "\\fB\\-r\\fR, \\fB\\-R\\fR, \\fB\\-\\-recursive");
    let written = fs::read_to_string(path("man/zcp.1.in")).unwrap();
    let page = written.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    let page = page.replace("@SYNOPSIS@\n", &synopsis).replace("@OPTIONS@\n", &options);
    format!("{MADE}{PREAMBLE}{}", wrapped(&page)).into_bytes()
}

/// Wraps long lines of text at spaces. troff fills them again.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut width = 0;
        for word in line.split(' ') {
            let breaks = !line.starts_with('.') && !word.starts_with(['.', '\'']);
            if breaks && width > 0 && width + word.len() > 78 {
                out.push('\n');
                width = 0;
            } else if width > 0 {
                out.push(' ');
            }
            out.push_str(word);
            width += word.len() + 1;
        }
        out.push('\n');
    }
    out
}

fn section(man: &Man, render: impl Fn(&Man, &mut dyn Write) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    render(man, &mut text).unwrap();
    String::from_utf8(text).unwrap().replace(PREAMBLE, "")
}

fn man_lint() {
    let sandbox = Sandbox::new();
    let output = sandbox.file("zcp.1", man()).command("mandoc").args(["-Tlint", "zcp.1"]).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn man_names_every_option() {
    let page = String::from_utf8(man()).unwrap().replace("\\-", "-");
    assert!(!page.contains('@'), "a mark of man/zcp.1.in was not replaced");
    for option in zcp::cli::command().get_arguments().filter_map(|argument| argument.get_long()) {
        assert!(page.contains(&format!("--{option}\\fR")), "--{option} is not in the manual page");
    }
    for letter in
        zcp::cli::command().get_arguments().filter_map(|arg| arg.get_short_and_visible_aliases()).flatten()
    {
        assert!(page.contains(&format!("\\fB-{letter}\\fR")), "-{letter} is not in the manual page");
    }
}

/// The manual page and the table in docs/statistics.md name every key of the JSON.
fn every_field_is_documented() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "content").dir("d");
    // A strategy that is refused (between two file systems), one that is not, and a failure.
    let args = ["--strategy=copy_file_range,read_write", "--stats=json", "a", "/proc/version", "missing", "d"];
    let mut keys = BTreeSet::new();
    collect_keys(&stats(&sandbox.zcp(args).output().unwrap()), &mut keys);
    assert!(["reason", "operation", "why"].iter().all(|key| keys.contains(*key)), "{keys:?}");
    let page = String::from_utf8(man()).unwrap();
    let table = fs::read_to_string(path("docs/statistics.md")).unwrap();
    for key in keys {
        let names_it = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key);
        assert!(names_it(&page), "{key} is not in the manual page");
        assert!(names_it(&table), "{key} is not in docs/statistics.md");
    }
}

fn collect_keys(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            keys.insert(key.clone());
            // The keys below `calls` are names of system calls.
            if key != "calls" {
                collect_keys(value, keys);
            }
        }),
        Value::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}
