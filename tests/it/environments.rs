//! Environments that differ from a plain directory on a disk.

mod capabilities;
mod interrupted;
mod limits;
mod overlay;
mod preload;
mod seccomp;
mod start;
pub(crate) mod store;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        capabilities::trials(),
        interrupted::trials(),
        limits::trials(),
        overlay::trials(),
        preload::trials(),
        seccomp::trials(),
        start::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
