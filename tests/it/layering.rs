//! The order of the modules is the architecture: a module uses only modules to its left.

use std::collections::BTreeSet;
use std::path::Path;

const ORDER: [&str; 22] = [
    "path_text",
    "error",
    "units",
    "monitor",
    "model",
    "quant",
    "format",
    "hardware",
    "fetch",
    "import",
    "advise",
    "convert",
    "runtime",
    "calibrate",
    "bench",
    "make",
    "deploy",
    "worker",
    "state",
    "ui",
    "app",
    "cli",
];

/// Pairs that the order allows and that are forbidden all the same, with the reason: the first must not use the second.
const EXCEPTIONS: [(&str, &str); 1] = [
    // The command line is a second front door: it stands beside app, not above it.
    ("cli", "app"),
];

/// The modules of the crate that `code` names: in paths, and in lists as `use crate::{error, units::bytes_text};`.
fn used_modules(code: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        // A comment may speak of any module.
        let line_start = code[..at].rfind('\n').map_or(0, |end| end + 1);
        if code[line_start..at].trim_start().starts_with("//") {
            continue;
        }
        let rest = &code[at + path.len()..];
        let list = rest.strip_prefix('{').map_or(&rest[..0], |list| list.split(';').next().unwrap());
        let mut depth = 0;
        let is_outer_comma = |letter: char| {
            depth += i32::from(letter == '{') - i32::from(letter == '}');
            letter == ',' && depth == 0
        };
        let names = if list.is_empty() { vec![rest] } else { list.split(is_outer_comma).map(str::trim_start).collect() };
        let name_of = |path: &'_ str| path.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(path.len());
        found.extend(names.into_iter().map(|name| &name[..name_of(name)]));
    }
    found
}

#[test]
fn modules_are_seen_in_paths_and_in_lists() {
    let seen = |code| used_modules(code).into_iter().filter(|name| ORDER.contains(name)).collect::<Vec<_>>();
    assert_eq!(seen("use crate::error::Error;\nfn f() { crate::units::bytes_text(1) }"), ["error", "units"]);
    assert_eq!(seen("use crate::{error, model::{self, Level},\n    units::bytes_text};"), ["error", "model", "units"]);
    assert_eq!(seen("/// See [`crate::ui`].\n    // crate::app does it\nuse crate::cli;"), ["cli"]);
}

fn check_file(module: &str, path: &Path, violations: &mut Vec<String>) {
    let text = std::fs::read_to_string(path).unwrap();
    // Tests may build facts of any layer.
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let used = used_modules(code);
    let own = ORDER.iter().position(|name| *name == module).unwrap();
    for (idx, other) in ORDER.iter().enumerate() {
        let is_forbidden = idx > own || EXCEPTIONS.contains(&(module, other));
        if used.contains(other) && is_forbidden {
            violations.push(format!("{} uses {other}", path.display()));
        }
    }
    let uses = |what: &str| code.contains(what);
    let pure = ["model", "quant", "advise"].contains(&module);
    if pure && (uses("std::fs") || uses("std::thread") || uses("std::time") || uses("egui")) {
        violations.push(format!("{} is pure but uses files, threads, the clock or egui", path.display()));
    }
    if !["ui", "app"].contains(&module) && uses("egui::") {
        violations.push(format!("{} draws", path.display()));
    }
    if module == "ui" && (uses("std::fs") || uses("std::thread") || uses("crossbeam") || uses("crate::worker::Worker")) {
        violations.push(format!("{} does more than draw", path.display()));
    }
}

fn check_folder(module: &str, folder: &Path, violations: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.file_stem().is_some_and(|stem| {
            let stem = stem.to_string_lossy();
            stem == "tests" || stem.starts_with("test_") || stem.starts_with("tests_") || stem.ends_with("_tests")
        });
        if is_test {
            continue; // tests may build facts of any layer and read their golden files
        }
        if path.is_dir() {
            check_folder(module, &path, violations);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            check_file(module, &path, violations);
        }
    }
}

#[test]
fn modules_use_only_modules_to_their_left() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut violations = Vec::new();
    for module in ORDER {
        let (file, folder) = (src.join(format!("{module}.rs")), src.join(module));
        assert!(file.is_file() || folder.join("mod.rs").is_file(), "no module {module}");
        if file.is_file() {
            check_file(module, &file, &mut violations);
        }
        if folder.is_dir() {
            check_folder(module, &folder, &mut violations);
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
