//! Everything that can go wrong, and what the user can do about it.

mod hints;
mod placeholder;
mod texts;

use std::path::{Path, PathBuf};

pub use placeholder::{HEAD_BYTES, Placeholder};
use texts::{beyond_text, paths_text, several_text, unmatched_text};

use crate::path_text::shown;

/// The result of every fallible function of the crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong. One variant for each case that a caller, a test or the user tells apart.
///
/// Cloneable, because a failed job's error stays on the screen while other parts of the window read it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The user stopped the work; nothing half-finished is left under a final name.
    #[error("cancelled")]
    Cancelled,

    /// A defect of Planish: a panic or a broken invariant.
    #[error("internal error: {message}")]
    Internal {
        /// What the panic or the check said.
        message: String,
    },

    /// The operating system refused an operation on a file or folder.
    #[error("cannot {action} {}: {reason}", shown(path))]
    Io {
        /// A verb that completes "cannot … PATH": `open`, `read`, `write`, `create`, `rename`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The class of the failure, for callers that tell them apart.
        kind: std::io::ErrorKind,
        /// The operating system's own words.
        reason: String,
    },

    /// The path is a folder, a FIFO, a device or a socket where a file is needed.
    #[error("not a regular file but {kind}: {}", shown(path))]
    NotAFile {
        /// `a folder`, `a FIFO`, `a device`, `a socket`.
        kind: &'static str,
        /// The path as given.
        path: PathBuf,
    },

    /// Something else is in the file's place: a pointer, a web page, nothing.
    #[error("not the file itself but {}: {}", found.name(), shown(path))]
    Placeholder {
        /// What is there instead.
        found: Placeholder,
        /// The file.
        path: PathBuf,
    },

    /// A link to a file that is not there.
    #[error("a link that leads to nothing, {} is not there: {}", shown(target), shown(path))]
    BrokenLink {
        /// Where it leads.
        target: PathBuf,
        /// The link.
        path: PathBuf,
    },

    /// The first bytes belong to no format that Planish reads.
    #[error("not a model file that Planish reads, it starts with {found}: {}", shown(path))]
    UnknownFormat {
        /// The first bytes in hexadecimal, and what they look like.
        found: String,
        /// The file.
        path: PathBuf,
    },

    /// A known format that this version cannot open yet.
    #[error("{what} cannot be opened yet: {}", shown(path))]
    UnsupportedFormat {
        /// The format's name, for example `a safetensors file`.
        what: String,
        /// The file.
        path: PathBuf,
    },

    /// The file ends before a field that its header promises.
    #[error("{what} needs {needed} bytes, only {left} are left in the file: {}", shown(path))]
    Truncated {
        /// The field.
        what: String,
        /// Bytes that the field needs.
        needed: u64,
        /// Bytes between the field's start and the end of the file.
        left: u64,
        /// The file.
        path: PathBuf,
    },

    /// The bytes contradict the format.
    #[error("damaged GGUF, {what}: {}", shown(path))]
    Malformed {
        /// What contradicts what, with numbers.
        what: String,
        /// The file.
        path: PathBuf,
    },

    /// A GGUF file that is not a model: an importance matrix, an adapter, a vocabulary.
    #[error("this is not a model but {what}: {}", shown(path))]
    NotAModel {
        /// What it is.
        what: &'static str,
        /// What to take instead.
        hint: &'static str,
        /// The file.
        path: PathBuf,
    },

    /// A GGUF file whose header shows that llama.cpp cannot load it.
    #[error("llama.cpp cannot load this model, {what}: {}", shown(path))]
    NotLoadable {
        /// What does not add up.
        what: String,
        /// The file.
        path: PathBuf,
    },

    /// A part of a split model under another name than its own.
    #[error("this is part {number} of {count} of a split model, but its name does not say so: {}", shown(path))]
    MisnamedPart {
        /// Which part it is according to its header, from 1.
        number: u64,
        /// How many there are.
        count: u64,
        /// The name that it should have.
        name: String,
        /// The file.
        path: PathBuf,
    },

    /// A piece of a file that was cut up without regard to its contents.
    #[error("only a piece of {whole}, which was cut for the transfer: {}", shown(path))]
    CutFile {
        /// The name of the whole file.
        whole: String,
        /// The piece.
        path: PathBuf,
    },

    /// Two files without anything that could be compared.
    #[error("{what}: {}", shown(path))]
    NotComparable {
        /// Why.
        what: &'static str,
        /// The second file.
        path: PathBuf,
    },

    /// Something other than a folder is where an output folder goes.
    #[error("not a folder: {}", shown(path))]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },

    /// A folder that was to be replaced or removed as an output, but that Planish did not write.
    #[error("not a folder that Planish wrote: {}", shown(path))]
    NotOurFolder {
        /// The folder.
        path: PathBuf,
    },

    /// A model from which a framework's levels cannot be made.
    #[error("cannot be written for {framework} ({why}): {}", shown(path))]
    CannotWrite {
        /// The framework's name.
        framework: &'static str,
        /// Why.
        why: String,
        /// The model.
        path: PathBuf,
    },

    /// An output whose name, or the name of a file that goes with it, is too long for the file system.
    #[error("the name of the output is too long for its file system: {}", shown(path))]
    NameTooLong {
        /// The output.
        path: PathBuf,
    },

    /// A GGUF file of a version or byte order that Planish does not read.
    #[error("{what} cannot be read: {}", shown(path))]
    UnsupportedVersion {
        /// The version: `GGUF version 1`.
        what: String,
        /// The file.
        path: PathBuf,
    },

    /// A shard of a split model is not beside the others.
    #[error("shard {number} of {count} is missing: {}", shown(path))]
    MissingShard {
        /// Which shard, from 1.
        number: u32,
        /// How many there are.
        count: u32,
        /// Where it was looked for.
        path: PathBuf,
    },

    /// A name that is not a level's.
    #[error("unknown level {name:?}")]
    UnknownLevel {
        /// As the user wrote it.
        name: String,
        /// The names of all levels: `Q8_0, Q6_K`.
        known: String,
    },

    /// A size that is not a number with an optional unit.
    #[error("cannot read {text:?} as a size")]
    BadSize {
        /// As the user wrote it.
        text: String,
    },

    /// A command-line value or a combination of values that makes no sense.
    #[error("{message}")]
    BadRequest {
        /// What is wrong with it.
        message: String,
    },

    /// A tensor's data type that cannot be decoded or encoded here.
    #[error("cannot {action} {dtype} (tensor {tensor})")]
    UnsupportedDType {
        /// `decode` or `encode`.
        action: &'static str,
        /// The type's name as llama.cpp prints it, or several names.
        dtype: String,
        /// The tensor that has or would get it, and how many more there are.
        tensor: String,
    },

    /// A weight is NaN or infinite: no level can represent it.
    #[error("tensor {tensor} has a {value} weight in row {row}")]
    NonFinite {
        /// The tensor's name.
        tensor: String,
        /// The row, from 0.
        row: u64,
        /// `NaN` or `infinite`.
        value: &'static str,
    },

    /// A weight is finite, but the level's type cannot hold it.
    #[error("tensor {tensor} has a weight in row {row} that is too large for {dtype}")]
    OutOfRange {
        /// The tensor's name.
        tensor: String,
        /// The row, from 0.
        row: u64,
        /// The type's name as llama.cpp prints it.
        dtype: String,
    },

    /// Files cannot be moved to the system's bin.
    #[error("cannot move to the bin: {reason}: {}", paths_text(paths))]
    NoBin {
        /// What the system says of the first of them.
        reason: String,
        /// The files, which are still there.
        paths: Vec<PathBuf>,
    },

    /// The output exists and the user did not say that it may be replaced.
    #[error("output exists: {}", shown(path))]
    OutputExists {
        /// The existing file.
        path: PathBuf,
    },

    /// The output is the source itself, by whatever name.
    #[error("output would overwrite its source {}", shown(path))]
    OutputIsSource {
        /// The source file.
        path: PathBuf,
    },

    /// Another run is writing this very output.
    #[error("another run is writing {}", shown(path))]
    OutputLocked {
        /// The partial file.
        path: PathBuf,
    },

    /// What an earlier run left of an output cannot be continued.
    #[error("cannot go on with {}: {why}", shown(path))]
    CannotResume {
        /// `the source has changed`.
        why: String,
        /// The output.
        path: PathBuf,
    },

    /// A file that carries no checksums of its own.
    #[error("there are no checksums in {}", shown(path))]
    NoChecksums {
        /// The file.
        path: PathBuf,
    },

    /// A file whose bytes are not those that were written, or that was not made from the source it is said to be made from.
    #[error("{what}: {}", shown(path))]
    Damaged {
        /// `2 of 272 tensors are damaged (blk.0.attn_k.weight, …)`.
        what: String,
        /// The file.
        path: PathBuf,
    },

    /// The disk is too small for what is asked, known before the first byte.
    #[error("needs {needed_bytes} bytes, only {free_bytes} are free in {}", shown(path))]
    NotEnoughSpace {
        /// Bytes that all outputs together need.
        needed_bytes: u64,
        /// Bytes free for this user.
        free_bytes: u64,
        /// The output folder.
        path: PathBuf,
    },

    /// A model that is not run, because it would need more memory than it may use.
    #[error("larger than memory: it needs {needed_bytes} bytes, and {limit_bytes} may be used: {}", shown(path))]
    LargerThanMemory {
        /// Bytes that running it is predicted to need.
        needed_bytes: u64,
        /// Bytes that it may use: what is free, or what the user allows.
        limit_bytes: u64,
        /// The model's file or folder.
        path: PathBuf,
    },

    /// The source changed or shrank while it was read.
    #[error("source changed while it was read: {}", shown(path))]
    SourceChanged {
        /// The source file.
        path: PathBuf,
    },

    /// What is asked for needs a runtime that this build or machine lacks.
    #[error("{runtime} is not available: {reason}")]
    RuntimeMissing {
        /// The runtime's name.
        runtime: String,
        /// Why.
        reason: String,
    },

    /// A runtime could not be set up.
    #[error("{runtime} cannot be set up: {reason}")]
    SetUp {
        /// The runtime's name.
        runtime: String,
        /// Why.
        reason: String,
        /// What to do about it; empty where nothing helps.
        advice: &'static str,
    },

    /// There is no desktop to open a window on, or it has no OpenGL.
    #[error("no window can be opened: {reason}")]
    NoWindow {
        /// The system's words.
        reason: String,
    },

    /// The runtime refused or failed on a model.
    #[error("{runtime} failed on {}: {reason}", shown(path))]
    Runtime {
        /// The runtime's name.
        runtime: String,
        /// The runtime's own words.
        reason: String,
        /// The model file.
        path: PathBuf,
    },

    /// A text that models cannot be compared on.
    #[error("the text cannot be used, {problem}: {name}")]
    BadText {
        /// What is wrong with it.
        problem: String,
        /// The text's name.
        name: String,
    },

    /// Reference and candidate split a text differently, so their answers cannot be compared.
    #[error("its {what} differs from the reference's ({candidate}, reference {reference}): {}", shown(path))]
    OtherVocabulary {
        /// `vocabulary` or `tokenizer`.
        what: &'static str,
        /// The reference's: `49,152 tokens`.
        reference: String,
        /// The candidate's.
        candidate: String,
        /// The candidate.
        path: PathBuf,
    },

    /// The measuring child process ended without a result.
    #[error("the measuring process died ({reason}) on {}", shown(path))]
    ChildDied {
        /// Exit status or signal, with the last line it wrote.
        reason: String,
        /// The model file.
        path: PathBuf,
    },

    /// The history's file is something else, or damaged; it is left as it is.
    #[error("not a history of Planish but {problem}: {}", shown(path))]
    NotAHistory {
        /// What it is instead: `a database of another program`.
        problem: String,
        /// The file.
        path: PathBuf,
    },

    /// The history was written by a later version of Planish; it is left as it is.
    #[error("the history has schema version {found}, this version of Planish knows up to {known}: {}", shown(path))]
    HistoryTooNew {
        /// The file's version.
        found: i64,
        /// The latest that is known.
        known: usize,
        /// The file.
        path: PathBuf,
    },

    /// The history's database refused an operation.
    #[error("cannot {action} the history: {reason}: {}", shown(path))]
    History {
        /// A verb that completes "cannot … the history": `open`, `read`, `write`, `update`.
        action: &'static str,
        /// The database's own words.
        reason: String,
        /// The file.
        path: PathBuf,
    },

    /// The history has no run of this number.
    #[error("the history has no run {id}")]
    UnknownRun {
        /// The number.
        id: i64,
    },

    /// A prompt of nothing but white space.
    #[error("the prompt is empty")]
    EmptyPrompt,

    /// The history has no measurement of a model or of files made from it.
    #[error("the history holds nothing about this model: {}", shown(path))]
    NothingStored {
        /// The model.
        path: PathBuf,
    },

    /// A file that cannot serve as an importance matrix.
    #[error("not a usable importance matrix, {what}: {}", shown(path))]
    BadImatrix {
        /// What is wrong with it.
        what: String,
        /// The file.
        path: PathBuf,
    },

    /// A file other than GGUF contradicts its format.
    #[error("damaged {format}, {what}: {}", shown(path))]
    DamagedFile {
        /// The format: `safetensors`, `config.json`.
        format: &'static str,
        /// What contradicts what, with numbers.
        what: String,
        /// The file.
        path: PathBuf,
    },

    /// An importance matrix of a model of another shape.
    #[error("the importance matrix has {found} columns for tensor {tensor}, which has {expected}: {}", shown(path))]
    ImatrixMismatch {
        /// The tensor's name.
        tensor: String,
        /// Columns of all experts in the importance matrix.
        found: u64,
        /// Columns of all experts in the model.
        expected: u64,
        /// The importance matrix.
        path: PathBuf,
    },

    /// A folder whose files do not tell which of them belong together.
    #[error("{what}: {}", shown(path))]
    UnclearFolder {
        /// What is unclear.
        what: String,
        /// The folder.
        path: PathBuf,
    },

    /// A folder with several models.
    #[error("{} models in one folder ({}): {}", names.len(), several_text(names), shown(path))]
    SeveralModels {
        /// Their files.
        names: Vec<String>,
        /// The folder.
        path: PathBuf,
    },

    /// An ONNX file whose weights lie in a file that is not there.
    #[error("its weights are in {name}, which is not beside it: {}", shown(path))]
    MissingWeights {
        /// The file with the weights, relative to the folder.
        name: String,
        /// The ONNX file.
        path: PathBuf,
    },

    /// An ONNX file of more than 2 GiB, which protocol buffers do not allow.
    #[error("{size_bytes} bytes are more than the 2 GiB that an ONNX file may have: {}", shown(path))]
    TooLargeForOnnx {
        /// Its size.
        size_bytes: u64,
        /// The ONNX file.
        path: PathBuf,
    },

    /// A file that can be read, but would lose something if it were written again.
    #[error("cannot be written again without loss, it has what this version does not know ({what}): {}", shown(path))]
    CannotRewrite {
        /// What is not known: `field 99 of NodeProto`.
        what: String,
        /// The file.
        path: PathBuf,
    },

    /// A kind of model that Planish shows, and does nothing else with yet.
    #[error("{what} can be inspected, but not converted, run or measured yet: {}", shown(path))]
    OnlyInspected {
        /// What it is: `an ONNX network`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
    },

    /// A pickle can run any program when it is opened, so Planish never does.
    #[error("{what} holds a Python pickle, which can run any program and is never opened: {}", shown(path))]
    Pickle {
        /// The format: `a PyTorch checkpoint`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
    },

    /// A checkpoint where a GGUF file is needed.
    #[error("a Hugging Face checkpoint cannot be run or measured as it is: {}", shown(path))]
    CheckpointNotRunnable {
        /// What was given.
        path: PathBuf,
    },

    /// A file that was made completely from a checkpoint, but makes no sense when it is run.
    #[error("{reason}: {}", shown(path))]
    WrongOutput {
        /// What a first run showed.
        reason: String,
        /// The file.
        path: PathBuf,
    },

    /// A checkpoint with an obstacle to its conversion.
    #[error("cannot convert this checkpoint: {what}: {}", shown(path))]
    CheckpointNotConvertible {
        /// The first obstacle.
        what: String,
        /// The checkpoint.
        path: PathBuf,
    },

    /// An adapter: what a fine-tuning adds to a model that lies elsewhere.
    #[error("{what}, which is not a model by itself: {}", shown(path))]
    Adapter {
        /// Which kind, and of which model: `a LoRA adapter of meta-llama/Llama-3.2-1B`.
        what: String,
        /// Its folder or file.
        path: PathBuf,
    },

    /// A tokenizer with more tokens than the model's embedding has rows.
    #[error("{}: {}", beyond_text(token, *number, *n_tokens), shown(path))]
    TokenBeyondModel {
        /// The token's text.
        token: String,
        /// Its number.
        number: u64,
        /// Tokens of the model.
        n_tokens: u64,
        /// The checkpoint's folder.
        path: PathBuf,
    },

    /// A tokenizer that llama.cpp cannot be told about.
    #[error("the tokenizer cannot be converted: {what}: {}", shown(path))]
    UnknownTokenizer {
        /// What is missing, unknown or contradicts itself.
        what: String,
        /// The checkpoint's folder, or its file.
        path: PathBuf,
    },

    /// A level of few bits is worth nothing without importances of the columns.
    #[error("{level} needs an importance matrix that covers {tensor}")]
    NeedsImatrix {
        /// The level, or the type that the user chose for the tensor.
        level: &'static str,
        /// The first tensor that needs importances and has none.
        tensor: String,
    },

    /// Importance matrices of different models, which cannot be added up.
    #[error("these importance matrices cannot be merged, {tensor} has {found} here and {expected} before: {}", shown(path))]
    ImatrixesDiffer {
        /// The tensor's name.
        tensor: String,
        /// What this file has: `576 columns of each of 8 experts`.
        found: String,
        /// What the files before it have.
        expected: String,
        /// This file.
        path: PathBuf,
    },

    /// A change of a recipe that cannot be read: a pattern, a type, a list of layers.
    #[error("cannot use {text}: {reason}")]
    BadChange {
        /// What the user wrote.
        text: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A pattern of tensor names that would change nothing.
    #[error("{}", unmatched_text(pattern, fixed.as_deref()))]
    UnmatchedPattern {
        /// The pattern.
        pattern: String,
        /// The first tensor that it matches, if every level leaves all that it matches as they are; `None` if it matches none.
        fixed: Option<String>,
    },

    /// Layers that cannot be left out.
    #[error("cannot prune these layers: {reason}")]
    CannotPrune {
        /// What is in the way.
        reason: String,
    },
}

/// What stands in for a path in errors about standard output.
pub const STANDARD_OUTPUT: &str = "standard output";

/// How a pickle becomes a safetensors file.
pub const PICKLE_HINT: &str = "if you trust its source, convert it with Python: \
    from transformers import AutoModelForCausalLM; \
    AutoModelForCausalLM.from_pretrained(\"FOLDER\").save_pretrained(\"NEW_FOLDER\", safe_serialization=True)";

impl Error {
    /// Wraps an I/O error with the operation and the path, for use in `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self::Io { action, path, kind: error.kind(), reason: error.to_string() }
    }

    /// What is in the way of a checkpoint's conversion, without the path; for any other error, the whole message.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::CheckpointNotConvertible { what, .. } => what.clone(),
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_the_path() {
        let error = Error::MissingShard { number: 2, count: 3, path: "a\n\u{1b}[31m.gguf".into() };
        assert_eq!(error.to_string(), "shard 2 of 3 is missing: a\\n\\u{1b}[31m.gguf");
    }
}
