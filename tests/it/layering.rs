//! The order of the modules is the architecture: a module uses only modules to its left.

use std::path::Path;

const ORDER: [&str; 15] = [
    "model", "format", "quant", "hardware", "import", "advise", "convert", "runtime", "bench", "deploy", "worker", "state", "ui",
    "app", "cli",
];

/// Modules that may use each other's neighbours all the same, with the reason.
const EXCEPTIONS: [(&str, &str); 1] = [
    // The command line is a second front door: it stands beside app, not above it.
    ("cli", "app"),
];

fn check_file(module: &str, path: &Path, violations: &mut Vec<String>) {
    let text = std::fs::read_to_string(path).unwrap();
    // Tests may build facts of any layer.
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let own = ORDER.iter().position(|name| *name == module).unwrap();
    for (idx, other) in ORDER.iter().enumerate() {
        let is_used = code.contains(&format!("crate::{other}::")) || code.contains(&format!("crate::{other};"));
        let is_forbidden = idx > own || EXCEPTIONS.contains(&(module, other));
        if is_used && is_forbidden {
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
