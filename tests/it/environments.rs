//! Surroundings that differ from a plain directory on a disk.

mod limits;
mod overlay;
mod preload;
mod start;
pub(crate) mod store;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [limits::trials(), overlay::trials(), preload::trials(), start::trials()].into_iter().flatten().collect()
}
