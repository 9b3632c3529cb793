//! The runtimes of the five frameworks: built in, Python packages, shared libraries.
//!
//! Only folders are listed: starting Python takes longer than everything else together.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use super::Runtime;
use super::environments::own_environment;
use super::libraries::{is_version, library_version};
use super::root::{Root, list_names};
use crate::model::{Framework, RuntimeId};

use crate::path_text;

/// The version of the crate that links llama.cpp; a test compares it with `Cargo.toml`.
const LLAMA_CPP_CRATE: &str = "0.1.160";

/// The most entries of a folder that are looked at; `/usr/lib` of a full desktop has some thousand.
const MAX_ENTRIES: usize = 20_000;

/// The most folders of each kind.
const MAX_FOLDERS: usize = 64;

/// Where runtimes are looked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// Folders with Python packages.
    pub(super) site_packages: Vec<PathBuf>,
    /// Folders with shared libraries.
    pub(super) libraries: Vec<PathBuf>,
    /// Qualcomm's AI Runtime SDK (`QNN_SDK_ROOT`).
    pub(super) qnn_sdk: Option<PathBuf>,
}

/// What decides whether a runtime makes sense here.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Platform {
    /// A Mac with an M chip.
    pub(super) is_apple_silicon: bool,
    /// The machine has a Hexagon NPU.
    pub(super) has_hexagon: bool,
    /// llama.cpp is part of this build.
    pub(super) has_llama_cpp: bool,
}

/// All five in the order of [`Framework::ALL`], found or with a line that says how to get them.
pub(super) fn find(places: &Places, platform: Platform) -> Vec<Runtime> {
    Framework::ALL.into_iter().map(|framework| find_one(framework, places, platform)).collect()
}

fn find_one(framework: Framework, places: &Places, platform: Platform) -> Runtime {
    let found = match framework {
        Framework::LlamaCpp => platform
            .has_llama_cpp
            .then(|| Found { version: LLAMA_CPP_CRATE.into(), place: format!("built in (llama-cpp-2 {LLAMA_CPP_CRATE})") }),
        Framework::OnnxRuntime => onnx_runtime(places),
        Framework::OpenVino => package(places, &["openvino"]).or_else(|| library(places, "openvino")),
        Framework::Mlx => python_among(places, RuntimeId::Mlx.packages())
            .map(|found| Found { version: found.version, place: path_text::shown(&found.packages_dir) }),
        Framework::Qnn => qnn(places),
    };
    let (version, note) = match found {
        Some(found) => (Some(found.version), found.place),
        None => (None, how_to_get(framework, platform)),
    };
    Runtime { framework, version, note }
}

/// One line that tells the user how to get a runtime.
fn how_to_get(framework: Framework, platform: Platform) -> String {
    match framework {
        Framework::LlamaCpp => "build Planish with its feature llama-cpp, which is on by default".into(),
        Framework::OnnxRuntime => "planish runtime install onnxruntime".into(),
        Framework::OpenVino => "pip install openvino".into(),
        Framework::Mlx if platform.is_apple_silicon => "planish runtime install mlx".into(),
        Framework::Mlx => "made for Macs with an M chip, slow elsewhere: planish runtime install mlx".into(),
        Framework::Qnn if platform.has_hexagon => {
            "pip install onnxruntime-qnn, or set QNN_SDK_ROOT to Qualcomm's AI Runtime SDK".into()
        }
        Framework::Qnn => "needs a Snapdragon with a Hexagon NPU, which this machine lacks".into(),
    }
}

/// A runtime that is there.
struct Found {
    version: String,
    place: String,
}

/// ONNX Runtime where Planish can use it; the note names Olive, which prepares models for it, if that is there too.
fn onnx_runtime(places: &Places) -> Option<Found> {
    let PythonPackages { packages_dir, version, .. } = python_among(places, RuntimeId::OnnxRuntime.packages())?;
    let place = path_text::shown(&packages_dir);
    let olive = package(places, &["olive_ai"]).map_or(String::new(), |olive| format!(", Olive {}", olive.version));
    Some(Found { version, place: format!("{place}{olive}") })
}

fn qnn(places: &Places) -> Option<Found> {
    package(places, &["onnxruntime_qnn", "qai_appbuilder"]).or_else(|| library(places, "QnnHtp")).or_else(|| {
        let sdk = places.qnn_sdk.as_ref().filter(|sdk| sdk.is_dir())?;
        // The SDK unpacks to a folder named after its version: qairt/2.26.0.240828.
        let folder = path_text::searchable(sdk.file_name()?);
        let version = if is_version(&folder) { folder.into_owned() } else { UNKNOWN_VERSION.into() };
        Some(Found { version, place: path_text::shown(sdk) })
    })
}

/// Shown for a library that does not tell its version.
const UNKNOWN_VERSION: &str = "unknown version";

/// The first of `names` that is installed, by its folder `NAME-VERSION.dist-info`.
fn package(places: &Places, names: &[&str]) -> Option<Found> {
    places.site_packages.iter().find_map(|folder| {
        let entries = list_names(folder, MAX_ENTRIES);
        names.iter().find_map(|wanted| {
            entries.iter().find_map(|entry| {
                let (name, version) = entry.strip_suffix(".dist-info")?.rsplit_once('-')?;
                let is_wanted = name.to_ascii_lowercase().replace(['-', '.'], "_") == **wanted;
                (is_wanted && is_version(version)).then(|| Found { version: version.into(), place: path_text::shown(folder) })
            })
        })
    })
}

/// A shared library `libNAME.so.1.2`, `libNAME.1.2.dylib` or `NAME.dll`; of several the one with the longest version.
fn library(places: &Places, name: &str) -> Option<Found> {
    places.libraries.iter().find_map(|folder| {
        let entries = list_names(folder, MAX_ENTRIES);
        let versions = entries.iter().filter_map(|entry| library_version(entry, name));
        let version = versions.max_by_key(|version| version.len())?;
        let version = if version.is_empty() { UNKNOWN_VERSION } else { version };
        Some(Found { version: version.into(), place: path_text::shown(folder) })
    })
}

/// A Python that has some packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonPackages {
    /// The program.
    pub python: PathBuf,
    /// The folder that the packages lie in.
    pub packages_dir: PathBuf,
    /// Version of the first one.
    pub version: String,
}

/// The first Python that has all these packages in at least these versions (major, minor): in an active environment, in one of
/// Planish's own, in the system. Nothing is started.
#[must_use]
pub fn python_with(packages: &[(&str, (u32, u32))]) -> Option<PythonPackages> {
    python_among(&places(), packages)
}

/// [`python_with`] in the environment at `prefix` alone.
#[must_use]
pub fn python_below(prefix: &Path, packages: &[(&str, (u32, u32))]) -> Option<PythonPackages> {
    python_among(&Places { site_packages: existing(packages_below(prefix)), ..Places::default() }, packages)
}

fn python_among(places: &Places, packages: &[(&str, (u32, u32))]) -> Option<PythonPackages> {
    places.site_packages.iter().find_map(|folder| {
        let only = Places { site_packages: vec![folder.clone()], ..Places::default() };
        let recent = |(name, least): &(&str, (u32, u32))| {
            package(&only, &[name]).filter(|found| version_of(&found.version).is_some_and(|version| version >= *least))
        };
        let found: Vec<Found> = packages.iter().map(recent).collect::<Option<_>>()?;
        let version = found.into_iter().next()?.version;
        Some(PythonPackages { python: python_of(folder)?, packages_dir: folder.clone(), version })
    })
}

/// `(0, 32)` for `0.32.4`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The Python of a folder of packages: `PREFIX/bin/python3` for `PREFIX/lib/python3.12/site-packages`, on Windows
/// `PREFIX/Scripts/python.exe` or `PREFIX/python.exe` for `PREFIX/Lib/site-packages`; for the user's own, the system's.
fn python_of(packages_dir: &Path) -> Option<PathBuf> {
    let lib = packages_dir.parent()?;
    let version = path_text::searchable(lib.file_name()?);
    let version = version.as_ref();
    let beside = if version.starts_with("python") { lib.parent()?.parent()? } else { lib.parent()? };
    let programs = ["bin", "Scripts", ""]
        .into_iter()
        .flat_map(|bin| [version, "python3", "python", "python.exe"].map(|name| beside.join(bin).join(name)));
    let on_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let on_path = on_path.into_iter().map(|folder| folder.join(version));
    programs.chain(on_path).find(|program| program.is_file())
}

/// The places of this machine, by the environment and the usual folders.
pub(super) fn places() -> Places {
    let paths_in = |name: &str| env::var_os(name).map(|value| env::split_paths(&value).collect::<Vec<_>>()).unwrap_or_default();
    let search = paths_in("PATH");
    let mut libraries = paths_in("LD_LIBRARY_PATH");
    let fixed = [
        "/usr/local/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/opt/intel/openvino/runtime/lib/intel64",
        "/opt/homebrew/lib",
    ];
    libraries.extend(fixed.map(PathBuf::from));
    if cfg!(windows) {
        libraries.extend(search.iter().cloned());
    }
    Places {
        site_packages: existing(site_packages(&search)),
        libraries: existing(libraries),
        qnn_sdk: env::var_os("QNN_SDK_ROOT").map(PathBuf::from),
    }
}

/// Folders with the packages of active environments, of Planish's own, of the first Python in `search`, and of the user.
fn site_packages(search: &[PathBuf]) -> Vec<PathBuf> {
    let mut prefixes: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(env::var_os).map(PathBuf::from).collect();
    prefixes.extend(RuntimeId::ALL.into_iter().filter_map(own_environment));
    let programs = search.iter().flat_map(|folder| ["python3", "python", "python.exe"].map(|name| folder.join(name)));
    if let Some(python) = programs.into_iter().find(|program| program.is_file()) {
        // The name leads to a virtual environment, the file behind it to the Python that it stands on.
        let behind = python.canonicalize().unwrap_or_else(|_| python.clone());
        prefixes.extend([&python, &behind].iter().filter_map(|program| prefix_of(program)));
        prefixes.extend(pyenv_prefixes(&python));
    }
    prefixes.extend(["/usr/local", "/usr"].map(PathBuf::from));
    let home = env::var_os("HOME").map(PathBuf::from);
    prefixes.extend(home.map(|home| home.join(".local")));
    let mut folders: Vec<PathBuf> = prefixes.iter().flat_map(|prefix| packages_below(prefix)).collect();
    if let Some(roaming) = env::var_os("APPDATA").map(|path| PathBuf::from(path).join("Python")) {
        folders.extend(list_names(&roaming, MAX_FOLDERS).iter().map(|version| roaming.join(version).join("site-packages")));
    }
    folders
}

/// `PREFIX/bin/python3` → `PREFIX`; on Windows the program lies in the prefix or in its `Scripts`.
fn prefix_of(program: &Path) -> Option<PathBuf> {
    let folder = program.parent()?;
    let is_below = folder.file_name().is_some_and(|name| name == "bin" || name == "Scripts");
    if is_below { folder.parent().map(Path::to_path_buf) } else { Some(folder.to_path_buf()) }
}

/// pyenv puts scripts into `shims` that start one of `versions`, by default those that the file `version` names.
fn pyenv_prefixes(program: &Path) -> Vec<PathBuf> {
    let Some(shims) = program.parent().filter(|folder| folder.ends_with("shims")) else { return Vec::new() };
    let base = shims.parent().unwrap_or(shims);
    let chosen = Root::at(base).text("version").unwrap_or_default();
    chosen.lines().take(MAX_FOLDERS).map(|version| base.join("versions").join(version.trim())).collect()
}

/// `lib/python3.*/site-packages`, `dist-packages` (Debian) and `Lib/site-packages` (Windows) below a prefix.
fn packages_below(prefix: &Path) -> Vec<PathBuf> {
    let lib = prefix.join("lib");
    let versions = list_names(&lib, MAX_ENTRIES).into_iter().filter(|name| name.starts_with("python3")).take(MAX_FOLDERS);
    let mut folders: Vec<PathBuf> =
        versions.flat_map(|version| ["site-packages", "dist-packages"].map(|kind| lib.join(&version).join(kind))).collect();
    folders.push(prefix.join("Lib").join("site-packages"));
    folders
}

/// Those that are folders, each once, in order.
fn existing(folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let is_new = |folder: &PathBuf| folder.canonicalize().is_ok_and(|real| real.is_dir() && seen.insert(real));
    folders.into_iter().filter(is_new).take(MAX_FOLDERS).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_crate_version_is_the_one_that_is_linked() {
        let manifest = include_str!("../../Cargo.toml");
        assert!(manifest.contains(&format!("llama-cpp-2 = {{ version = \"={LLAMA_CPP_CRATE}\"")), "update LLAMA_CPP_CRATE");
    }

    #[test]
    fn a_python_is_found_by_the_packages_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let site = |name: &str| dir.path().join(name).join("lib/python3.12/site-packages");
        for name in ["one", "two"] {
            fs::create_dir_all(site(name).join("mlx-0.32.4.dist-info")).unwrap();
            fs::create_dir_all(dir.path().join(name).join("bin")).unwrap();
            fs::write(dir.path().join(name).join("bin/python3"), "").unwrap();
        }
        fs::create_dir_all(site("two").join("mlx_lm-0.32.2.dist-info")).unwrap();
        let places = Places { site_packages: vec![site("one"), site("two")], ..Places::default() };
        let found = python_among(&places, RuntimeId::Mlx.packages()).unwrap();
        assert_eq!(found.python, dir.path().join("two/bin/python3"), "the first one has only one of them");
        assert_eq!((found.version.as_str(), found.packages_dir), ("0.32.4", site("two")));
        assert_eq!(python_among(&places, &[("mlx", (0, 30)), ("openvino", (0, 0))]), None);
        assert_eq!(python_among(&places, &[("mlx", (0, 33))]), None, "too old");
    }

    #[test]
    fn packages_and_libraries_are_found_with_their_versions() {
        let dir = tempfile::tempdir().unwrap();
        let (site, lib, sdk) =
            (dir.path().join("lib/python3.11/site-packages"), dir.path().join("lib"), dir.path().join("qairt/2.26.0.240828"));
        for name in [
            "onnxruntime-1.32.0.dist-info",
            "onnxruntime_genai-0.18.0.dist-info",
            "Olive_AI-0.9.1.dist-info",
            "openvino_tokenizers-1.0.dist-info",
            "mlx-0.32.4.dist-info",
            "mlx_lm-0.32.2.dist-info",
        ] {
            fs::create_dir_all(site.join(name)).unwrap();
        }
        fs::create_dir_all(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("bin/python3"), "").unwrap();
        fs::create_dir_all(&sdk).unwrap();
        for name in ["libopenvino.so", "libopenvino.so.2025.3.0", "libopenvino.so.2530", "libopenvino_c.so.9.9", "libQnnHtp.txt"]
        {
            fs::write(lib.join(name), "").unwrap();
        }
        let places =
            Places { site_packages: packages_below(dir.path()), libraries: vec![lib.clone()], qnn_sdk: Some(sdk.clone()) };
        let platform = Platform { has_llama_cpp: true, ..Platform::default() };
        let found = find(&places, platform);
        let check = |framework: Framework, version: &str, note: String| {
            let runtime = found.iter().find(|runtime| runtime.framework == framework).unwrap();
            assert_eq!((runtime.version.as_deref(), &runtime.note), (Some(version), &note));
        };
        check(Framework::LlamaCpp, LLAMA_CPP_CRATE, format!("built in (llama-cpp-2 {LLAMA_CPP_CRATE})"));
        check(Framework::OnnxRuntime, "1.32.0", format!("{}, Olive 0.9.1", site.display()));
        check(Framework::OpenVino, "2025.3.0", lib.display().to_string());
        check(Framework::Mlx, "0.32.4", site.display().to_string());
        check(Framework::Qnn, "2.26.0.240828", sdk.display().to_string());
    }

    #[test]
    fn pythons_are_found_behind_their_names() {
        let check =
            |program: &str, expected: &str| assert_eq!(prefix_of(Path::new(program)).as_deref(), Some(Path::new(expected)));
        check("/opt/venv/bin/python3", "/opt/venv");
        check("/opt/python/python3", "/opt/python");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("version"), "3.11.9\n3.12.1\n").unwrap();
        let versions = ["3.11.9", "3.12.1"].map(|version| dir.path().join("versions").join(version));
        assert_eq!(pyenv_prefixes(&dir.path().join("shims/python3")), versions);
        assert_eq!(pyenv_prefixes(&dir.path().join("bin/python3")), [] as [PathBuf; 0]);
    }

    #[test]
    fn what_is_missing_says_how_to_get_it() {
        let here = Platform { is_apple_silicon: true, has_hexagon: true, has_llama_cpp: false };
        for platform in [Platform::default(), here] {
            let runtimes = find(&Places::default(), platform);
            assert_eq!(runtimes.iter().map(|runtime| runtime.framework).collect::<Vec<_>>(), Framework::ALL);
            assert!(
                runtimes
                    .iter()
                    .all(|runtime| runtime.version.is_none() && !runtime.note.is_empty() && !runtime.note.contains('\n'))
            );
        }
        let note = |framework, platform| find_one(framework, &Places::default(), platform).note;
        assert!(note(Framework::Mlx, Platform::default()).contains("M chip"));
        assert!(note(Framework::Qnn, Platform::default()).contains("lacks"));
        assert_eq!(note(Framework::Mlx, here), "planish runtime install mlx");
        assert_eq!(note(Framework::OnnxRuntime, here), "planish runtime install onnxruntime");
    }
}
