//! The options of the command line: one table with a row for each option, which holds its names, help, heading
//! and effect.
//!
//! cp's options come first, then zcp's own. A long option of zcp's own is found by its full name, or by an
//! abbreviation that fits no option of cp, so that no abbreviation of cp becomes ambiguous.

use super::command_line::{Asking, CommandLine, Update};
use super::opt::{ArgumentKind, Opt, Scope};
use super::values::{self, REFLINK, SPARSE};
use super::{StatsForm, UsageError, generate, help, words};
use clap::{Arg, Command};
use std::ffi::OsStr;
use zcp::{Cloning, Dereference, OnFailure, ProgressForm, When};

pub(super) const CP: &str = "Options of cp";
// The headings of zcp's own options.
const COPYING: &str = "Copying (zcp)";
const SAFETY: &str = "Safety (zcp)";
const CHOICE: &str = "What is copied (zcp)";
const OUTPUT: &str = "Output (zcp)";
const MACHINES: &str = "Many machines (zcp)";

/// Makes clap's options, for help, the manual page and the completions.
pub(super) fn command() -> Command {
    Command::new("zcp")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Copy SOURCE to DEST, or several SOURCEs into DIRECTORY: many files at once, each by the fastest strategy that the kernel offers")
        .override_usage(help::usage("zcp"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(options().map(Arg::from))
        .arg(
            Arg::new("operands")
                .value_name("FILE")
                .num_args(0..)
                .value_parser(clap::value_parser!(std::ffi::OsString)),
        )
}

pub(super) fn options() -> impl Iterator<Item = &'static Opt> {
    CP_OPTIONS.iter().chain(OWN_OPTIONS)
}

/// In the order of cp's own table: cp lists the candidates of an ambiguous abbreviation in that order.
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
        "Back up each existing destination file: none, numbered, existing, simple",
        |line, control| {
            line.back_up(control);
            Ok(())
        },
    )
    .kind(ArgumentKind::Word(|| words::names(values::BACKUP)))
    .brief("Back up each existing destination file"),
    Opt::flag("b", None, "Like --backup, but takes no CONTROL", |line| line.back_up(None)).letter('b'),
    Opt::flag("copy-contents", None, "With -r, copy the content of fifos and devices instead of recreating them", |line| {
        line.copy.copy_contents(true);
    }),
    Opt::flag("d", None, "Same as --no-dereference --preserve=links", |line| {
        line.copy.preserve([zcp::Attribute::Links]).dereference(Dereference::Never);
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
    Opt::flag("force", Some('f'), "Remove a destination file that cannot be opened, then try again", |line| {
        line.copy.force(true);
    })
    .brief("Replace files that cannot be opened"),
    Opt::flag("H", None, "Follow symbolic links that are named on the command line", |line| {
        line.copy.dereference(Dereference::CommandLine);
    })
    .letter('H'),
    Opt::flag("interactive", Some('i'), "Ask before overwriting a file (overrides an earlier -n)", |line| {
        line.asking = Asking::Yes;
    })
    .brief("Ask before overwriting a file"),
    Opt::flag("keep-directory-symlink", None, "Copy into existing symbolic links to directories in DEST instead of refusing them", |line| {
        line.copy.keep_directory_symlink(true);
    }),
    Opt::flag("link", Some('l'), "Make hard links instead of copying", |line| line.hard_links = true),
    Opt::flag("no-clobber", Some('n'), "Skip existing files silently (overrides an earlier -i)", |line| {
        line.asking = Asking::NoClobber;
    })
    .brief("Skip existing files silently"),
    Opt::flag("no-dereference", Some('P'), "Never follow symbolic links in SOURCE", |line| {
        line.copy.dereference(Dereference::Never);
    }),
    Opt::value("no-preserve", None, "ATTR_LIST", "Do not preserve the attributes in ATTR_LIST", |line, list| {
        line.copy.no_preserve(values::attributes("--no-preserve", list)?);
        Ok(())
    })
    .kind(ArgumentKind::List(|| words::names(values::ATTRIBUTES))),
    Opt::flag(
        "no-target-directory",
        Some('T'),
        "Treat DEST as the copy itself, never as a directory to copy into",
        |line| line.no_target_directory = true,
    )
    .scope(Scope::Names)
    .brief("Never copy into DEST"),
    Opt::flag("one-file-system", Some('x'), "Do not enter other file systems", |line| {
        line.copy.one_file_system(true);
    })
    .common(),
    Opt::flag("parents", None, "Recreate the path of each SOURCE in DIRECTORY", |line| {
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
        "Preserve attributes: mode, ownership, timestamps (these three if no ATTR_LIST is given), links, context, xattr, all",
        |line, list| {
            match list {
                Some(list) => line.copy.preserve(values::attributes("--preserve", list)?),
                None => line.copy.preserve(values::USUAL_ATTRIBUTES),
            };
            Ok(())
        },
    )
    .kind(ArgumentKind::List(|| words::names(values::ATTRIBUTES)))
    .brief("Preserve attributes: mode, links, all, ..."),
    Opt::flag("recursive", Some('r'), "Copy directories and everything in them", |line| {
        line.copy.recursive(true);
    })
    .short_alias('R')
    .brief("Copy directories"),
    Opt::flag("remove-destination", None, "Remove each existing destination file instead of opening it", |line| {
        line.copy.remove_destination(true);
    }),
    Opt::value("sparse", None, "WHEN", "Make holes in the copy: auto (default: where the source has them), always (also for runs of zeros), never", |line, when| {
        line.copy.sparse(words::find("--sparse", when, SPARSE)?);
        Ok(())
    })
    .kind(ArgumentKind::Word(|| words::names(SPARSE)))
    .brief("Make holes: auto, always, never"),
    Opt::optional_value(
        "reflink",
        "WHEN",
        "Share blocks with the source: auto (default: where possible), always (or fail; same as a bare --reflink), never",
        |line, when| {
            let when = when.map_or(Ok(Cloning::Require), |word| words::find("--reflink", word, REFLINK))?;
            line.copy.reflink(when);
            Ok(())
        },
    )
    .kind(ArgumentKind::Word(|| words::names(REFLINK)))
    .brief("Share blocks: auto, always, never"),
    Opt::flag("strip-trailing-slashes", None, "Remove trailing slashes from each SOURCE", |line| {
        line.copy.strip_trailing_slashes(true);
    }),
    Opt::value(
        "suffix",
        Some('S'),
        "SUFFIX",
        "End the names of simple backups with SUFFIX; implies --backup",
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
    .scope(Scope::Names)
    .kind(ArgumentKind::Directory),
    Opt::optional_value(
        "update",
        "UPDATE",
        "Choose which existing files to replace: all (default), none, none-fail (none, and fail), older (same as a bare --update)",
        |line, which| {
            line.update = which.map_or(Ok(Update::Older), |word| words::find("--update", word, values::UPDATE))?;
            Ok(())
        },
    )
    .kind(ArgumentKind::Word(|| words::names(values::UPDATE)))
    .brief("Replace only older files"),
    Opt::flag("u", None, "Same as --update=older", |line| line.update = Update::Older).letter('u'),
    Opt::flag("verbose", Some('v'), "Print each name as it is copied", |line| line.verbose = true)
        .scope(Scope::Run)
        .common(),
    Opt::flag("Z", None, "Give each copy the default SELinux context", |line| {
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
    Opt::print("h", "Print the most used options", help::short).letter('h').own_letter('h'),
    Opt::print("version", "Print the version", help::version).own_letter('V').common(),
];

const OWN_OPTIONS: &[Opt] = &[
    Opt::value(
        "jobs",
        Some('j'),
        "N",
        "Copy with N workers, 1 to 1024; 1 keeps cp's order (default: one per processor, more while they wait)",
        |line, workers| {
            line.copy.jobs(values::jobs(workers)?);
            Ok(())
        },
    )
    .under(COPYING, Scope::Run)
    .brief("Copy with N workers; 1 keeps cp's order"),
    Opt::value(
        "strategy",
        None,
        "NAME[,NAME...]",
        "Use only these strategies, in this order: reflink, copy_file_range, splice, sendfile, mmap, read_write; \
             fail for a file that none of them can copy",
        |line, list| {
            line.copy.strategies(values::strategies(list)?);
            Ok(())
        },
    )
    .kind(ArgumentKind::List(|| words::names(values::STRATEGIES)))
    .under(COPYING, Scope::How),
    Opt::value(
        "bwlimit",
        None,
        "RATE",
        "Move at most RATE bytes per second, all workers together, such as 500K, 20MiB or 1.5GB",
        |line, rate| {
            line.copy.bandwidth_limit(values::rate(rate)?);
            Ok(())
        },
    )
    .under(COPYING, Scope::Run)
    .brief("Move at most RATE bytes per second, such as 20MiB"),
    Opt::value(
        "cache",
        None,
        "WHAT",
        "Page cache: keep (default) what the copy reads and writes, or drop the pages that it added",
        |line, what| {
            line.copy.drop_cache(words::find("--cache", what, values::CACHE)?);
            Ok(())
        },
    )
    .kind(ArgumentKind::Word(|| words::names(values::CACHE)))
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
        "Leave out names that match GLOB (syntax of .gitignore)",
        |line, glob| {
            line.excludes = true;
            line.copy.exclude(glob)?;
            Ok(())
        },
    )
    .under(CHOICE, Scope::Names)
    .common(),
    Opt::value(
        "include",
        None,
        "GLOB",
        "Copy names that match GLOB although an earlier pattern leaves them out; the last match decides",
        |line, glob| {
            line.includes = true;
            line.copy.include(glob)?;
            Ok(())
        },
    )
    .under(CHOICE, Scope::Names),
    Opt::value(
        "exclude-from",
        None,
        "FILE",
        "Read patterns from FILE, written like a .gitignore; - is stdin",
        |line, file| {
            line.excludes = true;
            if file == "-" {
                line.read_stdin("--exclude-from=-")?;
            }
            line.copy.exclude_from(file)?;
            Ok(())
        },
    )
    .kind(ArgumentKind::File)
    .under(CHOICE, Scope::Names),
    Opt::flag("gitignore", None, "Obey the .gitignore files in SOURCE", |line| {
        line.excludes = true;
        line.copy.gitignore();
    })
    .under(CHOICE, Scope::Names)
    .common(),
    Opt::value(
        "files-from",
        None,
        "FILE",
        "Copy only the names listed in FILE, relative to the single SOURCE; - is stdin",
        |line, file| {
            if file == "-" && line.files_from.as_deref() != Some(file) {
                line.read_stdin("--files-from=-")?;
            }
            line.files_from = Some(file.to_owned());
            Ok(())
        },
    )
    .kind(ArgumentKind::File)
    .under(CHOICE, Scope::Names),
    Opt::flag("null", Some('0'), "With --files-from: names in FILE end with a NUL byte, as find -print0 writes them", |line| {
        line.name_end = 0;
    })
    .under(CHOICE, Scope::Names),
    Opt::flag("dry-run", None, "Copy nothing; print what would be copied, or only the totals with --stats", |line| {
        line.dry_run = true;
        line.copy.dry_run(true);
    })
    .under(CHOICE, Scope::Names)
    .brief("Copy nothing; print what would be copied"),
    Opt::flag("fsync", None, "Write everything to the disk before the copy ends", |line| {
        line.copy.fsync(true);
    })
    .under(SAFETY, Scope::How),
    Opt::flag("keep-going", None, "Copy the rest even if the destination is full or read-only, as cp does", |line| {
        line.copy.on_failure(OnFailure::KeepGoing);
    })
    .under(SAFETY, Scope::Run),
    Opt::flag("fail-fast", None, "End at the first failure of any kind", |line| {
        line.copy.on_failure(OnFailure::Stop);
    })
    .under(SAFETY, Scope::Run),
    Opt::flag("ignore-vanished", None, "Count files that vanish during the copy, but do not treat them as failures", |line| {
        line.copy.ignore_vanished(true);
    })
    .under(SAFETY, Scope::Run),
    Opt::flag("verify", None, "Read each copied file back, from the disk where possible, and compare it with its source", |line| {
        line.copy.verify(true);
    })
    .under(SAFETY, Scope::How),
    Opt::flag(
        "resume",
        None,
        "Skip what an earlier run with --resume, -p or -a completed, and copy the rest",
        |line| {
            line.copy.resume(true);
        },
    )
    .brief("Finish an interrupted copy")
    .under(SAFETY, Scope::How),
    Opt::optional_value(
        "stats",
        "FORM",
        "At the end, report which strategy moved how many bytes: text (default), json",
        |line, form| {
            let form = form.map_or(Ok(StatsForm::Text), |word| words::find("--stats", word, values::STATS))?;
            line.statistics.form = Some(form);
            Ok(())
        },
    )
    .kind(ArgumentKind::Word(|| words::names(values::STATS)))
    .under(OUTPUT, Scope::Run)
    .brief("Report which strategy moved how many bytes"),
    Opt::value(
        "stats-file",
        None,
        "FILE",
        "Write the statistics as JSON to FILE, even if the copy fails; - is stdout",
        |line, file| keep(&mut line.statistics.file, file),
    )
    .kind(ArgumentKind::File)
    .under(OUTPUT, Scope::Run),
    Opt::value(
        "log",
        None,
        "FILE",
        "Write a line of JSON to FILE for each name: its outcome, strategy and failure; - is stdout",
        |line, file| keep(&mut line.statistics.log, file),
    )
    .kind(ArgumentKind::File)
    .under(OUTPUT, Scope::Run),
    Opt::flag("itemize", None, "Print a line for each name in the form of rsync -i", |line| {
        line.copy.itemize(true);
    })
    .under(OUTPUT, Scope::Run),
    Opt::optional_value(
        "progress",
        "WHEN",
        "Show progress on stderr: auto (default: on a terminal), always (same as a bare --progress), json (a line a second), never",
        |line, when| {
            let always = (When::Always, ProgressForm::Text);
            let (when, form) = when.map_or(Ok(always), |word| words::find("--progress", word, values::PROGRESS))?;
            line.copy.progress(when).progress_form(form);
            Ok(())
        },
    )
    .kind(ArgumentKind::Word(|| words::names(values::PROGRESS)))
    .under(OUTPUT, Scope::Run)
    .brief("Show progress: auto, always, json, never"),
    Opt::generate("generate", "WHAT", "Print the manual page (man), or the completions of a shell: bash, zsh, fish", |what| {
        words::find("--generate", what, generate::TEXTS).map(generate::render)
    })
    .kind(ArgumentKind::Word(|| words::names(generate::TEXTS)))
    .under(OUTPUT, Scope::Step),
    Opt::value(
        "plan",
        None,
        "JOB",
        "Copy nothing yet; divide the copy into parts and write the job folder JOB",
        |line, folder| keep(&mut line.job.plan, folder),
    )
    .kind(ArgumentKind::Directory)
    .under(MACHINES, Scope::Step),
    Opt::value("parts", None, "N", "With --plan: the number of parts", |line, parts| keep(&mut line.job.parts, parts))
        .under(MACHINES, Scope::Step),
    Opt::value(
        "split-over",
        None,
        "SIZE",
        "With --plan: let several parts share each file larger than SIZE, such as 500M or 2G \
             (default: a quarter of a part's bytes, at least 16M)",
        |line, size| keep(&mut line.job.split_over, size),
    )
    .under(MACHINES, Scope::Step),
    Opt::value("run", None, "JOB", "Copy one part of JOB, on any machine; may be repeated", |line, folder| {
        keep(&mut line.job.run, folder)
    })
    .kind(ArgumentKind::Directory)
    .under(MACHINES, Scope::Step),
    Opt::value(
        "part",
        None,
        "K",
        "With --run: the number of the part, from 0; auto (default) takes it from Slurm, Kubernetes, GNU parallel or MPI",
        |line, part| keep(&mut line.job.part, part),
    )
    .under(MACHINES, Scope::Step),
    Opt::value(
        "finish",
        None,
        "JOB",
        "After all parts of JOB: join divided files, set attributes of directories, report",
        |line, folder| keep(&mut line.job.finish, folder),
    )
    .kind(ArgumentKind::Directory)
    .under(MACHINES, Scope::Step),
];

fn keep(place: &mut Option<std::ffi::OsString>, value: &OsStr) -> Result<(), UsageError> {
    *place = Some(value.to_owned());
    Ok(())
}
