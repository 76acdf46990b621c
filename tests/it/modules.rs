//! Checks the structure of the source: which module may use which, where certain crates are named, the
//! length of files, and the first words of doc comments.

use crate::needs::trial;
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules, from the top downwards, as the table in src/lib.rs has them. Each may use only those on later
/// lines. Modules on one line do not use each other.
const MODULES: [&[&str]; 17] = [
    &["program"],
    &["cli"],
    &["internals"],
    &["job"],
    &["api"],
    &["session"],
    &["engine"],
    &["walk", "worker"],
    &["existing", "temporary"],
    &["decision", "backup", "batch"],
    &["dir"],
    &["context"],
    &["report"],
    &["options"],
    &["transfer", "metadata", "filter"],
    &["error", "path"],
    &["sys"],
];

/// Crates, and the files and directories of src that may name them.
const NAMED: [(&str, &[&str]); 8] = [
    ("clap", &["cli/"]),
    ("clap_mangen", &["cli/generate/man.rs"]),
    ("strsim", &["cli/words.rs"]),
    ("indicatif", &["report/bar.rs"]),
    ("rustix", &["sys/", "transfer/", "metadata/", "report/output.rs"]),
    ("walkdir", &["walk/estimate.rs"]),
    ("filetime", &["metadata/times.rs"]),
    ("unsafe", &["sys/raw.rs", "transfer/strategies/mmap.rs"]),
];

const MOST_LINES: usize = 800;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("modules::order", &[], order),
        trial("modules::table", &[], table),
        trial("modules::all_are_named", &[], all_are_named),
        trial("modules::crates", &[], crates),
        trial("modules::lengths", &[], lengths),
        trial("modules::headings", &[], headings),
        trial("modules::doc_comments", &[], doc_comments),
        trial("modules::type_names", &[], type_names),
    ]
}

/// The files of src, by their paths in it.
fn sources() -> BTreeMap<String, String> {
    files_in("src")
}

fn files_in(dir: &str) -> BTreeMap<String, String> {
    fn read(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() { read(&entry, files) } else { files.push(entry) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut files = Vec::new();
    read(&root, &mut files);
    let named = |path: PathBuf| {
        (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
    };
    files.into_iter().map(named).collect()
}

/// The lines without comments, because comments may name anything.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split("//").next().unwrap_or_default())
}

fn module_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

fn line_of(module: &str) -> Option<usize> {
    MODULES.iter().position(|line| line.contains(&module))
}

/// The names after each `crate::`, and each `zcp::` of the program, including those of a group in braces.
fn modules_used(text: &str) -> Vec<String> {
    let text: String = code(text).collect::<Vec<_>>().join("\n").replace("zcp::", "crate::");
    let mut modules = Vec::new();
    for rest in text.split("crate::").skip(1) {
        let names = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap().split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        let words =
            names.iter().map(|name| name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap());
        modules.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
    }
    modules
}

fn order() {
    let mut wrong = Vec::new();
    for (file, text) in sources().iter().filter(|(file, _)| !matches!(file.as_str(), "main.rs" | "lib.rs")) {
        let from = module_of(file);
        for to in modules_used(text).iter().filter(|to| *to != from) {
            // A type at the root of the crate belongs to its public interface.
            let module = if to.starts_with(char::is_uppercase) { "api" } else { to };
            if line_of(from) >= line_of(module) {
                wrong.push(format!("{file} uses {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The documentation in src/lib.rs shows the order that is checked here.
fn table() {
    let sources = sources();
    let mut rows = Vec::new();
    for row in sources["lib.rs"].lines().filter_map(|line| line.strip_prefix("//! | `")) {
        let names = row.split(" |").next().unwrap();
        rows.push(names.split(" · ").map(|name| name.trim_matches('`').to_owned()).collect::<Vec<_>>());
    }
    let held: Vec<Vec<String>> =
        MODULES.iter().map(|line| line.iter().map(|module| (*module).to_owned()).collect()).collect();
    assert_eq!(rows, held);
}

/// No type name has two meanings in the crate.
fn type_names() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in sources() {
        // Types inside an implementation of a trait or a function are indented.
        let lines = code(&text).filter(|line| !line.starts_with(' '));
        for line in lines {
            let words: Vec<_> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let kinds = ["struct", "enum", "trait", "type", "union"];
            let Some(kind) = words.iter().position(|word| kinds.contains(word)) else { continue };
            let modifiers = ["pub", "crate", "super", "in", "unsafe", ""];
            if words[..kind].iter().all(|word| modifiers.contains(word)) {
                places.entry(words[kind + 1].to_owned()).or_default().push(file.clone());
            }
        }
    }
    assert!(places.len() > 150, "{places:?}");
    places.retain(|_, files| files.len() > 1);
    assert!(places.is_empty(), "defined more than once: {places:#?}");
}

fn all_are_named() {
    for file in sources().keys().filter(|file| !matches!(file.as_str(), "main.rs" | "lib.rs")) {
        assert!(line_of(module_of(file)).is_some(), "{file} belongs to no module of the table");
    }
}

fn crates() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        for (name, places) in NAMED {
            let is_word =
                |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
            let mut named = code(&text).filter(|line| is_word(line));
            if let Some(line) = named.next().filter(|_| !places.iter().any(|place| file.starts_with(place))) {
                wrong.push(format!("{file} names {name}: {line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn lengths() {
    let too_long = |(file, text): (String, String)| {
        let lines = text.lines().count();
        (lines > MOST_LINES).then(|| format!("{file} has {lines} lines"))
    };
    let wrong: Vec<_> = sources().into_iter().filter_map(too_long).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn headings() {
    let wrong: Vec<_> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(file, _)| file).collect();
    assert!(wrong.is_empty(), "these do not begin by saying what they are for: {wrong:#?}");
}

/// A doc comment begins with its subject, not with a word that leaves it open.
fn doc_comments() {
    let vague = ["What ", "The same ", "The like ", "Nobody "];
    let is_doc = |line: &str| line.starts_with("///") || line.starts_with("//!");
    let mut wrong = Vec::new();
    for (file, text) in files_in("src").into_iter().chain(files_in("tests/it")) {
        let mut before = "";
        for line in text.lines().map(str::trim_start) {
            let words = line.trim_start_matches(['/', '!', ' ']);
            if is_doc(line) && !is_doc(before) && vague.iter().any(|start| words.starts_with(start)) {
                wrong.push(format!("{file}: {line}"));
            }
            before = line;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
