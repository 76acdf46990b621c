//! zcp: a file-copy program for Linux that replaces cp, in parallel, by the fastest path the kernel
//! offers, and says which path that was.
//!
//! # Three sentences that everything hangs on
//! 1. **The walk finds, the worker does, the ladder moves.**
//! 2. **What depends on order is decided by the walk, one thread at a time; everything else runs on
//!    the workers.**
//! 3. **A name is relative to an open directory; a full path exists only to be printed.**
//!
//! # The rooms
//! From the door inwards; each sees only those that come after it, and rooms on one line do not see
//! each other (`tests/it/rooms.rs` holds this).
//!
//! | room | what it is for |
//! |---|---|
//! | [`program`] | parse, run, exit status |
//! | [`cli`] | the only room that knows flags: arguments -> [`options::Options`] |
//! | [`engine`] | walk -> pool -> report: who works, and on what next |
//! | [`walk`] · [`worker`] | finds names, makes directories · makes everything else, one name at a time |
//! | [`survey`] | looks at what stands at a destination |
//! | [`plan`] · [`backup`] · [`job`] | pure: what is to be done with a name · names of backups · parcels |
//! | [`dir`] · [`context`] | a pair of directories while they are in use · what all threads share |
//! | [`report`] | the only printer: messages, statistics, the bar |
//! | [`options`] | what was asked, settled |
//! | [`transfer`] · [`metadata`] | the ladder and its rungs · owner, mode, attributes, times |
//! | [`sys`] | the system calls, thin |
//!
//! # How a copy goes
//! [`cli::parse`] settles the options and [`walk::operands::resolve`] the operands.
//! [`engine::run`] lets the workers pull [`job::Parcel`]s out of the [`walk::Walk`]: names of one
//! directory, with its open descriptors. A worker asks [`plan::decide`] about each name and hands
//! the open files to [`transfer::Ladder::copy`], which takes the [`transfer::Route`] for the pair of
//! file systems and steps down from rung to rung as the kernel refuses. The last name of a directory
//! closes it ([`dir::Dir::leave`]): only then does it get its times and its final mode.
//!
//! Figures are plain integers in each worker ([`report::Stats`]), added up at the end.

pub mod backup;
pub mod cli;
pub mod context;
pub mod dir;
pub mod engine;
pub mod job;
pub mod metadata;
pub mod options;
pub mod plan;
pub mod program;
pub mod report;
pub mod survey;
pub mod sys;
pub mod transfer;
pub mod walk;
pub mod worker;
