//! The committed manual page is what `zcp --generate=man` prints, and says everything.
//! `BLESS=1 cargo test` writes the page.

use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, stats};
use libtest_mimic::Trial;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("generated::man", &[], || is_current("man/zcp.1", "man")),
        trial("generated::man_lint", &[Need::Program("mandoc")], man_lint),
        trial("generated::man_names_every_option", &[], man_names_every_option),
        trial("generated::every_field_is_documented", &[], every_field_is_documented),
    ]
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Checks that a committed file is what `--generate` prints, or writes it if `BLESS` is set.
pub(crate) fn is_current(file: &str, what: &str) {
    let (path, rendered) = (path(file), generated(what));
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &rendered).unwrap();
    }
    let committed = fs::read(&path).unwrap_or_default();
    assert!(committed == rendered.as_bytes(), "{file} is not current: BLESS=1 cargo test writes it anew");
}

/// Returns what `--generate` prints.
fn generated(what: &str) -> String {
    let output = Sandbox::new().zcp(["--generate", what]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the names of all options, as they are typed. fish's completions have a line for each option.
pub(crate) fn option_names() -> Vec<String> {
    let script = generated("fish");
    let mut names = Vec::new();
    for line in script.lines().filter_map(|line| line.strip_prefix("complete -c zcp ")) {
        let words: Vec<_> = line.split_whitespace().collect();
        for pair in words.windows(2).take_while(|pair| !["-d", "-a"].contains(&pair[0])) {
            match pair[0] {
                "-s" => names.push(format!("-{}", pair[1])),
                "-l" => names.push(format!("--{}", pair[1])),
                _ => {}
            }
        }
    }
    assert!(names.len() > 60, "{names:?}");
    names
}

fn man_lint() {
    let sandbox = Sandbox::new();
    let output =
        sandbox.file("zcp.1", generated("man")).command("mandoc").args(["-Tlint", "zcp.1"]).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn man_names_every_option() {
    let page = generated("man").replace("\\-", "-");
    assert!(!page.contains('@'), "a mark of man/zcp.1.in was not replaced");
    for name in option_names() {
        assert!(page.contains(&format!("{name}\\fR")), "{name} is not in the manual page");
    }
}

/// The manual page and the table in docs/formats.md name every key of the JSON.
fn every_field_is_documented() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "content").dir("d");
    // A strategy that is refused (between two file systems), one that is not, and a failure.
    let args = ["--strategy=copy_file_range,read_write", "--stats=json", "a", "/proc/version", "missing", "d"];
    let mut keys = BTreeSet::new();
    collect_keys(&stats(&sandbox.zcp(args).output().unwrap()), &mut keys);
    assert!(["reason", "operation", "why"].iter().all(|key| keys.contains(*key)), "{keys:?}");
    let page = generated("man");
    let table = fs::read_to_string(path("docs/formats.md")).unwrap();
    for key in keys {
        let names_it = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key);
        assert!(names_it(&page), "{key} is not in the manual page");
        assert!(names_it(&table), "{key} is not in docs/formats.md");
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
