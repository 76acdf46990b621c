//! How the program is linked, so that it starts sooner: a copy of one small file is mostly start-up. The
//! unwinder comes out of gcc's archive, where that is at hand, and is no library more to be loaded: a tenth of
//! the time. Nothing of it reaches programs that use the crate. `.cargo/config.toml` has the rest.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=release/link.rs");
    let target = |what| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("ENV") != "gnu" || target("FEATURE").split(',').any(|feature| feature == "crt-static") {
        return;
    }
    if let (Some(archive), Some(out)) = (unwinder(), env::var_os("OUT_DIR")) {
        // rustc asks for libgcc_s; this script of the linker goes by that name and names the archive.
        let out = Path::new(&out);
        if fs::write(out.join("libgcc_s.so"), format!("INPUT(\"{}\")\n", archive.display())).is_ok() {
            println!("cargo::rustc-link-arg-bins=-L{}", out.display());
        }
    }
}

/// Where the linker, mostly gcc, has the archive; one that has not says the bare name.
fn unwinder() -> Option<PathBuf> {
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let answer = Command::new(linker).arg("-print-file-name=libgcc_eh.a").output().ok()?;
    let path = Path::new(String::from_utf8(answer.stdout).ok()?.trim()).canonicalize().ok()?;
    answer.status.success().then_some(path)
}
