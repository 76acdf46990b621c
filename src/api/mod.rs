//! The public interface of the library: [`CopyOptions`], [`Report`] and [`Error`].
//!
//! All names here are covered by the promise in the crate's documentation ("What is promised"). The methods
//! only set options and pass them on.

/// Declares methods of [`CopyOptions`] that only set an option.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($value:ident: $type:ty) { $($option:tt)+ })*) => {
        impl CopyOptions {$(
            $(#[$doc])*
            pub fn $name(&mut self, $value: $type) -> &mut CopyOptions {
                self.options.$($option)+ = $value;
                self
            }
        )*}
    };
}

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
