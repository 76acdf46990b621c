//! The face of the library: [`CopyOptions`], what it gives back, and how it fails.
//!
//! What is named here is a promise (see the crate's documentation, "What is promised"); it holds no
//! logic but that of passing on.

mod builder;
mod cancel;
mod choice;
mod existing;
mod front;
mod keep;
mod report;
mod route;
mod safety;

pub use builder::{CopyOptions, copy};
pub use cancel::Cancel;
pub use keep::Attribute;
pub use report::{Error, Report, StrategyReport};
