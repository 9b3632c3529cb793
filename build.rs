//! Makes the built binary start on its own: llama.cpp's shared libraries lie beside it and it looks for them there.
//!
//! llama-cpp-sys-2 leaves libraries under their linker name (`libllama.so`) in the target folder, but the loader asks for the versioned
//! one (`libllama.so.0`): without this step a binary finds them only when cargo starts it.
#![allow(clippy::disallowed_methods, reason = "cargo's own folders, in cargo's own words")]

use std::env;
use std::io;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let Some(backends_dir) = env::var_os("DEP_LLAMA_BACKENDS_DIR").map(PathBuf::from) else {
        return; // built without llama.cpp
    };
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos" | "ios") => {
            println!("cargo:rustc-link-arg=-Wl,-rpath,@loader_path");
            println!("cargo:rustc-link-arg=-Wl,-rpath,@loader_path/../lib/planish");
        }
        Ok("windows") => return, // the loader looks beside the executable, where llama-cpp-sys-2 has put the DLLs
        _ => {
            println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN");
            println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib/planish");
        }
    }
    if let Err(error) = place_libraries(&backends_dir) {
        println!("cargo:warning=llama.cpp's libraries are not beside the binary, it starts only through cargo: {error}");
    }
}

/// Puts the libraries under the names that the loader asks for into `target/PROFILE` and its `deps` (where tests are).
fn place_libraries(backends_dir: &Path) -> io::Result<()> {
    let sys_out = backends_dir.parent().ok_or(io::ErrorKind::NotFound)?;
    let own_out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    // target/PROFILE/build/planish-HASH/out
    let profile_dir = own_out.ancestors().nth(3).ok_or(io::ErrorKind::NotFound)?;
    for lib_dir in ["lib", "lib64"].map(|name| sys_out.join(name)).into_iter().filter(|dir| dir.is_dir()) {
        println!("cargo:rerun-if-changed={}", lib_dir.display());
        for entry in std::fs::read_dir(lib_dir)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.contains(".so") || name.contains(".dylib") {
                place(&path, &profile_dir.join(name))?;
                place(&path, &profile_dir.join("deps").join(name))?;
            }
        }
    }
    Ok(())
}

/// A hard link to what `from` points to, or a copy where the file system has no links.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    let from = from.canonicalize()?;
    if to.canonicalize().is_ok_and(|there| same_file(&from, &there)) {
        return Ok(());
    }
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::hard_link(&from, to).or_else(|_| std::fs::copy(&from, to).map(drop))
}

#[cfg(unix)]
fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    matches!((a.metadata(), b.metadata()), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

#[cfg(not(unix))]
fn same_file(_: &Path, _: &Path) -> bool {
    false
}
