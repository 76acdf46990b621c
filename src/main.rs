//! The program: arguments in, exit status out. Everything else is in the library.
//!
//! It begins with C's `main` instead of Rust's. What Rust does before its own takes a fifth of the time of a small
//! copy; it aborts the program where a standard descriptor is closed and there is no /dev/null; and it ignores SIGPIPE,
//! so that nobody can tell any more what whoever started the program wanted.

#![cfg_attr(not(test), no_main)]
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

// The unwinder becomes a part of the program. It is needed for the trace of a panic only, and to load libgcc_s.so,
// which is where Rust has it from, takes a tenth of the time of a small copy.
#[cfg(all(target_env = "gnu", not(target_feature = "crt-static")))]
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle")]
unsafe extern "C" {}

/// Called by libc, which has been told the arguments by execve(2).
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    let argument = |index| {
        // SAFETY: `arguments` has `count` strings, each with a NUL at its end, and they stay to the end of the process.
        let text = unsafe { CStr::from_ptr(*arguments.add(index)) };
        OsStr::from_bytes(text.to_bytes()).to_owned()
    };
    let arguments: Vec<OsString> = (0..usize::try_from(count).unwrap_or(0)).map(argument).collect();
    zcp::program::begin();
    // Writes out what std holds back for stdout, too.
    std::process::exit(zcp::program::main(arguments.into_iter()))
}
