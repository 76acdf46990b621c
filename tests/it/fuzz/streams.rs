//! One ladder, as a worker has it, makes many transfers: files, pipes, sockets, and destinations that accept
//! nothing. Each destination gets its own bytes, whatever happened in earlier transfers.

use super::fuzz;
use crate::sandbox::noise;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};
use zcp::Strategy as CopyStrategy;
use zcp::internals::{Account, DestinationKind, Errno, Ladder, Limits, Meter, StopFlag, Transfer, fstat};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    File,
    Pipe,
    Socket,
    /// /dev/full, which accepts no bytes.
    Full,
    /// A socket whose other end is shut down.
    Gone,
}

/// A pair of descriptors. Bytes written to the second are read from the first.
fn ends(place: Place) -> (OwnedFd, OwnedFd) {
    if place == Place::Pipe {
        let (read, write) = std::io::pipe().unwrap();
        return (read.into(), write.into());
    }
    let (read, write) = UnixStream::pair().unwrap();
    (read.into(), write.into())
}

fn source(place: Place, dir: &Path, bytes: &[u8]) -> (OwnedFd, Option<JoinHandle<()>>) {
    if place == Place::File {
        std::fs::write(dir.join("src"), bytes).unwrap();
        return (File::open(dir.join("src")).unwrap().into(), None);
    }
    let (read, write) = ends(place);
    let bytes = bytes.to_vec();
    // Writing fails if the copy has failed.
    (read, Some(spawn(move || drop(File::from(write).write_all(&bytes)))))
}

fn destination(place: Place, dir: &Path) -> (OwnedFd, Option<JoinHandle<Vec<u8>>>) {
    match place {
        Place::File => (File::create(dir.join("dst")).unwrap().into(), None),
        Place::Full => (File::options().write(true).open("/dev/full").unwrap().into(), None),
        Place::Gone => {
            let (read, write) = UnixStream::pair().unwrap();
            // Closing is not enough: a child of another test may hold the descriptor until it calls exec.
            read.shutdown(Shutdown::Both).unwrap();
            (write.into(), None)
        }
        Place::Pipe | Place::Socket => {
            let (read, write) = ends(place);
            let reader = spawn(move || {
                let mut bytes = Vec::new();
                File::from(read).read_to_end(&mut bytes).unwrap();
                bytes
            });
            (write, Some(reader))
        }
    }
}

fn transfer(ladder: &mut Ladder, dir: &Path, (from, to, len): (Place, Place, usize)) {
    let bytes = noise(len);
    let ((src, feeder), (dst, reader)) = (source(from, dir, &bytes), destination(to, dir));
    let (stat, there) = (fstat(&src).unwrap(), fstat(&dst).unwrap());
    let destination_kind = if to == Place::File { DestinationKind::File } else { DestinationKind::Stream(there) };
    let (src_fd, dst_fd) = (src.as_fd(), dst.as_fd());
    let transfer = Transfer {
        src: src_fd,
        stat,
        dst: dst_fd,
        dst_dev: there.dev,
        destination_kind,
        overwritten: to != Place::File,
    };
    let mut account = Account::default();
    let outcome = ladder.copy(&transfer, &mut account);
    drop((src, dst));
    let _ = feeder.map(|feeder| feeder.join().unwrap());
    let arrived = reader.map(|reader| reader.join().unwrap());
    let refusal = match to {
        Place::Full => Some(Errno::NOSPC),
        Place::Gone => Some(Errno::PIPE),
        _ => None,
    };
    if let Some(errno) = refusal.filter(|_| len > 0) {
        let errnos = outcome.map_err(|failure| failure.raw_os_error());
        assert_eq!(errnos, Err(Some(errno.raw_os_error())));
        return;
    }
    assert_eq!(outcome.unwrap().size, len as u64);
    assert_eq!(account.bytes_moved(), len as u64, "the account is wrong");
    let arrived =
        if to == Place::File { std::fs::read(dir.join("dst")).unwrap() } else { arrived.unwrap_or_default() };
    assert!(refusal.is_some() || arrived == bytes, "{} bytes instead of {len}", arrived.len());
}

pub(super) fn streams() {
    let from = select(vec![Place::File, Place::Pipe, Place::Socket]);
    let to = select(vec![Place::File, Place::Pipe, Place::Socket, Place::Full, Place::Gone]);
    let len = prop_oneof![0..10_usize, 0..70_000_usize, 0..400_000_usize];
    let strategies = subsequence(CopyStrategy::ALL[1..5].to_vec(), 0..=4);
    let dir = tempfile::tempdir().unwrap();
    fuzz(150, (vec((from, to, len), 1..6), strategies, any::<bool>()), |(transfers, mut strategies, shuffle)| {
        if shuffle {
            strategies.reverse();
        }
        strategies.push(CopyStrategy::ReadWrite);
        let limits = Limits { forced: Some(strategies), ..Limits::default() };
        let mut ladder = Ladder::new(limits, StopFlag::default(), Arc::new(Meter::default()));
        for one in transfers {
            transfer(&mut ladder, dir.path(), one);
        }
    });
}
