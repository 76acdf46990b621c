//! The program: arguments in, exit status out. Everything else is in the library.

use std::process::ExitCode;

#[ctor::ctor(unsafe)]
fn before_main() {
    zcp::program::before_main();
}

fn main() -> ExitCode {
    zcp::program::main(std::env::args_os())
}
