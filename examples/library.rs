//! A program that uses the library: copies SOURCE... to DESTINATION, and prints what was copied and what was
//! not.
//!
//! `cargo run --example library SOURCE... DESTINATION`

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut names: Vec<_> = std::env::args_os().skip(1).collect();
    let Some(destination) = names.pop() else { return ExitCode::FAILURE };
    match zcp::CopyOptions::new().archive().copy(names, destination) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("not copied: {error}");
            for failure in error.report().map_or(&[][..], zcp::Report::failures) {
                eprintln!("- {failure}");
            }
            ExitCode::FAILURE
        }
    }
}
