//! The options: their names, values and help. First cp's, in cp's order, then zcp's own.
//!
//! zcp's own long options are found by their whole name or by an abbreviation that none of cp's
//! options has; so none of them can make an abbreviation of cp's ambiguous.

use clap::{Arg, ArgAction, Command};

/// The heading of cp's options.
pub(super) const CP: &str = "Options of cp";
/// The headings of zcp's own.
const COPYING: &str = "Copying (zcp)";
const SAFETY: &str = "Safety (zcp)";
const CHOICE: &str = "What is copied (zcp)";
const OUTPUT: &str = "Output (zcp)";
const MACHINES: &str = "Many machines (zcp)";

/// Options of the program, for help, manual page and completions.
pub fn command() -> Command {
    Command::new("zcp")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Copy SOURCE to DEST, or several SOURCEs to DIRECTORY, by the fastest path the kernel offers")
        .override_usage(
            "zcp [OPTION]... [-T] SOURCE DEST\n       \
             zcp [OPTION]... SOURCE... DIRECTORY\n       \
             zcp [OPTION]... -t DIRECTORY SOURCE...",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(cp_options())
        .args(own_options())
        .arg(
            Arg::new("operands")
                .value_name("FILE")
                .num_args(0..)
                .value_hint(clap::ValueHint::AnyPath)
                .value_parser(clap::value_parser!(std::ffi::OsString)),
        )
}

/// The options under the name that the program was called by: cp has no `-h`.
pub(super) fn command_as(called_cp: bool) -> Command {
    let command = command();
    if called_cp { command.mut_arg("h", |arg| arg.short(None)) } else { command }
}

/// Whether an option is about how it is copied, or reported, and not about what.
pub(super) fn says_how(command: &Command, id: &str) -> bool {
    let heading = command.get_arguments().find(|arg| arg.get_id() == id).and_then(Arg::get_help_heading);
    heading.is_some_and(|heading| ![CP, CHOICE].contains(&heading))
}

/// An option as one types it.
pub(super) fn spelling(command: &Command, id: &str) -> String {
    match command.get_arguments().find(|arg| arg.get_id() == id).and_then(Arg::get_long) {
        Some(long) => format!("--{long}"),
        None => format!("-{id}"),
    }
}

fn flag(id: &'static str, short: Option<char>, help: &'static str) -> Arg {
    Arg::new(id).long(id).short(short).help(help).action(ArgAction::SetTrue).help_heading(CP)
}

fn value(id: &'static str, short: Option<char>, name: &'static str, help: &'static str) -> Arg {
    let parser = clap::value_parser!(std::ffi::OsString);
    Arg::new(id)
        .long(id)
        .short(short)
        .value_name(name)
        .help(help)
        .num_args(1)
        .value_parser(parser)
        .help_heading(CP)
}

fn optional(id: &'static str, name: &'static str, help: &'static str) -> Arg {
    value(id, None, name, help).num_args(0..=1).require_equals(true)
}

fn short_only(id: &'static str, short: char, help: &'static str) -> Arg {
    Arg::new(id).short(short).help(help).action(ArgAction::SetTrue).help_heading(CP)
}

/// A help of few words for `-h` and completions, where what there is would not fit beside the option.
fn brief(arg: Arg, help: &'static str) -> Arg {
    match arg.get_help().cloned() {
        Some(long) => arg.help(help).long_help(long),
        None => arg.help(help),
    }
}

/// In the order of cp's own table, which is the order of the possibilities that are listed for an
/// ambiguous abbreviation.
fn cp_options() -> Vec<Arg> {
    vec![
        flag("archive", Some('a'), "Same as -dR --preserve=all"),
        flag("attributes-only", None, "Copy no data, only the attributes"),
        brief(
            optional("backup", "CONTROL", "Back up each existing destination: none, numbered, existing, simple"),
            "Back up each existing destination",
        ),
        short_only("b", 'b', "Like --backup, but takes no CONTROL"),
        flag("copy-contents", None, "Copy the content of special files when recursive"),
        short_only("d", 'd', "Same as --no-dereference --preserve=links"),
        flag("debug", None, "Explain how each file is copied; implies -v"),
        flag("dereference", Some('L'), "Follow all symbolic links in SOURCE"),
        brief(
            flag("force", Some('f'), "Remove a destination that cannot be opened, and try again"),
            "Replace what cannot be opened",
        ),
        short_only("H", 'H', "Follow symbolic links that are operands"),
        brief(
            flag("interactive", Some('i'), "Ask before overwriting (overrides a previous -n)"),
            "Ask before overwriting",
        ),
        flag("keep-directory-symlink", None, "Follow existing symbolic links to directories in DEST"),
        flag("link", Some('l'), "Make hard links instead of copying"),
        brief(
            flag("no-clobber", Some('n'), "Skip existing files silently (overrides a previous -i)"),
            "Skip existing files silently",
        ),
        flag("no-dereference", Some('P'), "Never follow symbolic links in SOURCE"),
        value("no-preserve", None, "ATTR_LIST", "Do not preserve these attributes"),
        brief(
            flag("no-target-directory", Some('T'), "Treat DEST as a file, never as a directory to copy into"),
            "Treat DEST as a file",
        ),
        flag("one-file-system", Some('x'), "Stay on this file system"),
        flag("parents", None, "Use the full source name under DIRECTORY").alias("path"),
        short_only("p", 'p', "Same as --preserve=mode,ownership,timestamps"),
        brief(
            optional(
                "preserve",
                "ATTR_LIST",
                "Preserve attributes: mode, ownership, timestamps (these three by default), links, context, xattr, all",
            ),
            "Keep attributes: mode, links, xattr, all",
        ),
        brief(
            flag("recursive", Some('r'), "Copy directories with all that is in them").visible_short_alias('R'),
            "Copy directories",
        ),
        flag("remove-destination", None, "Remove each existing destination before trying to open it"),
        brief(
            value("sparse", None, "WHEN", "Control sparse files: auto (default), always, never"),
            "Make holes: auto, always, never",
        ),
        brief(
            optional("reflink", "WHEN", "Control clones: auto (default), always (if no WHEN is given), never"),
            "Share blocks: auto, always, never",
        ),
        flag("strip-trailing-slashes", None, "Remove trailing slashes from each SOURCE"),
        value("suffix", Some('S'), "SUFFIX", "Use SUFFIX for simple backups; implies --backup"),
        flag("symbolic-link", Some('s'), "Make symbolic links instead of copying"),
        value("target-directory", Some('t'), "DIRECTORY", "Copy all SOURCEs into DIRECTORY")
            .value_hint(clap::ValueHint::DirPath),
        brief(
            optional(
                "update",
                "UPDATE",
                "Which existing files to replace: all, none, none-fail, older (the default if given bare)",
            ),
            "Replace only what is older",
        ),
        short_only("u", 'u', "Same as --update=older"),
        flag("verbose", Some('v'), "Name each file as it is copied"),
        short_only("Z", 'Z', "Set the default SELinux context of the destination"),
        optional("context", "CTX", "Like -Z, or set the SELinux or SMACK context to CTX"),
        flag("help", None, "Print all options"),
        short_only("h", 'h', "Print the most used options"),
        flag("version", None, "Print the version"),
    ]
}

fn own_options() -> Vec<Arg> {
    vec![
        value("jobs", Some('j'), "N", "Copy with N workers; 1 copies in cp's order (default: one a processor)")
            .help_heading(COPYING),
        value(
            "strategy",
            None,
            "NAME[,NAME...]",
            "Move data only by these paths, in this order: reflink, copy_file_range, splice, sendfile, mmap, \
             read_write; a file that they cannot copy is an error",
        )
        .help_heading(COPYING),
        value(
            "bwlimit",
            None,
            "RATE",
            "Move at most RATE bytes a second, such as 500K, 20MiB or 1.5GB, by all workers together",
        )
        .help_heading(COPYING),
        value(
            "cache",
            None,
            "WHAT",
            "What becomes of the page cache: keep (default), or drop what the copy brought in",
        )
        .help_heading(COPYING),
        flag("nice", None, "Give way to others: lowest priority for processors and disks").help_heading(COPYING),
        flag("atomic", None, "Give each file its name only when it is complete").help_heading(SAFETY),
        value("exclude", None, "GLOB", "Leave out what matches GLOB, in the syntax of .gitignore")
            .help_heading(CHOICE),
        value("include", None, "GLOB", "Take in what matches GLOB all the same; the last match decides")
            .help_heading(CHOICE),
        value("exclude-from", None, "FILE", "Read patterns from FILE, which is like a .gitignore; - for stdin")
            .value_hint(clap::ValueHint::FilePath)
            .help_heading(CHOICE),
        flag("gitignore", None, "Leave out what .gitignore files in SOURCE say").help_heading(CHOICE),
        value(
            "files-from",
            None,
            "FILE",
            "Copy exactly the names that FILE lists, relative to the one SOURCE; - for stdin",
        )
        .value_hint(clap::ValueHint::FilePath)
        .help_heading(CHOICE),
        flag("null", Some('0'), "Names in FILE end with a NUL byte, as find -print0 writes them")
            .help_heading(CHOICE),
        flag("dry-run", None, "Only say what would be done: the lines of -v, or the totals of --stats")
            .help_heading(CHOICE),
        flag("fsync", None, "Call nothing done before it is on the disk").help_heading(SAFETY),
        flag("verify", None, "Read each copy back, not from the cache, and compare it with its source")
            .help_heading(SAFETY),
        brief(
            flag(
                "resume",
                None,
                "Leave alone what an earlier run with --resume or -p completed, and finish the rest",
            ),
            "Finish what an earlier run began",
        )
        .help_heading(SAFETY),
        optional(
            "stats",
            "FORM",
            "Report afterwards which kernel path moved how many bytes: text (default), json",
        )
        .help_heading(OUTPUT),
        value("stats-file", None, "FILE", "Write the statistics as JSON to FILE, also if the copy failed")
            .value_hint(clap::ValueHint::FilePath)
            .help_heading(OUTPUT),
        optional(
            "progress",
            "WHEN",
            "Show progress on stderr: auto (default: if it is a terminal), always (if no WHEN is given), never",
        )
        .help_heading(OUTPUT),
        value("plan", None, "JOB", "Copy nothing yet: share the copy out to parts, in the job folder JOB")
            .value_hint(clap::ValueHint::DirPath)
            .help_heading(MACHINES),
        value("parts", None, "N", "With --plan: how many parts").help_heading(MACHINES),
        value(
            "split-over",
            None,
            "SIZE",
            "With --plan: copy files of more than SIZE (K, M, G, T) in byte ranges, by several parts \
             (default: a quarter of a part, at least 16M)",
        )
        .help_heading(MACHINES),
        value("run", None, "JOB", "Copy one part of JOB, on any machine, any number of times")
            .value_hint(clap::ValueHint::DirPath)
            .help_heading(MACHINES),
        value(
            "part",
            None,
            "K",
            "With --run: the part, from 0; auto (default) takes it from Slurm, Kubernetes, GNU parallel or MPI",
        )
        .help_heading(MACHINES),
        value("finish", None, "JOB", "When all parts of JOB have run: complete its files and directories")
            .value_hint(clap::ValueHint::DirPath)
            .help_heading(MACHINES),
    ]
}
