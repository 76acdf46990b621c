//! Renders the texts of `--help`, `-h` and `--version` from the table of options.

use super::options::{command, options};
use clap::Command;
use zcp::internals::terminal_width;

/// The longest line of help in columns. Longer lines are hard to read.
const WIDEST: usize = 100;
const MORE: &str = "These are the most used options. 'zcp --help' lists all options; 'man zcp'
explains them.";
const EXAMPLES: &str = "\
Examples:
  zcp -a project /backup              copy a tree with all its attributes
  zcp -r --gitignore project /backup  leave out what git ignores
  zcp -r --dry-run -u photos /backup  list what is newer than its copy
  zcp -r --stats data /mnt            report which strategy moved how many bytes

The exit status is 0 if everything was copied, and 1 if something was not.

Options in the environment variable ZCP_OPTS are read first, such as
ZCP_OPTS='--jobs=4 --stats'. Options of cp and options that change what is
copied are refused there. Under the name cp, zcp does not read ZCP_OPTS.";

pub(super) fn usage(program: &str) -> String {
    format!(
        "{program} [OPTION]... [-T] SOURCE DEST\n       \
         {program} [OPTION]... SOURCE... DIRECTORY\n       \
         {program} [OPTION]... -t DIRECTORY SOURCE..."
    )
}

/// Renders `--help` with all options.
pub(super) fn long(program: &str) -> String {
    // All groups have one layout: some have names that are too long for the other one.
    let whole = adapted(program).next_line_help(true).mut_args(|arg| match arg.get_long_help().cloned() {
        Some(long) => arg.help(long),
        None => arg,
    });
    whole.after_help(EXAMPLES).render_help().to_string()
}

/// Renders `-h` with the most common options.
pub(super) fn short(program: &str) -> String {
    let is_shown = |id: &str| options().any(|option| option.id == id && option.in_short_help);
    let few = adapted(program).mut_args(|arg| {
        let hidden = !is_shown(arg.get_id().as_str());
        arg.hide(hidden)
    });
    few.after_help(MORE).render_help().to_string()
}

pub(super) fn version(program: &str) -> String {
    format!("{program} (zcp) {}\n", env!("CARGO_PKG_VERSION"))
}

/// Returns the options for the name that zcp was called by (cp has no `-h` and no `-V`), at the width of the terminal.
fn adapted(program: &str) -> Command {
    let command = command();
    let own_letters = options().filter(|option| program == "cp" && option.letter_is_own);
    let command = own_letters.fold(command, |command, option| command.mut_arg(option.id, |arg| arg.short(None)));
    let width = terminal_width(std::io::stdout()).min(WIDEST);
    command.term_width(width).mut_arg("operands", |operands| operands.hide(true)).override_usage(usage(program))
}
