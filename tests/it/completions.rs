//! The committed completions are what `zcp --generate` prints (`BLESS=1 cargo test --test it completions` writes them),
//! and are tried in the shells.

mod live;

use crate::generated::is_current;
use crate::needs::{Need, trial};
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let current = |shell: &'static str, file: &'static str| {
        trial(format!("completions::{shell}_is_current"), &[], move || is_current(file, shell))
    };
    vec![
        current("bash", "completions/zcp.bash"),
        current("zsh", "completions/_zcp"),
        current("fish", "completions/zcp.fish"),
        trial("completions::bash", &[Need::Program("bash")], live::bash),
        trial("completions::zsh", &[Need::Program("zsh")], live::zsh),
        trial("completions::fish", &[Need::Program("fish")], live::fish),
    ]
}
