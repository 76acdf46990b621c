//! Copies files on Linux, in parallel, by the fastest strategy that the kernel offers (reflink,
//! copy_file_range, splice, sendfile, mmap, read/write), and reports how many bytes each strategy moved. The
//! program `zcp`, a replacement for cp, uses this crate, and other programs can do the same:
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # std::env::set_current_dir(dir.path())?;
//! # std::fs::create_dir("photos")?;
//! # std::fs::write("photos/1.jpg", "...")?;
//! let report = zcp::copy(["photos"], "backup")?; // zcp -r photos backup
//! for used in report.strategies() {
//!     println!("{:?} moved {} bytes in {:?}", used.strategy, used.bytes, used.calls);
//! }
//! # assert_eq!(report.bytes(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`CopyOptions`] holds the options of a copy, [`Report`] its statistics, [`Error`] its failures, and
//! [`Cancel`] stops it early. A library call prints nothing, prompts nobody, catches no signals and changes
//! nothing in the process, unless it gets a [`Console`]. The program copies in the same way, with a console.
//!
//! # Features of the program only
//! - Reading arguments, `ZCP_OPTS`, and cp's other environment variables.
//! - `--plan`, `--run` and `--finish`: a job folder stores the copy as arguments of a command line, and a
//!   scheduler starts, ends and repeats the steps as processes. A program that needs them starts `zcp`.
//! - `--stats-file`: write [`Report::to_json`] to a file.
//!
//! # Cargo features
//! `cli`, on by default, is the program and its progress bar. A program that only needs the library leaves it out, and
//! with it clap, clap_mangen, indicatif and strsim; a [`Console`] then prints lines in place of the bar:
//!
//! ```toml
//! [dependencies]
//! zcp = { package = "zcp-copy", version = "0.1", default-features = false }
//! ```
//!
//! # What is promised
//! Everything documented here follows semantic versioning: code that compiles with one version compiles with
//! all later ones of the same major number (of the same minor number while the major is 0), and the
//! documented behaviour stays. `internals` is not on this page and may change in any version: the program, its
//! tests and its examples take from it what other programs do not need.
//!
//! # Architecture
//! Three rules:
//!
//! 1. **The walk finds names, the workers copy them, the ladder moves the data.**
//! 2. **The worker that enters a directory copies its files, and nobody holds a lock during a system call.**
//!    Work that depends on order runs on one worker.
//! 3. **Names are relative to an open directory. A full path is only for messages.**
//!
//! ## Modules
//! From the outermost to the innermost; the first two belong to the program (`src/main.rs`). Each module imports
//! only those further down; modules on one line do not import each other (`tests/it/modules.rs` checks this).
//!
//! | module | content |
//! |---|---|
//! | `program` | parse, copy, exit status |
//! | `cli` | the only module that knows flags: arguments -> `CopyOptions` |
//! | `internals` | what the program uses beyond the public interface |
//! | `job` | a copy that several machines share: plan, run a part, finish |
//! | `api` | the public interface of the library |
//! | `session` | one copy from its preparation to its end, and its effects on the process |
//! | `engine` | the number of workers over time |
//! | `walk` · `worker` | finds names and enters directories · copies everything else |
//! | `existing` · `temporary` | facts about existing destinations · names of incomplete files |
//! | `decision` · `backup` · `batch` | what to do with a name (pure) · names of backups · names of one directory |
//! | `dir` | a pair of directories, source and destination |
//! | `context` | state that all threads share, such as the budget of open directories |
//! | `report` | everything that is printed: messages, statistics, the bar |
//! | `options` | the settled options |
//! | `transfer` · `metadata` · `filter` | the ladder and its strategies · owner, mode, attributes, times · names to leave out |
//! | `error` · `path` | failures: operation, paths, reason · the parts of a path |
//! | `sys` | thin wrappers of system calls |
//!
//! ## The course of a copy
//! `cli::parse` makes a [`CopyOptions`], [`CopyOptions::copy`] settles the options, and
//! `walk::operands::resolve` resolves the operands. Each worker takes a directory from the frontier of
//! directories that were found (`walk::Walker::next_batch`), makes its destination and lists it. Its
//! subdirectories go to the frontier. Its other names become a `batch::Batch`, which idle workers share. For
//! each name, a worker calls `decision::decide` and passes the open files to `transfer::Ladder::copy`; small files of
//! one directory are opened, made and filled many at a time (`worker/lane.rs`). The
//! ladder takes the `transfer::Route` for the pair of file systems and steps down from strategy to strategy
//! as the kernel refuses. When the last `dir::Hold` of a directory is dropped, the directory gets its times
//! and its final mode.
//!
//! Each worker counts in plain integers (`report::Stats`), which are added up at the end.

// Some code is for the program alone.
#![cfg_attr(not(feature = "cli"), allow(dead_code, unreachable_pub))]

#[cfg(not(target_os = "linux"))]
compile_error!("zcp copies by system calls that only Linux has; it can be built for Linux alone.");

// Types that only `internals` shows need no documentation.
mod api;
mod backup;
mod batch;
mod context;
#[allow(missing_docs)]
mod decision;
mod dir;
mod engine;
mod error;
mod existing;
#[allow(missing_docs)]
mod filter;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod internals;
#[allow(missing_docs)]
#[cfg(feature = "cli")]
mod job;
#[allow(missing_docs)]
mod metadata;
mod options;
mod path;
mod report;
mod session;
#[allow(missing_docs)]
mod sys;
mod temporary;
mod transfer;
mod walk;
mod worker;

pub use api::{Attribute, Cancel, CopyOptions, Error, Report, StrategyReport, copy};
pub use error::Failure;
pub use options::{Action, BackupControl, Dereference, OnFailure, ProgressForm, When};
pub use report::progress::Progress;
pub use report::{Console, Log, Prompt};
pub use transfer::Strategy;
pub use transfer::ladder::Sparse;
pub use transfer::route::Cloning;
