//! How the program is linked, so that it starts sooner: a copy of one small file is mostly start-up. Where the
//! linker has libc and the unwinder as archives, the program holds them and nothing has to be loaded: three
//! fifths of the time. It stays position-independent. Nothing of it reaches programs that use the crate.
//!
//! `RUSTFLAGS="-C target-feature=-crt-static"` asks for the libraries of the system instead, as it does
//! elsewhere in Rust.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// What rustc asks the linker for, and what there is to be had of it in archives. Each script goes by the
/// name of the shared library, which would be found first.
const LIBRARIES: [(&str, &[&str]); 7] = [
    ("libgcc_s.so", &["libgcc_eh.a"]),
    ("libc.so", &["libc.a", "libgcc.a", "libgcc_eh.a"]), // they need each other
    ("libm.so", &["libm.a"]),
    ("libutil.so", &["libutil.a"]), // the rest are parts of libc since glibc 2.34
    ("librt.so", &["librt.a"]),
    ("libpthread.so", &["libpthread.a"]),
    ("libdl.so", &["libdl.a"]),
];

fn main() {
    println!("cargo::rerun-if-changed=release/link.rs");
    let target = |what| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    let rustc_does = target("ENV") != "gnu" || target("FEATURE").split(',').any(|feature| feature == "crt-static");
    let declined = env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("-crt-static"));
    let shared_runtime = env::var_os("CARGO_CFG_SANITIZE").is_some();
    if rustc_does || declined || shared_runtime {
        return;
    }
    if let Some(out) = env::var_os("OUT_DIR").filter(|out| write_scripts(Path::new(out)).is_ok()) {
        println!("cargo::rustc-link-arg-bins=-static-pie");
        println!("cargo::rustc-link-arg-bins=-L{}", Path::new(&out).display());
    }
}

/// Writes a linker script for each library. Fails if an archive is missing, as on systems that have them in a
/// package of their own: then the program is linked as usual.
fn write_scripts(out: &Path) -> io::Result<()> {
    archive("rcrt1.o")?; // the start of such a program
    for (library, archives) in LIBRARIES {
        let found = archives.iter().map(|name| archive(name)).collect::<io::Result<Vec<_>>>()?;
        let names: Vec<_> = found.iter().map(|path| format!("\"{}\"", path.display())).collect();
        fs::write(out.join(library), format!("GROUP({})\n", names.join(" ")))?;
    }
    Ok(())
}

/// Where the linker, mostly gcc, has the archive; one that has not says the bare name.
fn archive(name: &str) -> io::Result<PathBuf> {
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let answer = Command::new(linker).arg(format!("-print-file-name={name}")).output()?;
    let path = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    if answer.status.success() && path.is_absolute() {
        path.canonicalize()
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}
