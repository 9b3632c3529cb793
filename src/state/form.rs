//! What the user has chosen; saved between runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Dialog, Field, RecipeForm};
use crate::advise::{Goal, Limits, Preset};
use crate::bench::{ComparisonRow, Vote};
use crate::convert::Existing;
use crate::deploy::ChartKind;
use crate::error::Error;
use crate::model::{Level, Model};

/// How many recent models are remembered.
pub const MAX_RECENT: usize = 10;

/// A page of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Page {
    /// What the model is.
    #[default]
    Model,
    /// What this machine is.
    Machine,
    /// What to do.
    Plan,
    /// Doing it.
    Optimize,
    /// What it cost, and what earlier measurements said.
    Compare,
}

impl Page {
    /// All pages in the order of the rail.
    pub const ALL: [Self; 5] = [Self::Model, Self::Machine, Self::Plan, Self::Optimize, Self::Compare];

    /// The name on the rail.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Model => "Model",
            Self::Machine => "Machine",
            Self::Plan => "Plan",
            Self::Optimize => "Optimize",
            Self::Compare => "Compare",
        }
    }
}

/// Light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Theme {
    /// As the desktop says.
    #[default]
    System,
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

/// What the Compare page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CompareTab {
    /// All levels: plots, losses, gates, table.
    #[default]
    Levels,
    /// Where the text would have gone on differently.
    Flips,
    /// Answers of two files to one prompt.
    Answers,
    /// The error of each tensor.
    Tensors,
    /// What earlier measurements said.
    History,
}

/// Settings of a measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchForm {
    /// Tokens of the prefill measurement.
    pub n_prompt_tokens: u32,
    /// Tokens of the decode measurement.
    pub n_gen_tokens: u32,
    /// Rounds.
    pub n_repetitions: u32,
    /// Threads; 0: one per physical core.
    pub n_threads: u32,
    /// Measure the source file too.
    pub with_source: bool,
    /// Length of a run under load after the rounds, in seconds; 0: none.
    pub n_sustained_secs: u32,
}

impl Default for BenchForm {
    fn default() -> Self {
        Self { n_prompt_tokens: 512, n_gen_tokens: 128, n_repetitions: 3, n_threads: 0, with_source: true, n_sustained_secs: 0 }
    }
}

/// Which text to take, for measuring losses or for collecting an importance matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TextChoice {
    /// The bundled one.
    #[default]
    Bundled,
    /// A file of the user.
    File,
    /// What the user pasted.
    Pasted,
}

/// Settings of a measurement of what was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QualityForm {
    /// The text to measure on.
    pub text: TextChoice,
    /// Path of the user's file.
    pub text_path: String,
    /// What the user pasted; not saved, because it may be long or private.
    #[serde(skip)]
    pub pasted: String,
    /// The most tokens to score per file.
    pub max_tokens: u32,
    /// Score all of them, even when the gates are decided earlier.
    pub full: bool,
}

impl Default for QualityForm {
    fn default() -> Self {
        Self { text: TextChoice::default(), text_path: String::new(), pasted: String::new(), max_tokens: 16_000, full: false }
    }
}

/// What is chosen on the History tab; not saved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryForm {
    /// Words that model, level or machine must contain.
    pub filter: String,
    /// Numbers of the chosen runs in the order of choice: the others are compared with the first.
    pub selected: Vec<i64>,
    /// True while the user is asked whether the chosen runs should really be deleted.
    pub asks_delete: bool,
    /// How often the user has asked for earlier days.
    pub n_more: usize,
}

/// Prompts, and who is to answer them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AskForm {
    /// What the user says.
    pub prompt: String,
    /// More prompts, each asked alone.
    pub more_prompts: Vec<String>,
    /// Hide which file an answer is from until the user has voted.
    pub is_blind: bool,
    /// What the user likes better, by the index of the prompt.
    #[serde(skip)]
    pub votes: BTreeMap<usize, Vote>,
    /// Indices of the prompts for which the user wanted to see the files' names without a vote.
    #[serde(skip)]
    pub revealed: BTreeSet<usize>,
    /// The file whose answer stands on the left; `None`: the source.
    #[serde(skip)]
    pub first: Option<PathBuf>,
    /// The file whose answer stands on the right; `None`: the latest converted file.
    #[serde(skip)]
    pub second: Option<PathBuf>,
    /// The most tokens of an answer.
    pub max_tokens: u32,
    /// 0 always takes the likeliest token; the higher, the more is left to chance.
    pub temperature: f32,
    /// Start of the random numbers.
    pub seed: u32,
}

impl Default for AskForm {
    fn default() -> Self {
        let prompt = "Explain in a few sentences why the sky is blue.".into();
        Self {
            prompt,
            more_prompts: Vec::new(),
            is_blind: false,
            votes: BTreeMap::new(),
            revealed: BTreeSet::new(),
            first: None,
            second: None,
            max_tokens: 128,
            temperature: 0.0,
            seed: 0,
        }
    }
}

impl AskForm {
    /// All prompts that say something, in their order.
    #[must_use]
    pub fn prompts(&self) -> Vec<String> {
        std::iter::once(&self.prompt).chain(&self.more_prompts).filter(|prompt| !prompt.trim().is_empty()).cloned().collect()
    }
}

/// How an importance matrix is collected before a conversion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImatrixForm {
    /// Collect one first.
    pub collect: bool,
    /// The text to collect on; never `TextChoice::Pasted`.
    pub text: TextChoice,
    /// Path of the user's file.
    pub text_path: String,
    /// The most chunks of it; 0: all.
    pub max_chunks: u32,
    /// Use a matrix that exists under the name of the new one, instead of collecting it again.
    pub reuse: bool,
}

impl Default for ImatrixForm {
    fn default() -> Self {
        // The whole bundled text is four times as long, and a large model would take an hour for it.
        Self { collect: false, text: TextChoice::default(), text_path: String::new(), max_chunks: 50, reuse: false }
    }
}

/// A conversion that waits for an answer: what becomes of files that exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExistingForm {
    /// All levels that are wanted.
    pub levels: Vec<Level>,
    /// The levels whose file exists, with its path and what becomes of it.
    pub files: Vec<(Level, PathBuf, Existing)>,
    /// The importance matrix that exists and would be collected again, and what becomes of it: skipped means used as it is.
    pub matrix: Option<(PathBuf, Existing)>,
    /// Collect an importance matrix first.
    pub is_collecting: bool,
}

/// Files that are to be deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteForm {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// Why they cannot go to the bin, so that they would be deleted for good; `None`: they go to the bin.
    pub no_bin: Option<Error>,
}

/// Where the window was, in points without zoom.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WindowPlace {
    /// Left and top edge with its frame; `None` where the system does not tell (Wayland).
    pub position: Option<[f32; 2]>,
    /// Width without its frame.
    pub width: f32,
    /// Height without its frame.
    pub height: f32,
    /// True when it filled the screen; the rest then says where it was before that.
    pub is_maximized: bool,
}

/// All choices of the user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Form {
    /// The page in view.
    pub page: Page,
    /// Light or dark.
    pub theme: Theme,
    /// Zoom of the whole window, 1 is normal.
    pub zoom: f32,
    /// Size and place of the window; `None` before the first time.
    pub window: Option<WindowPlace>,
    /// Text in the path field.
    #[serde(skip)]
    pub path_text: String,
    /// Models opened before, the latest first.
    #[serde(with = "crate::path_text")]
    pub recent: Vec<PathBuf>,
    /// Filter of the tensor table.
    #[serde(skip)]
    pub tensor_filter: String,
    /// Filter of the metadata table.
    #[serde(skip)]
    pub metadata_filter: String,
    /// What the user wants of a plan.
    pub goal: Goal,
    /// Levels chosen on the Optimize page.
    pub levels: BTreeSet<Level>,
    /// Show all levels on the Optimize page, not only those that people use.
    pub all_levels: bool,
    /// Folder for outputs; empty: the one that `convert::default_output_dir` gives, usually beside the source.
    pub output_dir: String,
    /// The open question about files that exist.
    #[serde(skip)]
    pub existing: Option<ExistingForm>,
    /// The open question whether files should really be deleted.
    #[serde(skip)]
    pub deleting: Option<DeleteForm>,
    /// When a conversion is cancelled or fails, leave what is complete to the next run.
    pub keep_unfinished: bool,
    /// Threads of a conversion; 0: all.
    pub convert_threads: u32,
    /// Settings of a measurement.
    pub bench: BenchForm,
    /// The plot that the user chose; `None`: the one that suits what is measured so far.
    pub compare_plot: Option<ChartKind>,
    /// The part of the Compare page in view.
    pub compare_tab: CompareTab,
    /// The file that is chosen in plots and tables.
    #[serde(skip)]
    pub chosen_path: Option<PathBuf>,
    /// The converted file whose flips are looked at; `None`: the first that was measured.
    #[serde(skip)]
    pub flips_path: Option<PathBuf>,
    /// The kind of text whose flips are listed; empty: all.
    #[serde(skip)]
    pub flips_kind: String,
    /// The converted file whose tensors are looked at; `None`: the latest.
    #[serde(skip)]
    pub errors_path: Option<PathBuf>,
    /// Filter of the table of errors.
    #[serde(skip)]
    pub errors_filter: String,
    /// Names of the tensors that are chosen there and in the heat map.
    #[serde(skip)]
    pub errors_chosen: BTreeSet<String>,
    /// The limits that files are held against. Saved as `gates`, as earlier versions named the gates alone, which are read from
    /// there.
    #[serde(rename = "gates")]
    pub limits: Limits,
    /// Named limits of the user's own.
    pub presets: Vec<Preset>,
    /// Text in the field for the name of a new preset.
    #[serde(skip)]
    pub preset_name: String,
    /// Settings of a measurement of what was lost.
    pub quality: QualityForm,
    /// What is chosen on the History tab.
    #[serde(skip)]
    pub history: HistoryForm,
    /// What is asked of two files.
    pub ask: AskForm,
    /// Importance matrix of a conversion; empty: none.
    pub imatrix_path: String,
    /// How an importance matrix is collected.
    pub imatrix: ImatrixForm,
    /// What is changed in the recipes of the levels.
    pub recipe: RecipeForm,
    /// The size of a file within a budget, as a part of the source's in per cent.
    pub budget_percent: f64,
    /// What stands in front of the page.
    #[serde(skip)]
    pub dialog: Option<Dialog>,
    /// The text field that the cursor goes to next.
    #[serde(skip)]
    pub focus: Option<Field>,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            page: Page::default(),
            theme: Theme::default(),
            zoom: 1.0,
            window: None,
            path_text: String::new(),
            recent: Vec::new(),
            tensor_filter: String::new(),
            metadata_filter: String::new(),
            goal: Goal::default(),
            levels: BTreeSet::new(),
            all_levels: false,
            output_dir: String::new(),
            existing: None,
            deleting: None,
            keep_unfinished: false,
            convert_threads: 0,
            bench: BenchForm::default(),
            compare_plot: None,
            chosen_path: None,
            compare_tab: CompareTab::default(),
            flips_path: None,
            flips_kind: String::new(),
            errors_path: None,
            errors_filter: String::new(),
            errors_chosen: BTreeSet::new(),
            limits: Limits::default(),
            presets: Vec::new(),
            preset_name: String::new(),
            quality: QualityForm::default(),
            history: HistoryForm::default(),
            ask: AskForm::default(),
            imatrix_path: String::new(),
            imatrix: ImatrixForm::default(),
            recipe: RecipeForm::default(),
            budget_percent: 30.0,
            dialog: None,
            focus: None,
        }
    }
}

impl Form {
    /// Brings saved choices of earlier versions up to date: the history was a page of its own.
    pub fn update_saved(saved: &mut serde_json::Value) {
        if let Some(fields) = saved.as_object_mut()
            && fields.get("page").is_some_and(|page| page == "History")
        {
            fields.insert("page".into(), "Compare".into());
            fields.insert("compare_tab".into(), "History".into());
        }
    }

    /// True where a conversion of this model collects an importance matrix first: calibrated levels need none.
    #[must_use]
    pub fn collects_imatrix(&self, model: &Model) -> bool {
        self.imatrix.collect && !self.recipe.of(model).calibrated
    }

    /// True once for the text field that the cursor should go to.
    pub fn takes_focus(&mut self, field: Field) -> bool {
        self.focus.take_if(|wanted| *wanted == field).is_some()
    }

    /// The plot in view: the chosen one; else size against loss once a loss is measured, size against speed before.
    #[must_use]
    pub fn plot(&self, rows: &[ComparisonRow]) -> ChartKind {
        let has_loss = rows.iter().any(|row| row.quality.is_some());
        self.compare_plot.unwrap_or(if has_loss { ChartKind::SizeLoss } else { ChartKind::SizeSpeed })
    }

    /// Chooses a converted file everywhere: Flips, Answers and Tensors show it too.
    pub fn choose_file(&mut self, path: &Path) {
        self.chosen_path = Some(path.to_path_buf());
        self.flips_path = Some(path.to_path_buf());
        self.errors_path = Some(path.to_path_buf());
        self.ask.second = Some(path.to_path_buf());
    }

    /// Puts `path` at the head of the recent models.
    pub fn remember(&mut self, path: PathBuf) {
        self.recent.retain(|known| *known != path);
        self.recent.insert(0, path);
        self.recent.truncate(MAX_RECENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_models_are_unique_latest_first_and_few() {
        let mut form = Form::default();
        for idx in 0..12 {
            form.remember(PathBuf::from(format!("{idx}.gguf")));
        }
        form.remember("5.gguf".into());
        assert_eq!(form.recent.len(), MAX_RECENT);
        assert_eq!(form.recent[..2], [PathBuf::from("5.gguf"), PathBuf::from("11.gguf")]);
    }

    #[test]
    fn an_older_or_newer_file_is_read() {
        let form: Form = serde_json::from_str(r#"{"page":"Plan","future":1,"levels":["Q8_0"]}"#).unwrap();
        assert_eq!((form.page, form.levels.into_iter().collect::<Vec<_>>()), (Page::Plan, vec![Level::Q8_0]));
    }

    #[test]
    fn the_page_history_of_earlier_versions_is_a_tab_of_compare() {
        let read = |text: &str| {
            let mut saved = serde_json::from_str(text).unwrap();
            Form::update_saved(&mut saved);
            let form: Form = serde_json::from_value(saved).unwrap();
            (form.page, form.compare_tab, form.theme)
        };
        assert_eq!(read(r#"{"page":"History","theme":"Dark"}"#), (Page::Compare, CompareTab::History, Theme::Dark));
        assert_eq!(read(r#"{"page":"Plan","compare_tab":"Flips"}"#), (Page::Plan, CompareTab::Flips, Theme::System));
    }

    #[test]
    fn gates_of_earlier_versions_are_read_and_own_presets_are_kept() {
        let form: Form = serde_json::from_str(r#"{"gates":{"max_memory_ratio":0.5,"min_accuracy_ratio":0.9}}"#).unwrap();
        assert_eq!(form.limits.gates.min_accuracy_ratio, Some(0.9));
        assert_eq!(form.limits.wishes, crate::advise::Wishes::default(), "no wish unless the user had changed it");
        let presets = vec![Preset { name: "mine".into(), limits: form.limits.clone() }];
        let text = serde_json::to_string(&Form { presets: presets.clone(), ..form.clone() }).unwrap();
        let again: Form = serde_json::from_str(&text).unwrap();
        assert_eq!((again.limits, again.presets), (form.limits, presets));
    }

    #[test]
    fn a_question_is_remembered_but_not_whom_it_went_to() {
        let ask = AskForm { prompt: "why?\nhow?".into(), first: Some("a.gguf".into()), temperature: 0.7, ..AskForm::default() };
        let text = serde_json::to_string(&Form { ask: ask.clone(), ..Form::default() }).unwrap();
        let form: Form = serde_json::from_str(&text).unwrap();
        assert_eq!(form.ask, AskForm { first: None, ..ask });
        let form: Form = serde_json::from_str(r#"{"ask":{"seed":7}}"#).unwrap();
        assert_eq!(form.ask, AskForm { seed: 7, ..AskForm::default() });
    }
}
