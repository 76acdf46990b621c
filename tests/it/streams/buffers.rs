//! The buffers of pipes and sockets are enlarged for a long copy, unless somebody has chosen their size. Those
//! of sockets are restored afterwards.

use super::{Link, assert_ok, await_bytes, read_all, send, with_file};
use crate::needs::trial;
use libtest_mimic::Trial;
use rustix::net::sockopt::{set_socket_send_buffer_size, socket_send_buffer_size};
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use std::os::fd::OwnedFd;

/// The default sizes (pipe(7), socket(7)).
const USUAL_PIPE: usize = 64 << 10;
const USUAL_SOCKET: usize = 212_992;

const LONG: usize = 20 << 20;
const SHORT: usize = 60_000;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("streams::buffer::usual", &[], usual),
        trial("streams::buffer::chosen", &[], chosen),
        trial("streams::buffer::short_copy", &[], short_copy),
        trial("streams::buffer::interrupted", &[], interrupted),
    ]
}

fn size(link: Link, end: &OwnedFd) -> usize {
    if link == Link::Pipe { fcntl_getpipe_size(end).unwrap() } else { socket_send_buffer_size(end).unwrap() }
}

fn usual_size(link: Link) -> usize {
    if link == Link::Pipe { USUAL_PIPE } else { USUAL_SOCKET }
}

/// The size of the buffer before the copy, before its reader starts to read, and after the copy.
fn sizes(link: Link, len: usize, (read, write): (OwnedFd, OwnedFd)) -> [usize; 3] {
    let sandbox = with_file(len);
    let ours = write.try_clone().unwrap();
    let before = size(link, &ours);
    let running = send(&sandbox, &[], write);
    await_bytes(&read);
    let meanwhile = size(link, &ours);
    let watched = ours.try_clone().unwrap();
    drop(ours);
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; len];
        std::io::Read::read_exact(&mut std::fs::File::from(read), &mut bytes).unwrap();
        bytes
    });
    assert_ok(&running.finish());
    assert!(reader.join().unwrap() == crate::sandbox::noise(len));
    [before, meanwhile, size(link, &watched)]
}

fn usual() {
    let [before, meanwhile, after] = sizes(Link::Pipe, LONG, Link::Pipe.ends());
    assert!(before == USUAL_PIPE && meanwhile > before && after == meanwhile, "{before} {meanwhile} {after}");
    let [before, meanwhile, after] = sizes(Link::Unix, LONG, Link::Unix.ends());
    assert_eq!(meanwhile > before, before == USUAL_SOCKET, "{before} {meanwhile}");
    assert_eq!(before, after);
}

/// The owner of the descriptor, or TCP, has chosen the size.
fn chosen() {
    let (read, write) = Link::Pipe.ends();
    fcntl_setpipe_size(&write, 8192).unwrap();
    assert_eq!(sizes(Link::Pipe, LONG, (read, write)), [8192; 3]);
    let (read, write) = Link::Unix.ends();
    set_socket_send_buffer_size(&write, 20_000).unwrap();
    assert_eq!(sizes(Link::Unix, LONG, (read, write)), [40_000; 3]);
    let sandbox = with_file(LONG);
    let (read, write) = Link::TinyTcp.ends();
    let (ours, before) = (write.try_clone().unwrap(), size(Link::TinyTcp, &write));
    let running = send(&sandbox, &[], write);
    await_bytes(&read);
    assert_eq!(size(Link::TinyTcp, &ours), before);
    drop(ours);
    assert_eq!(read_all(read).len(), LONG);
    assert_ok(&running.finish());
}

/// Data that fits into the buffer leaves its size alone.
fn short_copy() {
    for link in [Link::Pipe, Link::Unix] {
        let [before, meanwhile, after] = sizes(link, SHORT, link.ends());
        assert_eq!((meanwhile, after), (before, before), "{link:?}");
        assert!(link == Link::Unix || before == usual_size(link));
    }
}

/// Ctrl-C also restores the size of the socket's buffer.
fn interrupted() {
    let sandbox = with_file(LONG);
    let (read, write) = Link::Unix.ends();
    let (ours, before) = (write.try_clone().unwrap(), size(Link::Unix, &write));
    let running = send(&sandbox, &[], write);
    await_bytes(&read);
    assert!(!running.interrupt().status.success());
    assert_eq!(size(Link::Unix, &ours), before);
}
