//! Surroundings that differ from a plain directory on a disk.

mod overlay;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [overlay::trials()].into_iter().flatten().collect()
}
