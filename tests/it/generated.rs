//! The manual page's options are rendered from the definition of the options, and the page is compared
//! with the committed file. `BLESS=1 cargo test` writes it anew.

use crate::needs::{Need, trial};
use crate::sandbox::Sandbox;
use clap_mangen::Man;
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Defines an apostrophe for troff.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";
/// Of the last change to the manual page.
const DATE: &str = "2026-11-23";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("generated::man", &[], || is_current("man/zcp.1", &man())),
        trial("generated::man_lint", &[Need::Program("mandoc")], man_lint),
        trial("generated::man_names_every_option", &[], man_names_every_option),
    ]
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Whether a committed file is what is rendered today.
pub(crate) fn is_current(file: &str, rendered: &[u8]) {
    let path = path(file);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, rendered).unwrap();
    }
    let committed = fs::read(&path).unwrap_or_default();
    assert!(committed == rendered, "{file} is not current: BLESS=1 cargo test writes it anew");
}

/// clap's page, with the groups of options as subsections of one section.
fn man() -> Vec<u8> {
    let command = zcp::cli::command().mut_arg("operands", |operands| operands.hide(true));
    let groups: Vec<_> = command.get_arguments().filter_map(|argument| argument.get_help_heading()).collect();
    let groups: BTreeSet<_> = groups.into_iter().map(str::to_owned).collect();
    let man = Man::new(command);
    let sections = [Man::render_name_section, Man::render_synopsis_section, Man::render_description_section];
    // What the page begins with is repeated by each section; an empty date would swallow the next word.
    let start = format!("{PREAMBLE}.TH ZCP 1 {DATE} \"zcp {}\" \"User Commands\"\n", env!("CARGO_PKG_VERSION"));
    let mut page: String =
        sections.into_iter().map(|render| section(&man, render)).fold(start, |page, s| page + &s);
    let mut options = section(&man, Man::render_options_section);
    for group in groups {
        options = options.replace(&format!(".SH \"{}\"", group.to_uppercase()), &format!(".SS \"{group}\""));
    }
    page += ".SH OPTIONS\n";
    page += &options;
    page.into_bytes()
}

fn section(man: &Man, render: impl Fn(&Man, &mut dyn Write) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    render(man, &mut text).unwrap();
    String::from_utf8(text).unwrap().replace(PREAMBLE, "")
}

fn man_lint() {
    let sandbox = Sandbox::new();
    let output =
        sandbox.file("zcp.1", man()).command("mandoc").args(["-Tlint", "-Wwarning", "zcp.1"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn man_names_every_option() {
    let page = String::from_utf8(man()).unwrap().replace("\\-", "-");
    for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] {
        assert!(page.contains(&format!(".SH {section}\n")), "no section {section}");
    }
    for option in zcp::cli::command().get_arguments().filter_map(|argument| argument.get_long()) {
        assert!(page.contains(&format!("--{option}\\fR")), "--{option} is not in the manual page");
    }
}
