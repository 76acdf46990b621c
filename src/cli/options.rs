//! The options of the command line: ONE table, a row an option, with its names, help, heading and effect.
//!
//! cp's options come first, then zcp's own. A long option of zcp's own is found by its whole name or by an
//! abbreviation that no option of cp's has, so none of them makes an abbreviation of cp's ambiguous.

use super::command_line::{Asking, CommandLine, Update};
use super::opt::{Opt, Scope};
use super::values::{self, REFLINK, SPARSE};
use super::{StatsForm, UsageError, help, words};
use crate::{Cloning, Dereference, When};
use clap::{Arg, Command, ValueHint};
use std::ffi::OsStr;

/// The heading of cp's options.
pub(super) const CP: &str = "Options of cp";
// The headings of zcp's own.
const COPYING: &str = "Copying (zcp)";
const SAFETY: &str = "Safety (zcp)";
const CHOICE: &str = "What is copied (zcp)";
const OUTPUT: &str = "Output (zcp)";
const MACHINES: &str = "Many machines (zcp)";

/// The options as clap has them, for help, the manual page and the completions.
pub fn command() -> Command {
    Command::new("zcp")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Copy SOURCE to DEST, or several SOURCEs to DIRECTORY, by the fastest strategy the kernel offers")
        .override_usage(help::usage("zcp"))
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

/// All options.
pub(super) fn options() -> impl Iterator<Item = &'static Opt> {
    CP_OPTIONS.iter().chain(OWN_OPTIONS)
}

/// In the order of cp's own table, in which cp lists the possibilities for an ambiguous abbreviation.
const CP_OPTIONS: &[Opt] = &[
    Opt::flag("archive", Some('a'), "Same as -dR --preserve=all", |line| {
        line.copy.archive();
    })
    .common(),
    Opt::flag("attributes-only", None, "Copy no data, only the attributes", |line| {
        line.copy.attributes_only(true);
    }),
    Opt::optional_value(
        "backup",
        "CONTROL",
        "Back up each existing destination: none, numbered, existing, simple",
        |line, control| {
            line.back_up(control);
            Ok(())
        },
    )
    .brief("Back up each existing destination"),
    Opt::flag("b", None, "Like --backup, but takes no CONTROL", |line| line.back_up(None)).letter('b'),
    Opt::flag("copy-contents", None, "Copy the content of special files when recursive", |line| {
        line.copy.copy_contents(true);
    }),
    Opt::flag("d", None, "Same as --no-dereference --preserve=links", |line| {
        line.copy.preserve([crate::Attribute::Links]).dereference(Dereference::Never);
    })
    .letter('d'),
    Opt::flag("debug", None, "Explain how each file is copied; implies -v", |line| {
        line.verbose = true;
        line.copy.debug(true);
    })
    .scope(Scope::Run),
    Opt::flag("dereference", Some('L'), "Follow all symbolic links in SOURCE", |line| {
        line.copy.dereference(Dereference::Always);
    })
    .common(),
    Opt::flag("force", Some('f'), "Remove a destination that cannot be opened, and try again", |line| {
        line.copy.force(true);
    })
    .brief("Replace what cannot be opened"),
    Opt::flag("H", None, "Follow symbolic links that are operands", |line| {
        line.copy.dereference(Dereference::CommandLine);
    })
    .letter('H'),
    Opt::flag("interactive", Some('i'), "Ask before overwriting (overrides a previous -n)", |line| {
        line.asking = Asking::Yes;
    })
    .brief("Ask before overwriting"),
    Opt::flag("keep-directory-symlink", None, "Follow existing symbolic links to directories in DEST", |line| {
        line.copy.keep_directory_symlink(true);
    }),
    Opt::flag("link", Some('l'), "Make hard links instead of copying", |line| line.hard_links = true),
    Opt::flag("no-clobber", Some('n'), "Skip existing files silently (overrides a previous -i)", |line| {
        line.asking = Asking::NoClobber;
    })
    .brief("Skip existing files silently"),
    Opt::flag("no-dereference", Some('P'), "Never follow symbolic links in SOURCE", |line| {
        line.copy.dereference(Dereference::Never);
    }),
    Opt::value("no-preserve", None, "ATTR_LIST", "Do not preserve these attributes", |line, list| {
        line.copy.no_preserve(values::attributes("--no-preserve", list)?);
        Ok(())
    }),
    Opt::flag(
        "no-target-directory",
        Some('T'),
        "Treat DEST as a file, never as a directory to copy into",
        |line| line.no_target_directory = true,
    )
    .scope(Scope::Operand)
    .brief("Treat DEST as a file"),
    Opt::flag("one-file-system", Some('x'), "Stay on this file system", |line| {
        line.copy.one_file_system(true);
    })
    .common(),
    Opt::flag("parents", None, "Use the full source name under DIRECTORY", |line| {
        line.copy.parents(true);
    })
    .alias("path")
    .common(),
    Opt::flag("p", None, "Same as --preserve=mode,ownership,timestamps", |line| {
        line.copy.preserve(values::USUAL_ATTRIBUTES);
    })
    .letter('p'),
    Opt::optional_value(
        "preserve",
        "ATTR_LIST",
        "Preserve attributes: mode, ownership, timestamps (these three by default), links, context, xattr, all",
        |line, list| {
            match list {
                Some(list) => line.copy.preserve(values::attributes("--preserve", list)?),
                None => line.copy.preserve(values::USUAL_ATTRIBUTES),
            };
            Ok(())
        },
    )
    .brief("Keep attributes: mode, links, xattr, all"),
    Opt::flag("recursive", Some('r'), "Copy directories with all that is in them", |line| {
        line.copy.recursive(true);
    })
    .short_alias('R')
    .brief("Copy directories"),
    Opt::flag("remove-destination", None, "Remove each existing destination before trying to open it", |line| {
        line.copy.remove_destination(true);
    }),
    Opt::value("sparse", None, "WHEN", "Control sparse files: auto (default), always, never", |line, when| {
        line.copy.sparse(words::find("--sparse", when, SPARSE)?);
        Ok(())
    })
    .brief("Make holes: auto, always, never"),
    Opt::optional_value(
        "reflink",
        "WHEN",
        "Control clones: auto (default), always (if no WHEN is given), never",
        |line, when| {
            let when = when.map_or(Ok(Cloning::Require), |word| words::find("--reflink", word, REFLINK))?;
            line.copy.reflink(when);
            Ok(())
        },
    )
    .brief("Share blocks: auto, always, never"),
    Opt::flag("strip-trailing-slashes", None, "Remove trailing slashes from each SOURCE", |line| {
        line.copy.strip_trailing_slashes(true);
    }),
    Opt::value(
        "suffix",
        Some('S'),
        "SUFFIX",
        "Use SUFFIX for simple backups; implies --backup",
        |line, suffix| {
            line.suffix = Some(suffix.to_owned());
            line.back_up(None);
            Ok(())
        },
    ),
    Opt::flag("symbolic-link", Some('s'), "Make symbolic links instead of copying", |line| {
        line.symbolic_links = true;
    }),
    Opt::value(
        "target-directory",
        Some('t'),
        "DIRECTORY",
        "Copy all SOURCEs into DIRECTORY",
        CommandLine::set_target_directory,
    )
    .scope(Scope::Operand)
    .hint(ValueHint::DirPath),
    Opt::optional_value(
        "update",
        "UPDATE",
        "Which existing files to replace: all, none, none-fail, older (the default if given bare)",
        |line, which| {
            line.update = which.map_or(Ok(Update::Older), |word| words::find("--update", word, values::UPDATE))?;
            Ok(())
        },
    )
    .brief("Replace only what is older"),
    Opt::flag("u", None, "Same as --update=older", |line| line.update = Update::Older).letter('u'),
    Opt::flag("verbose", Some('v'), "Name each file as it is copied", |line| line.verbose = true)
        .scope(Scope::Run)
        .common(),
    Opt::flag("Z", None, "Set the default SELinux context of the destination", |line| {
        line.copy.default_context();
    })
    .letter('Z'),
    Opt::optional_value(
        "context",
        "CTX",
        "Like -Z, or set the SELinux or SMACK context to CTX",
        |line, context| {
            match context {
                Some(context) => line.copy.context(context),
                None => line.copy.default_context(),
            };
            Ok(())
        },
    ),
    Opt::print("help", "Print all options", help::long).common(),
    Opt::print("h", "Print the most used options", help::short).letter('h'),
    Opt::print("version", "Print the version", help::version).common(),
];

const OWN_OPTIONS: &[Opt] = &[
    Opt::value(
        "jobs",
        Some('j'),
        "N",
        "Copy with N workers; 1 copies in cp's order (default: one a processor)",
        |line, workers| {
            line.copy.jobs(values::jobs(workers)?);
            Ok(())
        },
    )
    .under(COPYING, Scope::Run)
    .common(),
    Opt::value(
        "strategy",
        None,
        "NAME[,NAME...]",
        "Move data only by these strategies, in this order: reflink, copy_file_range, splice, sendfile, mmap, \
             read_write; a file that they cannot copy is an error",
        |line, list| {
            line.copy.strategies(values::strategies(list)?);
            Ok(())
        },
    )
    .under(COPYING, Scope::How),
    Opt::value(
        "bwlimit",
        None,
        "RATE",
        "Move at most RATE bytes a second, such as 500K, 20MiB or 1.5GB, by all workers together",
        |line, rate| {
            line.copy.bandwidth_limit(values::rate(rate)?);
            Ok(())
        },
    )
    .under(COPYING, Scope::Run)
    .common(),
    Opt::value(
        "cache",
        None,
        "WHAT",
        "What becomes of the page cache: keep (default), or drop what the copy brought in",
        |line, what| {
            line.copy.drop_cache(words::find("--cache", what, values::CACHE)?);
            Ok(())
        },
    )
    .under(COPYING, Scope::Run),
    Opt::flag("atomic", None, "Give each file its name only when it is complete", |line| {
        line.copy.atomic(true);
    })
    .under(SAFETY, Scope::How)
    .common(),
    Opt::value(
        "exclude",
        None,
        "GLOB",
        "Leave out what matches GLOB, in the syntax of .gitignore",
        |line, glob| {
            line.excludes = true;
            line.copy.exclude(glob)?;
            Ok(())
        },
    )
    .under(CHOICE, Scope::What)
    .common(),
    Opt::value(
        "include",
        None,
        "GLOB",
        "Take in what matches GLOB all the same; the last match decides",
        |line, glob| {
            line.includes = true;
            line.copy.include(glob)?;
            Ok(())
        },
    )
    .under(CHOICE, Scope::What),
    Opt::value(
        "exclude-from",
        None,
        "FILE",
        "Read patterns from FILE, which is like a .gitignore; - for stdin",
        |line, file| {
            line.excludes = true;
            if file == "-" {
                line.read_stdin("--exclude-from=-")?;
            }
            line.copy.exclude_from(file)?;
            Ok(())
        },
    )
    .hint(ValueHint::FilePath)
    .under(CHOICE, Scope::What),
    Opt::flag("gitignore", None, "Leave out what .gitignore files in SOURCE say", |line| {
        line.excludes = true;
        line.copy.gitignore();
    })
    .under(CHOICE, Scope::What)
    .common(),
    Opt::value(
        "files-from",
        None,
        "FILE",
        "Copy exactly the names that FILE lists, relative to the one SOURCE; - for stdin",
        |line, file| {
            if file == "-" && line.files_from.as_deref() != Some(file) {
                line.read_stdin("--files-from=-")?;
            }
            line.files_from = Some(file.to_owned());
            Ok(())
        },
    )
    .hint(ValueHint::FilePath)
    .under(CHOICE, Scope::What),
    Opt::flag("null", Some('0'), "Names in FILE end with a NUL byte, as find -print0 writes them", |line| {
        line.name_end = 0;
    })
    .under(CHOICE, Scope::What),
    Opt::flag("dry-run", None, "Only say what would be done: the lines of -v, or the totals of --stats", |line| {
        line.dry_run = true;
        line.copy.dry_run(true);
    })
    .under(CHOICE, Scope::What)
    .common(),
    Opt::flag("fsync", None, "Call nothing done before it is on the disk", |line| {
        line.copy.fsync(true);
    })
    .under(SAFETY, Scope::How),
    Opt::flag("verify", None, "Read each copy back, not from the cache, and compare it with its source", |line| {
        line.copy.verify(true);
    })
    .under(SAFETY, Scope::How),
    Opt::flag(
        "resume",
        None,
        "Leave alone what an earlier run with --resume or -p completed, and finish the rest",
        |line| {
            line.copy.resume(true);
        },
    )
    .brief("Finish what an earlier run began")
    .under(SAFETY, Scope::How),
    Opt::optional_value(
        "stats",
        "FORM",
        "Report afterwards which strategy moved how many bytes: text (default), json",
        |line, form| {
            let form = form.map_or(Ok(StatsForm::Text), |word| words::find("--stats", word, values::STATS))?;
            line.statistics.form = Some(form);
            Ok(())
        },
    )
    .under(OUTPUT, Scope::Run)
    .common(),
    Opt::value(
        "stats-file",
        None,
        "FILE",
        "Write the statistics as JSON to FILE, also if the copy failed; - for stdout",
        |line, file| {
            line.statistics.file = Some(file.to_owned());
            Ok(())
        },
    )
    .hint(ValueHint::FilePath)
    .under(OUTPUT, Scope::Run),
    Opt::optional_value(
        "progress",
        "WHEN",
        "Show progress on stderr: auto (default: if it is a terminal), always (if no WHEN is given), never",
        |line, when| {
            line.copy.progress(
                when.map_or(Ok(When::Always), |word| words::find("--progress", word, values::PROGRESS))?,
            );
            Ok(())
        },
    )
    .under(OUTPUT, Scope::Run)
    .common(),
    Opt::value(
        "plan",
        None,
        "JOB",
        "Copy nothing yet: share the copy out to parts, in the job folder JOB",
        |line, folder| keep(&mut line.job.plan, folder),
    )
    .hint(ValueHint::DirPath)
    .under(MACHINES, Scope::Step),
    Opt::value("parts", None, "N", "With --plan: how many parts", |line, parts| keep(&mut line.job.parts, parts))
        .under(MACHINES, Scope::Step),
    Opt::value(
        "split-over",
        None,
        "SIZE",
        "With --plan: copy files of more than SIZE (K, M, G, T) in byte ranges, by several parts \
             (default: a quarter of a part, at least 16M)",
        |line, size| keep(&mut line.job.split_over, size),
    )
    .under(MACHINES, Scope::Step),
    Opt::value("run", None, "JOB", "Copy one part of JOB, on any machine, any number of times", |line, folder| {
        keep(&mut line.job.run, folder)
    })
    .hint(ValueHint::DirPath)
    .under(MACHINES, Scope::Step),
    Opt::value(
        "part",
        None,
        "K",
        "With --run: the part, from 0; auto (default) takes it from Slurm, Kubernetes, GNU parallel or MPI",
        |line, part| keep(&mut line.job.part, part),
    )
    .under(MACHINES, Scope::Step),
    Opt::value(
        "finish",
        None,
        "JOB",
        "When all parts of JOB have run: complete its files and directories",
        |line, folder| keep(&mut line.job.finish, folder),
    )
    .hint(ValueHint::DirPath)
    .under(MACHINES, Scope::Step),
];

/// Keeps the last argument that was given for an option.
fn keep(place: &mut Option<std::ffi::OsString>, value: &OsStr) -> Result<(), UsageError> {
    *place = Some(value.to_owned());
    Ok(())
}
