//! The parts of the library that the program uses beyond the documented interface, and those that its tests and
//! examples look into. They may change in any version.

// The program.
pub use crate::error::{Operation, quote};
pub use crate::job::{JobStep, Plan, Prepared, perform, prepare};
pub use crate::sys::Errno;
pub use crate::sys::at::{CWD, MOST_LINKS, may_write};
pub use crate::sys::files;
pub use crate::sys::inherited;
pub use crate::sys::interrupted::{Bounded, errno_of};
pub use crate::sys::proc::{SIGPIPE, preloads, terminal_width};
pub use crate::sys::start::begin;
pub use crate::temporary::replace;

// The tests and examples.
pub use crate::decision::{Clear, Decision, Existing, decide};
pub use crate::filter::Filter;
pub use crate::options::{Backup, IfExists, Options, Preserve};
pub use crate::report::progress::Total;
pub use crate::sys::at::fstat;
pub use crate::sys::proc::StopFlag;
pub use crate::sys::stat::{Stat, Time};
pub use crate::transfer::Meter;
pub use crate::transfer::account::{Account, Call, Tally};
pub use crate::transfer::ladder::{DestinationKind, Limits};
pub use crate::transfer::ladder::{Ladder, Transfer};
pub use crate::walk::estimate::estimate;
