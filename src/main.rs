//! The program: arguments in, exit status out. The library does the copying.
//!
//! It defines C's `main` instead of Rust's. Rust's code before `main` takes a fifth of the time of a small
//! copy, aborts if a standard descriptor is closed and /dev/null is missing, and ignores SIGPIPE before the
//! program can check whether its parent ignored it.

#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code))]

mod cli;
mod program;

#[cfg(not(test))]
zcp::define_c_main!(program::main);
