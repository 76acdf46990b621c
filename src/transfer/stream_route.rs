//! The routes for streams.
//!
//! A table of measurements, like `route.rs`; correctness does not depend on it.

use super::Strategy;
use super::route::{Case, Cloning, FsKind, Route};

/// The route that measured best for the case, followed by the other strategies that support it.
pub(super) fn stream_route(case: Case, cloning: Cloning) -> Route {
    use FsKind::{Device, Pipe, Socket};
    use Strategy::{CopyFileRange, Mmap, ReadWrite, Reflink, Sendfile, Splice};
    if cloning == Cloning::Require {
        return Route { strategies: vec![Reflink], preallocate: false, why: "--reflink=always asked for it" };
    }
    let (strategies, why): (&[Strategy], _) = match (case.source, case.destination) {
        (Device, _) => (&[ReadWrite], "a device may care how it is read"),
        (Pipe, _) | (_, Pipe) if !is_file(case.source) => {
            (&[Splice, ReadWrite], "one call moves references to pages out of a pipe, or into it")
        }
        (Socket, _) => (&[Splice, ReadWrite], "a pipe of our own takes references from the socket"),
        (_, Pipe) => {
            (&[Splice, Sendfile, Mmap, ReadWrite], "one call puts references to the page cache into a pipe")
        }
        (_, Socket) => {
            (&[Sendfile, Splice, Mmap, ReadWrite], "one call hands references to the page cache to a socket")
        }
        // Never from a map: /dev/null does not read it, so an unreadable file would count as copied.
        (_, Device) => (&[Sendfile, Splice, ReadWrite], "one call moves it"),
        _ => (&[Splice, Sendfile, CopyFileRange, Mmap, ReadWrite], "a 1 MiB pipe has the largest pieces"),
    };
    Route { strategies: strategies.to_vec(), preallocate: false, why }
}

fn is_file(kind: FsKind) -> bool {
    !matches!(kind, FsKind::Pipe | FsKind::Socket | FsKind::Device)
}
