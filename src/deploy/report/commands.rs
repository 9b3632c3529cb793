//! The commands that reproduce each number.

use std::path::{Path, PathBuf};

use super::super::shell::quoted_path;
use crate::advise::{GateKind, Goal};
use crate::bench::quality::{QualityRun, Stopping};
use crate::bench::{ComparisonRow, Run};

/// A command and what it reproduces.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recipe {
    /// What it reproduces: `speed and memory of Q8_0, Q4_K_M`.
    pub(super) gives: String,
    /// To be typed into a shell.
    pub(super) line: String,
    /// What the line cannot say; empty when it says all.
    pub(super) note: String,
}

/// The commands for the recommendation, for the conversions, and for each way in which rows were measured, in that order.
pub(super) fn recipes(rows: &[ComparisonRow], model: &Path, goal: &Goal, n_ctx: u64) -> Vec<Recipe> {
    let mut recipes = vec![recommendation(model, goal, n_ctx)];
    recipes.extend(conversion(rows, model));
    recipes.extend(grouped(rows, |row| row.run.as_ref(), speed_options).into_iter().map(|(options, rows)| {
        let files: Vec<PathBuf> = rows.iter().map(|row| row.path.clone()).collect();
        let line = format!("planish bench {} {options}", quoted_paths(&files));
        Recipe { gives: format!("speed and memory of {}", names(&rows)), line, note: String::new() }
    }));
    recipes.extend(grouped(rows, |row| row.quality.as_deref(), quality_options).into_iter().map(|((options, note), rows)| {
        let files: Vec<PathBuf> = rows.iter().map(|row| row.path.clone()).collect();
        let line = format!("planish quality {} {options}", quoted_paths(&files));
        Recipe { gives: format!("loss and verdict of {}", names(&rows)), line, note }
    }));
    recipes
}

/// The rows for which `of` returns something, grouped by their options.
fn grouped<'a, T: 'a, O: PartialEq>(
    rows: &'a [ComparisonRow],
    of: impl Fn(&'a ComparisonRow) -> Option<&'a T>,
    options_of: impl Fn(&T) -> O,
) -> Vec<(O, Vec<&'a ComparisonRow>)> {
    let mut groups: Vec<(O, Vec<&ComparisonRow>)> = Vec::new();
    for row in rows {
        let Some(options) = of(row).map(&options_of) else { continue };
        match groups.iter_mut().find(|group| group.0 == options) {
            Some(group) => group.1.push(row),
            None => groups.push((options, vec![row])),
        }
    }
    groups
}

fn names(rows: &[&ComparisonRow]) -> String {
    rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn recommendation(model: &Path, goal: &Goal, n_ctx: u64) -> Recipe {
    let mut line = format!(
        "planish recommend {} --goal {} --target {} --context {}",
        quoted_path(model),
        value_name(&goal.priority),
        value_name(&goal.target),
        goal.n_ctx
    );
    if let Some(size_bytes) = goal.memory_budget_bytes {
        line.push_str(&format!(" --memory-budget {size_bytes}"));
    }
    for (is_on, flag) in [(goal.enterprise, " --enterprise"), (goal.battery, " --battery")] {
        if is_on {
            line.push_str(flag);
        }
    }
    // Predictions beside measurements are for the measured context.
    let note = if n_ctx == goal.n_ctx {
        String::new()
    } else {
        format!("predictions beside measurements are for the measured context: --context {n_ctx}")
    };
    Recipe { gives: "the recommendation and the predictions".into(), line, note }
}

fn value_name<T: clap::ValueEnum>(value: &T) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
}

/// True for a file made with its level's own recipe: the changes to any other recipe are not known here.
fn is_plain(row: &ComparisonRow) -> bool {
    row.level.is_some_and(|level| row.name == level.name())
}

/// One conversion for each folder and format (GGUF or MLX) that the levels lie in.
fn conversion(rows: &[ComparisonRow], model: &Path) -> Vec<Recipe> {
    let made: Vec<&ComparisonRow> = rows.iter().filter(|row| row.path != model && is_plain(row)).collect();
    let mut folders: Vec<((&Path, bool), Vec<&ComparisonRow>)> = Vec::new();
    for row in made {
        let folder = row.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let is_gguf = row.level.is_some_and(|level| level.preset().is_some());
        match folders.iter_mut().find(|known| known.0 == (folder, is_gguf)) {
            Some(known) => known.1.push(row),
            None => folders.push(((folder, is_gguf), vec![row])),
        }
    }
    folders
        .into_iter()
        .map(|((folder, is_gguf), rows)| {
            // A GGUF file that stands for its checkpoint cannot be converted to MLX.
            let is_from_checkpoint = !is_gguf && !model.is_dir();
            let levels: Vec<&str> = rows.iter().filter_map(|row| row.level).map(crate::model::Level::name).collect();
            Recipe {
                gives: format!("the files {}", names(&rows)),
                line: format!(
                    "planish convert {} --level {} --out {}",
                    if is_from_checkpoint { "CHECKPOINT".into() } else { quoted_path(model) },
                    levels.join(","),
                    quoted_path(folder)
                ),
                note: if is_from_checkpoint {
                    "CHECKPOINT is the folder that the source was made from".into()
                } else {
                    String::new()
                },
            }
        })
        .collect()
}

fn speed_options(run: &Run) -> String {
    let used = &run.provenance;
    let mut options = format!(
        "--prompt-tokens {} --gen-tokens {} --repetitions {} --bench-threads {}",
        used.n_prompt_tokens,
        used.n_gen_tokens,
        run.decode_tokens_per_sec.values.len(),
        used.n_threads
    );
    if let Some(sustained) = &run.sustained {
        options.push_str(&format!(" --sustained {:.0}", sustained.elapsed_secs().max(1.0)));
    }
    options
}

/// The options, and what they cannot say.
fn quality_options(run: &QualityRun) -> (String, String) {
    let used = &run.provenance;
    let mut notes = vec![format!("it uses one thread per physical core, here {}", used.n_threads)];
    let mut options = format!("--reference {}", quoted_path(&run.reference));
    match used.text_name.as_str() {
        "bundled evaluation text" => {}
        name => {
            options.push_str(&format!(" --text {}", quoted_path(Path::new(name))));
            notes.push(format!("{name} is the text with the SHA-256 {}", used.text_sha256));
        }
    }
    options.push_str(&format!(" --tokens {} --chunk {} --seed {}", used.max_tokens, used.n_ctx, used.seed));
    if used.stopping == Stopping::Full {
        options.push_str(" --full");
    }
    let gates = [
        (GateKind::AccuracyRatio, "min-accuracy"),
        (GateKind::PplRatio, "max-perplexity"),
        (GateKind::MeanKld, "max-kld"),
        (GateKind::SameTop, "min-same-top"),
    ];
    for (kind, flag) in gates {
        let limit = run.verdict.gates.iter().find(|gate| gate.kind == kind).map(|gate| gate.limit);
        options.push_str(&format!(" --{flag} {}", limit.map_or_else(|| "off".to_string(), |limit| limit.to_string())));
    }
    (options, notes.join("; "))
}

fn quoted_paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| quoted_path(path)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::test_rows::rows;

    #[test]
    fn each_number_has_its_command_with_the_very_options() {
        let goal = Goal { n_ctx: 768, battery: true, ..Goal::default() };
        let recipes = recipes(&rows(), Path::new("/models/m-F16.gguf"), &goal, 768);
        let lines: Vec<&str> = recipes.iter().map(|recipe| recipe.line.as_str()).collect();
        assert_eq!(
            lines,
            [
                "planish recommend /models/m-F16.gguf --goal balanced --target this-machine --context 768 --battery",
                "planish convert /models/m-F16.gguf --level Q4_K_M,Q2_K --out /models",
                "planish bench /models/m-F16.gguf /models/m-Q4_K_M.gguf --prompt-tokens 512 --gen-tokens 128 --repetitions 3 --bench-threads 8",
                "planish quality /models/m-Q4_K_M.gguf --reference /models/m-F16.gguf --tokens 16000 --chunk 512 --seed 0 --min-accuracy 0.95 \
                 --max-perplexity off --max-kld 0.1 --min-same-top off",
            ]
        );
        assert!(recipes[3].note.contains('8'));
    }
}
