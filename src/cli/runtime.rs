//! `planish runtime`: what runs models here, and setting up what is not built in.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::OutputArgs;
use super::output::{columns_text, print_json, print_text};
use super::progress;
use crate::error::Result;
use crate::fetch::{self, Installed};
use crate::model::RuntimeId;
use crate::path_text;
use crate::runtime;
use crate::units::bytes_text;

#[derive(Debug, Args)]
pub(super) struct RuntimeArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what runs models here, and what can be set up
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Set up a runtime in a Python environment of its own; first prints how much it will fetch
    Install {
        /// The runtime
        runtime: Name,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Remove what install has set up
    Remove {
        /// The runtime
        runtime: Name,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Runtimes that can be set up.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// ONNX Runtime and its GenAI package, for folders of ONNX
    #[value(name = "onnxruntime")]
    OnnxRuntime,
    /// mlx-lm, for MLX levels
    Mlx,
}

impl From<Name> for RuntimeId {
    fn from(name: Name) -> Self {
        match name {
            Name::OnnxRuntime => Self::OnnxRuntime,
            Name::Mlx => Self::Mlx,
        }
    }
}

pub(super) fn runtime(args: RuntimeArgs) -> Result<()> {
    match args.action {
        Action::List { output } => list(output.json),
        Action::Install { runtime, output } => install(runtime.into(), output.json),
        Action::Remove { runtime, output } => {
            let runtime: RuntimeId = runtime.into();
            let is_removed = fetch::remove(runtime)?;
            if output.json {
                return print_json(&json!({ "runtime": runtime.slug(), "is_removed": is_removed }));
            }
            let text = if is_removed { "has been removed" } else { "was not set up by Planish: nothing to remove" };
            print_text(&format!("{} {text}", runtime.name()))
        }
    }
}

fn list(as_json: bool) -> Result<()> {
    let rows: Vec<(RuntimeId, Option<String>, String)> = RuntimeId::ALL.into_iter().map(state).collect();
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(runtime, version, note)| json!({ "runtime": runtime.slug(), "version": version, "note": note }))
            .collect();
        return print_json(&json!({ "runtimes": rows }));
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(runtime, version, note)| vec![runtime.slug().into(), version.unwrap_or_else(|| "missing".into()), note])
        .collect();
    print_text(&columns_text(&["runtime", "version", "where, or how to get it"], &rows, &[]))
}

/// The version of a runtime, if it is here, and where it is or how to get it.
fn state(runtime: RuntimeId) -> (RuntimeId, Option<String>, String) {
    if runtime.packages().is_empty() {
        return match runtime::check_available(runtime) {
            Ok(()) => (runtime, runtime::version(), "built in".into()),
            Err(error) => (runtime, None, error.to_string()),
        };
    }
    match fetch::installed(runtime) {
        Some(Installed { version, packages_dir, is_own }) => {
            // The packages alone do not help a build without the part that uses them.
            if let Err(error) = runtime::check_available(runtime) {
                return (runtime, None, error.to_string());
            }
            let by = if is_own { ", set up by Planish" } else { "" };
            (runtime, Some(version), format!("{}{by}", path_text::shown(&packages_dir)))
        }
        None => (runtime, None, format!("planish runtime install {}", runtime.slug())),
    }
}

fn install(runtime: RuntimeId, as_json: bool) -> Result<()> {
    let plan = fetch::plan(runtime)?;
    eprintln!(
        "{}: {} packages, about {} to fetch and {} on the disk, in {}, by {}",
        runtime.name(),
        plan.n_packages,
        bytes_text(plan.download_bytes),
        bytes_text(plan.installed_bytes),
        path_text::shown(&plan.folder),
        plan.installer
    );
    let installed = fetch::install(runtime, &progress::monitor())?;
    if as_json {
        let path = path_text::to_text(&installed.packages_dir);
        return print_json(&json!({ "runtime": runtime.slug(), "version": installed.version, "path": path }));
    }
    print_text(&format!("{} {} is ready in {}", runtime.name(), installed.version, path_text::shown(&installed.packages_dir)))
}
