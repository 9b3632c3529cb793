//! Shared libraries by their file names.

use std::path::{Path, PathBuf};

use super::root::list_names;

/// The most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 20_000;

/// The shared library of ONNX Runtime among the packages of a Python: `onnxruntime/capi/libonnxruntime.so.1.32.0`; `None` where there is none.
#[must_use]
pub fn onnx_runtime_library(packages_dir: &Path) -> Option<PathBuf> {
    let folder = packages_dir.join("onnxruntime").join("capi");
    let entries = list_names(&folder, MAX_ENTRIES);
    let versions = entries.iter().filter_map(|entry| Some((library_version(entry, "onnxruntime")?, entry)));
    // A name without a version may be a link to the one with it.
    versions.max_by_key(|(version, _)| version.len()).map(|(_, entry)| folder.join(entry))
}

/// The version in a library's file name, empty when it has none; `None` for another file.
pub(super) fn library_version<'a>(file: &'a str, name: &str) -> Option<&'a str> {
    if file.strip_suffix(".dll") == Some(name) {
        return Some("");
    }
    let rest = file.strip_prefix("lib")?.strip_prefix(name)?;
    let version = rest.strip_prefix(".so").or_else(|| rest.strip_suffix(".dylib"))?;
    let version = version.strip_prefix('.').unwrap_or(version);
    (version.is_empty() || is_version(version)).then_some(version)
}

pub(super) fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_library_of_onnx_runtime_is_found_among_the_packages() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(onnx_runtime_library(dir.path()), None);
        let capi = dir.path().join("onnxruntime/capi");
        fs::create_dir_all(&capi).unwrap();
        let others =
            ["libonnxruntime_providers_shared.so", "onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so", "__init__.py"];
        for name in others {
            fs::write(capi.join(name), "").unwrap();
        }
        assert_eq!(onnx_runtime_library(dir.path()), None);
        for names in
            [&["onnxruntime.dll"][..], &["libonnxruntime.1.32.0.dylib"], &["libonnxruntime.so.1.32.0", "libonnxruntime.so"]]
        {
            for name in names {
                fs::write(capi.join(name), "").unwrap();
            }
            assert_eq!(onnx_runtime_library(dir.path()), Some(capi.join(names[0])));
            for name in names {
                fs::remove_file(capi.join(name)).unwrap();
            }
        }
    }

    #[test]
    fn versions_in_library_names() {
        let check = |file: &str, expected| assert_eq!(library_version(file, "onnxruntime"), expected, "{file}");
        check("libonnxruntime.so", Some(""));
        check("libonnxruntime.so.1.22.0", Some("1.22.0"));
        check("libonnxruntime.1.22.0.dylib", Some("1.22.0"));
        check("onnxruntime.dll", Some(""));
        check("libonnxruntime_providers_shared.so", None);
        check("libonnxruntime.so.py", None);
        check("libonnxruntime.a", None);
    }
}
