//! The documents name only files and options that exist, and one date of the release.

use crate::generated::option_names;
use crate::needs::trial;
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Options in the documents that belong to other programs.
const OTHERS: [&str; 3] = ["install", "array", "wrap"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("documents::links_lead_somewhere", &[], links_lead_somewhere),
        trial("documents::options_exist", &[], options_exist),
        trial("documents::one_date", &[], one_date),
    ]
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents of the project, with their paths.
fn documents() -> Vec<(PathBuf, String)> {
    let within = |dir: &str| fs::read_dir(root().join(dir)).unwrap().map(|entry| entry.unwrap().path());
    let all = within(".").chain(within("docs")).filter(|path| path.extension().is_some_and(|e| e == "md"));
    all.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The anchors that GitHub makes from headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    headings.map(anchor).collect()
}

fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let text = fs::read_to_string(&target).unwrap_or_default();
            if !target.exists() || !(anchor.is_empty() || anchors(&text).contains(anchor)) {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Checks the options in the commands of the documents, and everywhere in the manual page.
fn options_exist() {
    let names = option_names();
    let known: BTreeSet<_> = names.iter().filter_map(|name| name.strip_prefix("--")).collect();
    let mut used = BTreeSet::new();
    for (_, text) in documents() {
        let commands = text.lines().filter(|line| line.starts_with("zcp ") || line.contains("| zcp "));
        commands.for_each(|line| used.extend(options(line.split(" #").next().unwrap())));
    }
    assert!(used.len() > 5, "the documents hold commands: {used:?}");
    used.extend(options(&fs::read_to_string(root().join("man/zcp.1")).unwrap().replace("\\-", "-")));
    let wrong: Vec<_> =
        used.iter().filter(|name| !known.contains(name.as_str()) && !OTHERS.contains(&name.as_str())).collect();
    assert!(wrong.is_empty(), "there are no such options: {wrong:?}");
}

fn options(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter_map(|word| word.strip_prefix("--")).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The changelog, the manual page and the Debian package are of the same day.
fn one_date() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let after = |text: &str, start: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(start)).unwrap();
        line.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let heading = format!("## [{}] - ", env!("CARGO_PKG_VERSION"));
    let day = after(&read("CHANGELOG.md"), &heading).remove(0);
    assert_eq!(after(&read("man/zcp.1"), ".TH ZCP 1 ").remove(0), day);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let date = after(&read("release/debian/changelog"), " -- The zcp developers <zcp@localhost>  ");
    let month = 1 + months.iter().position(|month| *month == date[2]).unwrap();
    assert_eq!(format!("{}-{month:02}-{:0>2}", date[3], date[1]), day);
}
