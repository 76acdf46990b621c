//! The manual page: man/zcp.1.in with the version, the synopsis and the options filled in.

use crate::cli::options::{command, options};
use clap_mangen::Man;
use std::collections::BTreeSet;
use std::io::Write;

/// Defines an apostrophe for troff.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";
/// A warning for readers of the page's source.
const MADE: &str = ".\\\" Made from man/zcp.1.in and the table of options; do not edit.\n";

pub(super) fn render() -> String {
    let man = Man::new(command().mut_arg("operands", |operands| operands.hide(true)));
    let synopsis = section(&man, Man::render_synopsis_section).replace(".SH SYNOPSIS\n", "");
    let mut text = section(&man, Man::render_options_section);
    for heading in options().map(|option| option.heading).collect::<BTreeSet<_>>() {
        text = text.replace(&format!(".SH \"{}\"", heading.to_uppercase()), &format!(".SS \"{heading}\""));
    }
    // clap_mangen does not print further letters of an option.
    let text =
        text.replace("\\fB\\-r\\fR, \\fB\\-\\-recursive", "\\fB\\-r\\fR, \\fB\\-R\\fR, \\fB\\-\\-recursive");
    let page = include_str!("../../../man/zcp.1.in").replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    let page = page.replace("@SYNOPSIS@\n", &synopsis).replace("@OPTIONS@\n", &text);
    format!("{MADE}{PREAMBLE}{}", wrapped(&page))
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
    // Writing to a Vec does not fail.
    let _ = render(man, &mut text);
    String::from_utf8_lossy(&text).replace(PREAMBLE, "")
}
