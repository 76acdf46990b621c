//! The options: their names, values and help. First cp's, in cp's order, then zcp's own.
//!
//! zcp's own long options are found by their whole name or by an abbreviation that none of cp's
//! options has; so none of them can make an abbreviation of cp's ambiguous.

use super::opt::Opt;
use clap::{Arg, Command, ValueHint};

/// The heading of cp's options.
pub(super) const CP: &str = "Options of cp";
/// The headings of zcp's own.
const COPYING: &str = "Copying (zcp)";
const SAFETY: &str = "Safety (zcp)";
/// That of what is copied.
pub(super) const CHOICE: &str = "What is copied (zcp)";
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
        .args(options().map(Arg::from))
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

/// All options.
pub(super) fn options() -> impl Iterator<Item = &'static Opt> {
    CP_OPTIONS.iter().chain(OWN_OPTIONS)
}

/// In the order of cp's own table, which is the order of the possibilities that are listed for an
/// ambiguous abbreviation.
const CP_OPTIONS: &[Opt] = &[
    Opt::flag("archive", Some('a'), "Same as -dR --preserve=all"),
    Opt::flag("attributes-only", None, "Copy no data, only the attributes"),
    Opt::optional("backup", "CONTROL", "Back up each existing destination: none, numbered, existing, simple")
        .brief("Back up each existing destination"),
    Opt::short_only("b", 'b', "Like --backup, but takes no CONTROL"),
    Opt::flag("copy-contents", None, "Copy the content of special files when recursive"),
    Opt::short_only("d", 'd', "Same as --no-dereference --preserve=links"),
    Opt::flag("debug", None, "Explain how each file is copied; implies -v"),
    Opt::flag("dereference", Some('L'), "Follow all symbolic links in SOURCE"),
    Opt::flag("force", Some('f'), "Remove a destination that cannot be opened, and try again")
        .brief("Replace what cannot be opened"),
    Opt::short_only("H", 'H', "Follow symbolic links that are operands"),
    Opt::flag("interactive", Some('i'), "Ask before overwriting (overrides a previous -n)")
        .brief("Ask before overwriting"),
    Opt::flag("keep-directory-symlink", None, "Follow existing symbolic links to directories in DEST"),
    Opt::flag("link", Some('l'), "Make hard links instead of copying"),
    Opt::flag("no-clobber", Some('n'), "Skip existing files silently (overrides a previous -i)")
        .brief("Skip existing files silently"),
    Opt::flag("no-dereference", Some('P'), "Never follow symbolic links in SOURCE"),
    Opt::value("no-preserve", None, "ATTR_LIST", "Do not preserve these attributes"),
    Opt::flag("no-target-directory", Some('T'), "Treat DEST as a file, never as a directory to copy into")
        .brief("Treat DEST as a file"),
    Opt::flag("one-file-system", Some('x'), "Stay on this file system"),
    Opt::flag("parents", None, "Use the full source name under DIRECTORY").alias("path"),
    Opt::short_only("p", 'p', "Same as --preserve=mode,ownership,timestamps"),
    Opt::optional(
        "preserve",
        "ATTR_LIST",
        "Preserve attributes: mode, ownership, timestamps (these three by default), links, context, xattr, all",
    )
    .brief("Keep attributes: mode, links, xattr, all"),
    Opt::flag("recursive", Some('r'), "Copy directories with all that is in them")
        .short_alias('R')
        .brief("Copy directories"),
    Opt::flag("remove-destination", None, "Remove each existing destination before trying to open it"),
    Opt::value("sparse", None, "WHEN", "Control sparse files: auto (default), always, never")
        .brief("Make holes: auto, always, never"),
    Opt::optional("reflink", "WHEN", "Control clones: auto (default), always (if no WHEN is given), never")
        .brief("Share blocks: auto, always, never"),
    Opt::flag("strip-trailing-slashes", None, "Remove trailing slashes from each SOURCE"),
    Opt::value("suffix", Some('S'), "SUFFIX", "Use SUFFIX for simple backups; implies --backup"),
    Opt::flag("symbolic-link", Some('s'), "Make symbolic links instead of copying"),
    Opt::value("target-directory", Some('t'), "DIRECTORY", "Copy all SOURCEs into DIRECTORY")
        .hint(ValueHint::DirPath),
    Opt::optional(
        "update",
        "UPDATE",
        "Which existing files to replace: all, none, none-fail, older (the default if given bare)",
    )
    .brief("Replace only what is older"),
    Opt::short_only("u", 'u', "Same as --update=older"),
    Opt::flag("verbose", Some('v'), "Name each file as it is copied"),
    Opt::short_only("Z", 'Z', "Set the default SELinux context of the destination"),
    Opt::optional("context", "CTX", "Like -Z, or set the SELinux or SMACK context to CTX"),
    Opt::flag("help", None, "Print all options"),
    Opt::short_only("h", 'h', "Print the most used options"),
    Opt::flag("version", None, "Print the version"),
];

const OWN_OPTIONS: &[Opt] = &[
    Opt::value("jobs", Some('j'), "N", "Copy with N workers; 1 copies in cp's order (default: one a processor)")
        .under(COPYING),
    Opt::value(
        "strategy",
        None,
        "NAME[,NAME...]",
        "Move data only by these paths, in this order: reflink, copy_file_range, splice, sendfile, mmap, \
             read_write; a file that they cannot copy is an error",
    )
    .under(COPYING),
    Opt::value(
        "bwlimit",
        None,
        "RATE",
        "Move at most RATE bytes a second, such as 500K, 20MiB or 1.5GB, by all workers together",
    )
    .under(COPYING),
    Opt::value(
        "cache",
        None,
        "WHAT",
        "What becomes of the page cache: keep (default), or drop what the copy brought in",
    )
    .under(COPYING),
    Opt::flag("atomic", None, "Give each file its name only when it is complete").under(SAFETY),
    Opt::value("exclude", None, "GLOB", "Leave out what matches GLOB, in the syntax of .gitignore").under(CHOICE),
    Opt::value("include", None, "GLOB", "Take in what matches GLOB all the same; the last match decides")
        .under(CHOICE),
    Opt::value("exclude-from", None, "FILE", "Read patterns from FILE, which is like a .gitignore; - for stdin")
        .hint(ValueHint::FilePath)
        .under(CHOICE),
    Opt::flag("gitignore", None, "Leave out what .gitignore files in SOURCE say").under(CHOICE),
    Opt::value(
        "files-from",
        None,
        "FILE",
        "Copy exactly the names that FILE lists, relative to the one SOURCE; - for stdin",
    )
    .hint(ValueHint::FilePath)
    .under(CHOICE),
    Opt::flag("null", Some('0'), "Names in FILE end with a NUL byte, as find -print0 writes them").under(CHOICE),
    Opt::flag("dry-run", None, "Only say what would be done: the lines of -v, or the totals of --stats")
        .under(CHOICE),
    Opt::flag("fsync", None, "Call nothing done before it is on the disk").under(SAFETY),
    Opt::flag("verify", None, "Read each copy back, not from the cache, and compare it with its source")
        .under(SAFETY),
    Opt::flag(
        "resume",
        None,
        "Leave alone what an earlier run with --resume or -p completed, and finish the rest",
    )
    .brief("Finish what an earlier run began")
    .under(SAFETY),
    Opt::optional(
        "stats",
        "FORM",
        "Report afterwards which kernel path moved how many bytes: text (default), json",
    )
    .under(OUTPUT),
    Opt::value("stats-file", None, "FILE", "Write the statistics as JSON to FILE, also if the copy failed")
        .hint(ValueHint::FilePath)
        .under(OUTPUT),
    Opt::optional(
        "progress",
        "WHEN",
        "Show progress on stderr: auto (default: if it is a terminal), always (if no WHEN is given), never",
    )
    .under(OUTPUT),
    Opt::value("plan", None, "JOB", "Copy nothing yet: share the copy out to parts, in the job folder JOB")
        .hint(ValueHint::DirPath)
        .under(MACHINES),
    Opt::value("parts", None, "N", "With --plan: how many parts").under(MACHINES),
    Opt::value(
        "split-over",
        None,
        "SIZE",
        "With --plan: copy files of more than SIZE (K, M, G, T) in byte ranges, by several parts \
             (default: a quarter of a part, at least 16M)",
    )
    .under(MACHINES),
    Opt::value("run", None, "JOB", "Copy one part of JOB, on any machine, any number of times")
        .hint(ValueHint::DirPath)
        .under(MACHINES),
    Opt::value(
        "part",
        None,
        "K",
        "With --run: the part, from 0; auto (default) takes it from Slurm, Kubernetes, GNU parallel or MPI",
    )
    .under(MACHINES),
    Opt::value("finish", None, "JOB", "When all parts of JOB have run: complete its files and directories")
        .hint(ValueHint::DirPath)
        .under(MACHINES),
];
