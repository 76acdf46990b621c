//! Copies files on Linux, in parallel, by the fastest strategy that the kernel offers (reflink,
//! copy_file_range, splice, sendfile, mmap, read/write), and says which strategy moved how many bytes.
//! What the program `zcp` does as a replacement for cp, other programs can do through this crate:
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
//! [`CopyOptions`] has the options, [`Report`] says what was done, [`Error`] what was not, and [`Cancel`] ends a copy early.
//! A library call prints nothing, asks nobody, catches no signal and changes nothing of the process, unless
//! it is told to work for a [`Console`], as the program does, which copies by nothing else than this.
//!
//! # What only the program does
//! - It reads arguments, `ZCP_OPTS`, and cp's other environment variables.
//! - `--plan`, `--run` and `--finish` are not here: the job folder keeps the copy as the arguments of a
//!   command line, and its steps are processes by nature, which a scheduler starts, ends and repeats. A
//!   program that wants them starts `zcp`.
//! - `--stats-file`: write [`Report::to_json`] to where you like.
//!
//! # What is promised
//! All that is documented here follows semantic versioning: what compiles with a version, and what it is
//! documented to do, holds for all later ones of the same major number (of the same minor number
//! while the major is 0). The other modules are public only so that the program's own tests and examples
//! reach them; they are hidden from this page and change without notice.
//!
//! # How it is built
//! Three sentences that everything hangs on:
//!
//! 1. **The walk finds, a worker copies, the ladder moves.**
//! 2. **Whoever enters a directory copies its files; nobody holds a lock during a system call.** What depends
//!    on order runs on one worker.
//! 3. **A name is relative to an open directory; a full path exists only to be printed.**
//!
//! ## The rooms
//! From the door inwards; each sees only those that come after it, and rooms on one line do not see
//! each other (`tests/it/rooms.rs` holds this).
//!
//! | room | what it is for |
//! |---|---|
//! | `program` | parse, copy, exit status |
//! | `job` | a copy that many machines share: plan, run a part, finish |
//! | `cli` | the only room that knows flags: arguments -> `CopyOptions` |
//! | `api` | the face of the library |
//! | `session` | one copy from its preparation to its end, and what it may do to the process |
//! | `engine` | how many workers there are, and when |
//! | `walk` · `worker` | finds names, enters directories · makes everything else, one name at a time |
//! | `existing` · `temporary` | what stands at a destination already · what things are called until they are complete |
//! | `decision` · `backup` · `batch` | pure: what is to be done with a name · names of backups · batches of names |
//! | `dir` · `context` | a pair of directories while they are in use · what all threads share |
//! | `report` | the only printer: messages, statistics, the bar |
//! | `options` | what was asked, settled |
//! | `transfer` · `metadata` · `filter` | the ladder and its strategies · owner, mode, attributes, times · which names are left out |
//! | `sys` | the system calls, thin |
//!
//! ## How a copy goes
//! `cli::parse` makes a [`CopyOptions`], [`CopyOptions::copy`] settles the options, and
//! `walk::operands::resolve` the operands.
//! Each worker takes a directory that was found from the frontier (`walk::Walker::next_batch`), makes its
//! destination and lists it. Its subdirectories go to the frontier, its other names are a `batch::Batch`, which
//! idle workers share. A worker asks `decision::decide` about each name and hands
//! the open files to `transfer::Ladder::copy`, which takes the `transfer::Route` for the pair of
//! file systems and steps down from strategy to strategy as the kernel refuses. When
//! nobody holds a directory any more (`dir::Hold`), it gets its times and its final mode.
//!
//! Figures are plain integers in each worker (`report::Stats`), added up at the end.

#[doc(hidden)]
pub mod api;
#[doc(hidden)]
pub mod backup;
#[doc(hidden)]
pub mod batch;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod context;
#[doc(hidden)]
pub mod decision;
#[doc(hidden)]
pub mod dir;
#[doc(hidden)]
pub mod engine;
#[doc(hidden)]
pub mod existing;
#[doc(hidden)]
pub mod filter;
#[doc(hidden)]
pub mod job;
#[doc(hidden)]
pub mod metadata;
#[doc(hidden)]
pub mod options;
#[doc(hidden)]
pub mod program;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod sys;
#[doc(hidden)]
pub mod temporary;
#[doc(hidden)]
pub mod transfer;
#[doc(hidden)]
pub mod walk;
#[doc(hidden)]
pub mod worker;

pub use api::{Attribute, Cancel, CopyOptions, Error, Report, StrategyReport, copy};
pub use options::{Action, BackupControl, Dereference, When};
pub use report::progress::Progress;
pub use report::{Console, Failure, Prompt};
pub use transfer::Strategy;
pub use transfer::ladder::Sparse;
pub use transfer::route::Cloning;
