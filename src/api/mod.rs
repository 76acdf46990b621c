//! The face of the library: [`CopyOptions`], what it gives back, and how it fails.
//!
//! What is named here is a promise (see the crate's documentation, "What is promised"); it holds no
//! logic but that of passing on.

mod builder;
mod report;

pub use builder::{Attribute, Cancel, CopyOptions, copy};
pub use report::{Error, PathReport, Report};
