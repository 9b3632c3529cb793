//! The user's changes to a level's recipe, in llama-quantize's words.
//!
//! Source: `parse_tensor_type`, `parse_ggml_type` and `parse_layer_prune` in tools/quantize/quantize.cpp, `llama_tensor_get_type` in
//! src/llama-quant.cpp, llama.cpp of 2026-08-21.

use std::collections::BTreeSet;
use std::fmt::{Display, Formatter};
use std::str::FromStr;

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::fallback::Fallback;
use super::mlx_changes::{MlxChanges, MlxType};
use crate::error::{Error, Result};
use crate::model::{DType, Framework, Level, PrecisionClass, Preset, Tensor};
use crate::quant::can_quantize;

/// The largest layer number that is read: a hostile range must not become an allocation. llama.cpp's own limit is 512.
const MAX_LAYER: u64 = 4095;

/// In names: codes were chosen by error feedback.
pub const CALIBRATED: &str = "calibrated";

/// The option of the command line that asks for that.
const CALIBRATED_OPTION: &str = "--calibrated";

/// In names: types were changed.
pub const CUSTOM: &str = "custom";

/// In names: types were chosen for a size, and codes by error feedback.
pub const BUDGETED: &str = "budget";

/// The option of the command line that asks for that.
const BUDGET_OPTION: &str = "--budget";

/// Changes to a recipe. The default changes nothing.
///
/// Shown as the command-line options that reproduce it, on one line: `--tensor-type 'attn_v=Q6_K' --pure`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Types of the tensors that a pattern matches; the first pattern that matches wins. Levels of plain floats ignore them.
    pub tensor_types: Vec<TensorType>,
    /// Type of the head, `output.weight`; of the embeddings where they are the head too.
    pub output: Option<DType>,
    /// Type of the token embeddings, also where they are the head too; takes precedence over patterns and the type of the head.
    pub token_embedding: Option<DType>,
    /// All matrices get the level's own type, without its exceptions.
    pub pure: bool,
    /// Layers that are left out, counted from 0.
    pub pruned_layers: BTreeSet<u64>,
    /// What takes the place of a type whose blocks do not fit a tensor's rows.
    pub fallback: Fallback,
    /// Codes are chosen by error feedback over second moments of the inputs. Types, and so the size, stay as they are.
    pub calibrated: bool,
    /// The budget that the types were chosen for, in words; nothing follows from it any more.
    pub budget: Option<String>,
    /// What folders of MLX get otherwise. All fields above are about levels of llama.cpp alone.
    pub mlx: MlxChanges,
}

impl Overrides {
    /// True when there is something to change.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        *self != Self::default()
    }

    /// The changes that levels of this framework take notice of.
    #[must_use]
    pub fn part_of(&self, framework: Framework) -> Self {
        match framework {
            Framework::LlamaCpp => Self { mlx: MlxChanges::default(), ..self.clone() },
            Framework::Mlx => Self { mlx: self.mlx.clone(), ..Self::default() },
            Framework::OnnxRuntime => Self { calibrated: self.calibrated, ..Self::default() },
            Framework::OpenVino | Framework::Qnn => Self::default(),
        }
    }

    /// The changes that at least one of these levels takes notice of.
    #[must_use]
    pub fn part_for(&self, levels: &[Level]) -> Self {
        let has = |framework: Framework| levels.iter().any(|level| level.framework() == framework);
        let part = if has(Framework::LlamaCpp) { self.part_of(Framework::LlamaCpp) } else { Self::default() };
        let mlx = if has(Framework::Mlx) { self.mlx.clone() } else { MlxChanges::default() };
        let calibrated = part.calibrated || self.calibrated && has(Framework::OnnxRuntime);
        Self { calibrated, mlx, ..part }
    }

    /// Refuses changes that none of the levels takes notice of, and layers that one of them cannot leave out.
    ///
    /// # Errors
    /// `Error::BadRequest`.
    pub fn check(&self, levels: &[Level]) -> Result<()> {
        let refused = |message: String| Err(Error::BadRequest { message });
        for framework in [Framework::LlamaCpp, Framework::Mlx] {
            let is_asked_for = levels.iter().any(|level| level.framework() == framework);
            let mut part = self.part_of(framework);
            part.calibrated &= !levels.iter().any(|&level| self.calibrate(level));
            if part.is_custom() && !is_asked_for {
                let name = framework.name();
                return refused(format!("{part} is about levels of {name}, and none of those was asked for"));
            }
        }
        match levels.iter().find(|level| level.preset().is_none()) {
            Some(level) if !self.pruned_layers.is_empty() => {
                refused(format!("only levels of llama.cpp can leave out layers, and {level} is none"))
            }
            _ => Ok(()),
        }
    }

    /// True when this level's codes are chosen by error feedback: floats have none.
    #[must_use]
    pub fn calibrate(&self, level: Level) -> bool {
        let has_codes = match level.framework() {
            Framework::LlamaCpp => level.preset().is_some_and(|preset| preset.base_dtype().is_quantized()),
            Framework::OnnxRuntime => level.class() != PrecisionClass::Full,
            Framework::OpenVino | Framework::Mlx | Framework::Qnn => false,
        };
        self.calibrated && has_codes
    }

    /// The changes of types alone.
    #[must_use]
    pub fn of_types(&self) -> Self {
        Self { calibrated: false, budget: None, ..self.clone() }
    }

    /// True when these changes make another output of this level: floats ignore patterns.
    #[must_use]
    pub fn change(&self, level: Level) -> bool {
        let Some(preset) = level.preset() else { return self.mlx.change(level) || self.calibrate(level) };
        let is_special = !self.pruned_layers.is_empty() || self.output.is_some() || self.token_embedding.is_some();
        is_special || (preset.base_dtype().is_quantized() && self.part_of(Framework::LlamaCpp).is_custom())
    }

    /// What changes at this level, as options of the command line; empty: nothing.
    #[must_use]
    pub fn text_of(&self, level: Level) -> String {
        if self.change(level) { self.part_of(level.framework()).to_string() } else { String::new() }
    }

    /// What tells this output from the plain one in names: `calibrated`, `custom`, `calibrated custom`, `budget`; empty: nothing.
    #[must_use]
    pub fn marks_of(&self, level: Level) -> String {
        marks(self.calibrate(level), self.of_types().change(level), self.budget.is_some())
    }

    /// The level and what changes there: `Q4_K_M --pure`.
    #[must_use]
    pub fn recipe_text(&self, level: Level) -> String {
        let changes = self.text_of(level);
        if changes.is_empty() { level.to_string() } else { format!("{level} {changes}") }
    }

    /// For each tensor the type of the first pattern that matches its name.
    ///
    /// # Errors
    /// `Error::BadChange` for a pattern that is not a regular expression or a type that cannot be written;
    /// `Error::UnmatchedPattern` for a pattern that matches no tensor that levels change. llama-quantize says nothing then.
    pub(super) fn matched(&self, tensors: &[Tensor], is_quantizable: impl Fn(usize) -> bool) -> Result<Vec<Option<DType>>> {
        for TensorType { pattern, dtype } in &self.tensor_types {
            check_dtype(pattern, *dtype)?;
        }
        for dtype in [self.output, self.token_embedding].into_iter().flatten() {
            check_dtype(dtype.name(), dtype)?;
        }
        matched(&self.tensor_types, tensors, is_quantizable)
    }

    /// What these changes leave undone at a preset: `F16 keeps floats: types of tensors that are named by a pattern are not
    /// used, …`.
    #[must_use]
    pub fn warning(&self, preset: Preset) -> Option<String> {
        let is_idle = !preset.base_dtype().is_quantized() && !self.tensor_types.is_empty();
        is_idle.then(|| {
            format!("{preset} keeps floats: types of tensors that are named by a pattern are not used, as in llama-quantize")
        })
    }
}

/// The name of a level with these changes, as options of the command line: `Q4_K_M calibrated`.
#[must_use]
pub fn changed_name(level: impl Display, changes: &str) -> String {
    let is_custom = changes.split(' ').any(|option| !option.is_empty() && option != CALIBRATED_OPTION);
    let marks = marks(asks_for_calibration(changes), is_custom, asks_for_budget(changes));
    format!("{level} {marks}").trim_end().to_string()
}

/// True where options of the command line, or a recipe's text, ask for error feedback.
#[must_use]
pub fn asks_for_calibration(options: &str) -> bool {
    options.split(' ').any(|option| option == CALIBRATED_OPTION)
}

/// True where options of the command line, or a recipe's text, name a budget.
#[must_use]
pub fn asks_for_budget(options: &str) -> bool {
    options.split(' ').any(|option| option == BUDGET_OPTION)
}

fn marks(is_calibrated: bool, is_custom: bool, is_budgeted: bool) -> String {
    if is_budgeted {
        return BUDGETED.to_string();
    }
    let marks = [is_calibrated.then_some(CALIBRATED), is_custom.then_some(CUSTOM)];
    marks.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

impl Display for Overrides {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let mut options = type_options(&self.tensor_types, self.output, self.token_embedding);
        options.extend(self.pure.then(|| "--pure".to_string()));
        if !self.pruned_layers.is_empty() {
            options.push(format!("--prune-layers {}", layers_text(&self.pruned_layers)));
        }
        if self.fallback != Fallback::default() {
            options.push(format!("--fallback {}", self.fallback));
        }
        options.extend(self.calibrated.then(|| CALIBRATED_OPTION.to_string()));
        options.extend(self.budget.iter().map(|budget| {
            format!("{BUDGET_OPTION} {}", if budget.contains(' ') { format!("'{budget}'") } else { budget.clone() })
        }));
        options.extend(type_options(&self.mlx.tensor_types, self.mlx.output, self.mlx.token_embedding));
        f.write_str(&options.join(" "))
    }
}

/// For each tensor the type of the first pattern that matches its name.
///
/// # Errors
/// `Error::BadChange` for a pattern that is none; `Error::UnmatchedPattern` for one that matches no tensor which levels change.
pub(super) fn matched<T: Copy>(
    types: &[TensorType<T>],
    tensors: &[Tensor],
    is_quantizable: impl Fn(usize) -> bool,
) -> Result<Vec<Option<T>>> {
    let mut found = vec![None; tensors.len()];
    for TensorType { pattern, dtype } in types {
        let regex = regex(pattern)?;
        let (mut is_matched, mut fixed) = (false, None);
        let is_found = |tensor: &Tensor| regex.is_match(tensor.name.as_bytes());
        for (idx, _) in tensors.iter().enumerate().filter(|(_, tensor)| is_found(tensor)) {
            if is_quantizable(idx) {
                is_matched = true;
                found[idx].get_or_insert(*dtype);
            } else {
                fixed.get_or_insert(idx);
            }
        }
        if !is_matched {
            let fixed = fixed.map(|idx| tensors[idx].name.clone());
            return Err(Error::UnmatchedPattern { pattern: pattern.clone(), fixed });
        }
    }
    Ok(found)
}

/// The options that ask for these types.
fn type_options<T: Display>(types: &[TensorType<T>], output: Option<T>, token_embedding: Option<T>) -> Vec<String> {
    // Single quotes keep a pattern whole in a shell; one inside is written as '\''.
    let quoted = |wanted: &TensorType<T>| format!("--tensor-type '{}'", wanted.to_string().replace('\'', "'\\''"));
    let mut options: Vec<String> = types.iter().map(quoted).collect();
    options.extend(output.map(|dtype| format!("--output-tensor-type {dtype}")));
    options.extend(token_embedding.map(|dtype| format!("--token-embedding-type {dtype}")));
    options
}

/// A type that tensors can be given, by its name.
pub trait NamedType: Display + Sized {
    /// The type with this name in any case, if it can be written.
    ///
    /// # Errors
    /// `Error::BadChange` for an unknown type and for one that has no encoder.
    fn from_name(text: &str) -> Result<Self>;
}

impl NamedType for DType {
    fn from_name(text: &str) -> Result<Self> {
        dtype_from_text(text)
    }
}

/// A type of llama.cpp or of MLX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyType {
    /// `Q6_K`.
    Ggml(DType),
    /// `mlx:8-bit-g64`.
    Mlx(MlxType),
}

impl NamedType for AnyType {
    fn from_name(text: &str) -> Result<Self> {
        if MlxType::is_meant(text) { MlxType::from_name(text).map(Self::Mlx) } else { dtype_from_text(text).map(Self::Ggml) }
    }
}

impl Display for AnyType {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ggml(dtype) => dtype.fmt(f),
            Self::Mlx(wanted) => wanted.fmt(f),
        }
    }
}

/// A type for all tensors whose name contains a match of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String", bound(serialize = "T: Display + Clone", deserialize = "T: NamedType"))]
pub struct TensorType<T = DType> {
    /// A regular expression, looked for anywhere in the name.
    pub pattern: String,
    /// The type.
    pub dtype: T,
}

impl<T: NamedType> FromStr for TensorType<T> {
    type Err = Error;

    /// Reads `REGEX=TYPE`, cut at the first `=`; the pattern is lower-cased, the type read in any case, as llama-quantize does.
    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason: &str| Error::BadChange { text: text.to_string(), reason: reason.to_string() };
        let (pattern, dtype) = text.split_once('=').ok_or_else(|| bad("there is no = between pattern and type"))?;
        if pattern.is_empty() {
            return Err(bad("there is no pattern before the ="));
        }
        if pattern.chars().any(char::is_control) {
            return Err(bad("there are control characters in the pattern"));
        }
        let pattern = pattern.to_ascii_lowercase();
        regex(&pattern)?;
        Ok(Self { dtype: T::from_name(dtype)?, pattern })
    }
}

impl<T: Display> Display for TensorType<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.pattern, self.dtype)
    }
}

impl<T: Display> From<TensorType<T>> for String {
    fn from(tensor_type: TensorType<T>) -> Self {
        tensor_type.to_string()
    }
}

impl<T: NamedType> TryFrom<String> for TensorType<T> {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// A pattern that matches this text and no other.
///
/// Capital letters become dots, because [`TensorType::from_str`], like llama-quantize, reads all patterns in lower case.
pub(super) fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 4);
    for letter in text.chars() {
        match letter {
            'A'..='Z' => pattern.push('.'),
            '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' => pattern.extend(['\\', letter]),
            _ => pattern.push(letter),
        }
    }
    pattern
}

/// The type with this name in any case, if it can be written.
///
/// # Errors
/// `Error::BadChange` for an unknown type and for one that has no encoder.
pub fn dtype_from_text(text: &str) -> Result<DType> {
    let dtype = DType::from_name(text);
    let unknown =
        || Error::BadChange { text: text.to_string(), reason: format!("there is no such type; known: {}", types_text()) };
    dtype.ok_or_else(unknown).and_then(|dtype| check_dtype(text, dtype).map(|()| dtype))
}

/// Reads numbers of layers and ranges of them, separated by commas: `3,5-7`.
///
/// # Errors
/// `Error::BadChange` for anything else, and for numbers above 4095.
pub fn layers_from_text(text: &str) -> Result<BTreeSet<u64>> {
    let bad = |reason: String| Error::BadChange { text: text.to_string(), reason };
    let number = |part: &str| {
        let part = part.trim();
        let n = part.parse::<u64>().map_err(|_| bad(format!("{part:?} is not a layer number")))?;
        if n > MAX_LAYER { Err(bad(format!("no model has a layer {n}"))) } else { Ok(n) }
    };
    let mut layers = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(bad(format!("{first} comes after {last}")));
        }
        layers.extend(first..=last);
    }
    Ok(layers)
}

/// The numbers, separated by commas, as llama-quantize reads them too: it takes no ranges.
#[must_use]
pub fn layers_text(layers: &BTreeSet<u64>) -> String {
    layers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Types that a tensor can be given, the widest first.
#[must_use]
pub fn writable_dtypes() -> Vec<DType> {
    let mut dtypes: Vec<DType> = DType::all().filter(|&dtype| can_quantize(dtype)).collect();
    dtypes.sort_by(|a, b| b.bits_per_weight().total_cmp(&a.bits_per_weight()));
    dtypes
}

fn types_text() -> String {
    writable_dtypes().into_iter().map(DType::name).collect::<Vec<_>>().join(", ")
}

fn check_dtype(text: &str, dtype: DType) -> Result<()> {
    if can_quantize(dtype) {
        return Ok(());
    }
    let reason = format!("{dtype} cannot be written by this version, only {}", types_text());
    Err(Error::BadChange { text: text.to_string(), reason })
}

fn regex(pattern: &str) -> Result<Regex> {
    let regex = RegexBuilder::new(pattern).unicode(false).build();
    regex.map_err(|error| {
        let reason = match error {
            regex::Error::CompiledTooBig(_) => "the pattern is too large".to_string(),
            // The last line says what is wrong, those above show where.
            error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_string(),
        };
        Error::BadChange { text: pattern.to_string(), reason }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MLX_LEVEL: &str = "mlx:4-bit-g64";

    #[test]
    fn changes_that_no_level_heeds_are_refused() {
        let mlx: Level = MLX_LEVEL.parse().unwrap();
        let check = |overrides: &Overrides, levels: &[Level], expected: bool| {
            assert_eq!(overrides.check(levels).is_ok(), expected, "{overrides} {levels:?}");
        };
        let of_mlx = Overrides { mlx: MlxChanges::wide_ends(), ..Overrides::default() };
        check(&of_mlx, &[mlx], true);
        check(&of_mlx, &[Level::Q8_0, mlx], true);
        check(&of_mlx, &[Level::Q8_0], false);
        let pure = Overrides { pure: true, ..Overrides::default() };
        check(&pure, &[Level::Q8_0, mlx], true);
        check(&pure, &[mlx], false);
        check(&Overrides { pruned_layers: [1].into(), ..pure }, &[Level::Q8_0, mlx], false);
        check(&Overrides::default(), &[], true);
    }

    #[test]
    fn a_pattern_is_lowered_and_ends_at_the_first_equals_sign() {
        let check = |text: &str, expected: Option<(&str, DType)>| {
            let found = text.parse::<TensorType>();
            let found = found.as_ref().map(|found| (found.pattern.as_str(), found.dtype)).ok();
            assert_eq!(found, expected, "{text}");
        };
        check("attn_v=Q6_K", Some(("attn_v", DType::Q6_K)));
        check("ATTN_V=q6_k", Some(("attn_v", DType::Q6_K)));
        check(r"blk\.(1|2)\.ffn_down=iq2_xs", Some((r"blk\.(1|2)\.ffn_down", DType::IQ2_XS)));
        check("a=b=Q4_0", None);
        check("attn_v", None);
        check("=Q6_K", None);
        check("attn_v=", None);
        check("attn_v=Q9", None);
        check("attn_v=Q8_K", None); // has no encoder
        check("attn_v=I32", None);
        check("attn(_v=Q6_K", None);
        check("attn_(?!v)=Q6_K", None); // looks ahead
        check("attn\n=Q6_K", None);
    }

    #[test]
    fn a_bad_pattern_says_why() {
        let check = |text: &str, expected: &str| assert_eq!(text.parse::<TensorType>().unwrap_err().to_string(), expected);
        check("attn(_v=Q6_K", "cannot use attn(_v: unclosed group");
        check("attn_v", "cannot use attn_v: there is no = between pattern and type");
        check("(?!a)=Q6_K", "cannot use (?!a): look-around, including look-ahead and look-behind, is not supported");
        assert!(
            "a=Q9"
                .parse::<TensorType>()
                .unwrap_err()
                .to_string()
                .starts_with("cannot use Q9: there is no such type; known: F32,")
        );
    }

    #[test]
    fn layers_are_numbers_and_ranges() {
        let check = |text: &str, expected: Option<&[u64]>| {
            let found = layers_from_text(text).ok().map(|layers| layers.into_iter().collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("3", Some(&[3]));
        check("7, 3,5-6,3", Some(&[3, 5, 6, 7]));
        check("4-4", Some(&[4]));
        check("7-5", None);
        check("", None);
        check("3,", None);
        check("-1", None);
        check("x", None);
        check("0-99999999999", None);
    }

    #[test]
    fn the_text_reproduces_the_options() {
        let check = |overrides: Overrides, expected: &str| assert_eq!(overrides.to_string(), expected);
        check(Overrides::default(), "");
        assert!(!Overrides::default().is_custom());
        let mut all = Overrides {
            tensor_types: vec!["attn_v=q6_k".parse().unwrap(), r"^blk\.0\.ffn_up\.weight$=F16".parse().unwrap()],
            output: Some(DType::Q8_0),
            token_embedding: Some(DType::Q4_K),
            pure: true,
            pruned_layers: BTreeSet::from([3, 5, 6, 7]),
            fallback: Fallback::SameSize,
            calibrated: true,
            budget: None,
            mlx: MlxChanges::default(),
        };
        let text = r"--tensor-type 'attn_v=Q6_K' --tensor-type '^blk\.0\.ffn_up\.weight$=F16' --output-tensor-type Q8_0 --token-embedding-type Q4_K --pure --prune-layers 3,5,6,7 --fallback same-size --calibrated";
        assert_eq!(changed_name(Level::Q4_K_M, text), "Q4_K_M calibrated custom");
        assert_eq!(
            (changed_name("Q4_K_M", ""), changed_name("Q4_K_M", "--calibrated")),
            ("Q4_K_M".into(), "Q4_K_M calibrated".into())
        );
        let budgeted = Overrides { budget: Some("fits 8 at 9".into()), calibrated: true, ..Overrides::default() };
        check(budgeted.clone(), "--calibrated --budget 'fits 8 at 9'");
        assert_eq!(changed_name(Level::Q4_K_M, &budgeted.to_string()), "Q4_K_M budget");
        assert_eq!(budgeted.marks_of(Level::Q4_K_M), "budget");
        assert_eq!(
            (all.marks_of(Level::Q4_K_M), all.of_types().marks_of(Level::Q4_K_M)),
            ("calibrated custom".into(), "custom".into())
        );
        check(all.clone(), text);
        all.mlx = MlxChanges { tensor_types: vec!["v_proj=MLX:8-bit".parse().unwrap()], ..MlxChanges::wide_ends() };
        let of_mlx =
            "--tensor-type 'v_proj=mlx:8-bit-g64' --output-tensor-type mlx:8-bit-g64 --token-embedding-type mlx:8-bit-g64";
        check(all.clone(), &format!("{text} {of_mlx}"));
        assert_eq!((all.text_of(Level::Q4_K_M).as_str(), all.text_of(MLX_LEVEL.parse().unwrap()).as_str()), (text, of_mlx));
        assert!(all.is_custom());
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Overrides>(&json).unwrap(), all);
        assert_eq!(serde_json::from_str::<Overrides>("{}").unwrap(), Overrides::default());
    }

    #[test]
    fn a_tensor_is_matched_by_its_own_pattern_alone() {
        let check = |name: &str, other: &str| {
            let pattern = format!("^{}$=F16", escaped(name)).parse::<TensorType>().unwrap().pattern;
            let regex = regex(&pattern).unwrap();
            assert!(regex.is_match(name.as_bytes()) && !regex.is_match(other.as_bytes()), "{pattern}");
        };
        check("blk.1.attn_q.weight", "blk.11.attn_q.weight");
        check("blk.1.attn_q.weight", "xblk.1.attn_q.weight");
        check("blk.1.attn_q.weight", "blk_1_attn_q_weight");
        check("Odd (Name)+[x].weight", "Odd Name.weight");
    }

    #[test]
    fn floats_take_no_notice_of_patterns() {
        let named = Overrides { tensor_types: vec!["attn_v=q6_k".parse().unwrap()], ..Overrides::default() };
        assert!(named.warning(Preset::F16).is_some());
        assert!(named.warning(Preset::Q8_0).is_none());
        assert!((!named.change(Level::F16), named.change(Level::Q8_0)) == (true, true));
        let head = Overrides { output: Some(DType::F16), ..Overrides::default() };
        assert!(head.warning(Preset::F16).is_none() && head.change(Level::F16));
    }
}
