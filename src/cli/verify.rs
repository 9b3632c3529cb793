//! `planish verify`: is a file still what was written?

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::OutputArgs;
use super::output::{facts_text, print_json, print_text};
use super::progress;
use crate::convert::{Verification, VerifyRequest, verify as verify_file};
use crate::error::Result;
use crate::path_text;
use crate::units::{count_text, exact_bytes_text};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// GGUF files and MLX folders made by Planish
    #[arg(required = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    models: Vec<PathBuf>,
    /// Also check that they were made from this model
    #[arg(long, value_name = "MODEL", value_hint = clap::ValueHint::AnyPath)]
    source: Option<PathBuf>,
    /// Also check that they were made with this importance matrix
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    imatrix: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Prints what each file is. The first one that is not as it was written makes the command fail, once all are checked.
pub(super) fn verify(args: VerifyArgs) -> Result<()> {
    let VerifyArgs { models, source, imatrix, output } = args;
    let monitor = progress::monitor();
    let mut found = Vec::with_capacity(models.len());
    for path in models {
        let request = VerifyRequest { path: path.clone(), source: source.clone(), imatrix: imatrix.clone() };
        let verification = verify_file(&request, &monitor);
        monitor.check()?;
        found.push((path, verification));
    }
    if output.json {
        let rows = super::run::outcomes_json("verification", found.iter().map(|(path, verification)| (path, verification)));
        print_json(&json!({ "files": rows }))?;
    } else {
        let texts: Vec<String> = found.iter().filter_map(|(_, found)| found.as_ref().ok()).map(verification_text).collect();
        if !texts.is_empty() {
            print_text(&texts.join("\n\n"))?;
        }
    }
    found.into_iter().try_for_each(|(_, found)| found?.outcome())
}

fn verification_text(found: &Verification) -> String {
    let verdict = if found.findings.is_empty() { "as it was written".into() } else { found.findings.join("; ") };
    let rows = [
        ("file", path_text::shown(&found.path)),
        ("verdict", verdict),
        ("compared", found.compared_text()),
        ("recipe", found.recipe.clone()),
        ("made from", found.source_name.clone().unwrap_or_default()),
        ("source BLAKE3", found.source_blake3.clone()),
        ("made by", format!("Planish {}", found.version)),
        ("size", exact_bytes_text(found.size_bytes)),
        ("tensors", count_text(found.n_tensors as u64)),
    ];
    facts_text(&rows.into_iter().filter(|(_, value)| !value.is_empty()).collect::<Vec<_>>())
}
