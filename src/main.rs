//! The program: arguments in, exit status out. Everything else is in the library.
//!
//! It begins with C's `main` instead of Rust's. What Rust does before its own `main` takes a fifth of the time of a
//! small copy, aborts where a standard descriptor is closed and there is no /dev/null, and ignores SIGPIPE before
//! anybody can see whether the parent process had ignored it.

#![cfg_attr(not(test), no_main)]

#[cfg(not(test))]
zcp::define_c_main!(zcp::program::main_of_process);
