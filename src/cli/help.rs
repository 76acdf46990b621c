//! `--help`, `-h` and `--version`: what is shown of the definition of the options, and how wide.

use super::definition::command_as;
use crate::sys::proc;

/// The text that `--help`, `-h` or `--version` asks for.
/// Its lines fit the terminal, up to where they would be long to read.
pub(super) fn text_for(id: &str, program: &str) -> Option<String> {
    let command = || {
        let width = proc::terminal_width(std::io::stdout()).min(WIDEST);
        let command =
            command_as(program == "cp").term_width(width).mut_arg("operands", |operands| operands.hide(true));
        command.override_usage(format!(
            "{program} [OPTION]... [-T] SOURCE DEST\n       \
             {program} [OPTION]... SOURCE... DIRECTORY\n       \
             {program} [OPTION]... -t DIRECTORY SOURCE..."
        ))
    };
    match id {
        "help" => {
            // All groups in one layout: some would be too wide for another.
            let whole = command().next_line_help(true).mut_args(|arg| match arg.get_long_help().cloned() {
                Some(long) => arg.help(long),
                None => arg,
            });
            Some(whole.after_help(EXAMPLES).render_help().to_string())
        }
        "h" => {
            let short = command().mut_args(|arg| {
                let shown = IN_SHORT_HELP.contains(&arg.get_id().as_str());
                arg.hide(!shown)
            });
            Some(short.after_help(MORE).render_help().to_string())
        }
        "version" => Some(format!("{program} (zcp) {}\n", env!("CARGO_PKG_VERSION"))),
        _ => None,
    }
}

/// The longest line of help, in columns.
const WIDEST: usize = 100;
/// What most people need, for `-h`.
/// How to use -t is in the usage above them.
const IN_SHORT_HELP: [&str; 26] = [
    "archive",
    "backup",
    "force",
    "interactive",
    "dereference",
    "no-clobber",
    "no-target-directory",
    "one-file-system",
    "parents",
    "preserve",
    "recursive",
    "reflink",
    "sparse",
    "update",
    "verbose",
    "help",
    "jobs",
    "bwlimit",
    "exclude",
    "gitignore",
    "dry-run",
    "atomic",
    "resume",
    "stats",
    "progress",
    "version",
];
const MORE: &str = "These are the most used options. 'zcp --help' lists all, 'man zcp' explains
them.";
const EXAMPLES: &str = "\
Examples:
  zcp -a project /backup              all of it, with all its attributes
  zcp -r --gitignore project /backup  without what git ignores
  zcp -r --dry-run -u photos /backup  what would be copied, because it is newer
  zcp -r --stats data /mnt            and which kernel path moved how many bytes

Options in the environment variable ZCP_OPTS are read first, such as
ZCP_OPTS='--jobs=4 --stats'; those that say what is copied are refused there.
Under the name cp it is not read.";
