//! What the user can do about each error.

use std::path::Path;

use super::texts::death_hint;
use super::{Error, PICKLE_HINT, STANDARD_OUTPUT};
use crate::path_text::shown;

impl Error {
    /// What the user can do about it; every variant has an answer.
    #[must_use]
    #[allow(clippy::too_many_lines, reason = "one line for each error")]
    pub fn hint(&self) -> String {
        use std::io::ErrorKind;
        match self {
            Self::Cancelled => "start it again when you like".into(),
            Self::Internal { .. } => "this is a defect of Planish: please report it with the command and the model's name".into(),
            Self::Io { kind: ErrorKind::NotFound, .. } => "check the path".into(),
            Self::Io { kind: ErrorKind::PermissionDenied, .. } => "check the permissions, or choose another folder".into(),
            Self::Io { kind: ErrorKind::StorageFull | ErrorKind::QuotaExceeded, path, .. } if path == Path::new(STANDARD_OUTPUT) => {
                "standard output goes to a full disk: free some space or send it elsewhere".into()
            }
            Self::Io { kind: ErrorKind::StorageFull | ErrorKind::QuotaExceeded, .. } => {
                "free some space or choose another folder; the unfinished file has been removed".into()
            }
            Self::Io { kind: ErrorKind::FileTooLarge, .. } => {
                "raise the limit on the size of files (ulimit -f), or choose a folder on another file system; the unfinished file has been removed"
                    .into()
            }
            Self::Io { kind: ErrorKind::InvalidFilename, .. } => "choose a shorter name".into(),
            Self::Io { .. } => "check the disk and the path".into(),
            Self::NotAFile { .. } => "choose a .gguf or .onnx file, or the folder of a Hugging Face checkpoint to check it".into(),
            Self::UnknownFormat { .. } => "choose a .gguf file; a failed download is often an HTML page".into(),
            Self::Placeholder { found, .. } => found.hint().into(),
            Self::BrokenLink { .. } => {
                "the download is incomplete, or its cache was cleared: download the model again, or copy the file to this place"
                    .into()
            }
            Self::UnsupportedFormat { .. } => {
                "convert it to GGUF first, for example with llama.cpp's convert_hf_to_gguf.py".into()
            }
            Self::Truncated { .. } => "the download is probably incomplete: fetch the file again".into(),
            Self::Malformed { .. } => "fetch the file again, or open it with the tool that wrote it".into(),
            Self::NotAModel { hint, .. } => (*hint).into(),
            Self::NotLoadable { .. } => {
                "fetch the file again, or get another conversion of the model; planish inspect shows what was found".into()
            }
            Self::MisnamedPart { name, .. } => {
                format!("give it back its name, {name}, and keep all parts in one folder under one name")
            }
            Self::CutFile { whole, .. } => {
                format!("join all pieces, in the order of their numbers or letters, into one file named {whole}, for example with cat")
            }
            Self::NotComparable { .. } => "compare a file with the model that it was made from".into(),
            Self::NotAFolder { .. } | Self::NotOurFolder { .. } => "move it away, or choose another folder for the outputs".into(),
            Self::CannotWrite { .. } => "levels of llama.cpp may be possible: planish inspect shows which".into(),
            Self::NameTooLong { .. } => {
                "rename the source to something shorter, or choose another folder; .part.journal is added to the name".into()
            }
            Self::UnsupportedVersion { .. } => "get a conversion of the model in GGUF version 2 or 3, little-endian".into(),
            Self::MissingShard { .. } => "put all shards into one folder under their original names".into(),
            Self::UnknownLevel { known, .. } => format!("known levels: {known}"),
            Self::BadSize { .. } => "write bytes, or a number with a unit: 800M, 6G, 5.5GiB".into(),
            Self::BadRequest { .. } => "see --help".into(),
            Self::UnsupportedDType { action, .. } => {
                format!("this version cannot {action} that type: choose another level or source")
            }
            Self::NonFinite { .. } => "the source is damaged: fetch or export it again".into(),
            Self::OutOfRange { .. } => "choose a level with a larger range: BF16 or F32".into(),
            Self::NoBin { .. } => "what is still there can be deleted for good (on the command line: --for-good)".into(),
            Self::OutputExists { .. } => {
                "choose another folder, or say what becomes of files that exist (on the command line: --existing)".into()
            }
            Self::OutputIsSource { .. } => "choose another output folder".into(),
            Self::OutputLocked { .. } => "wait for the other run, or choose another folder".into(),
            Self::CannotResume { .. } => "start over, without --resume".into(),
            Self::NoChecksums { .. } => "only files made by planish convert carry them: convert it again".into(),
            Self::Damaged { .. } => "do not use it; convert it again, or get it again".into(),
            Self::NotEnoughSpace { .. } => "free some space, choose another folder, or choose fewer or smaller levels".into(),
            Self::LargerThanMemory { .. } => {
                "choose a smaller level or close other programs; if it may be slower than memory, allow more (on the command line: --memory-budget)"
                    .into()
            }
            Self::SourceChanged { .. } => "wait until the download is complete, then start again".into(),
            Self::SetUp { advice: "", .. } => "planish runtime list says what can be set up".into(),
            Self::SetUp { advice, .. } => (*advice).into(),
            Self::RuntimeMissing { runtime, .. } if runtime == "MLX" => {
                "set it up: planish runtime install mlx, or on the Machine page".into()
            }
            Self::RuntimeMissing { reason, .. } if reason.contains("cargo feature") => {
                "use a build with all features, as they are by default".into()
            }
            Self::RuntimeMissing { runtime, .. } if runtime == "ONNX Runtime" => {
                "set it up: planish runtime install onnxruntime, or on the Machine page".into()
            }
            Self::RuntimeMissing { .. } => "planish doctor says what is missing and how to get it".into(),
            Self::NoWindow { .. } => "start it in a desktop session with OpenGL, or use the command line: planish --help".into(),
            Self::Runtime { reason, .. } if reason.starts_with("the library of ONNX Runtime") => {
                "set it up anew: planish runtime remove onnxruntime, then planish runtime install onnxruntime".into()
            }
            Self::Runtime { reason, .. } if reason.contains("the model's context holds") => {
                "choose a shorter prompt or fewer tokens (on the command line: --prompt-tokens and --gen-tokens)".into()
            }
            Self::Runtime { runtime, .. } => {
                format!("check that the model is complete and that its architecture is supported by this {runtime}")
            }
            Self::BadText { .. } => "choose a file with text in UTF-8 that is long enough, or leave it out to use the bundled one".into(),
            Self::OtherVocabulary { .. } => "compare a model with the file it was made from".into(),
            Self::NotAHistory { .. } => {
                "move that file away, or set PLANISH_HISTORY to another one; Planish does not touch it".into()
            }
            Self::HistoryTooNew { .. } => "update Planish, or set PLANISH_HISTORY to another file".into(),
            Self::History { .. } => "check space and permissions of its folder, or set PLANISH_HISTORY to another file".into(),
            Self::UnknownRun { .. } => "planish history lists the runs with their numbers".into(),
            Self::NothingStored { .. } => "measure it first: planish compare MODEL --level Q8_0,Q4_K_M --out DIR".into(),
            Self::ChildDied { reason, .. } => death_hint(reason).into(),
            Self::BadImatrix { path, .. } if path.extension().is_some_and(|extension| extension == "moments") => {
                "try it again: the second moments are then collected anew".into()
            }
            Self::BadImatrix { .. } => {
                "choose a file that planish imatrix or llama-imatrix wrote for this model, .gguf or .dat".into()
            }
            Self::ImatrixMismatch { .. } => "choose the importance matrix that was made from this very model".into(),
            Self::DamagedFile { .. } => {
                "fetch the file again; a download that broke off often leaves a file that looks whole".into()
            }
            Self::UnclearFolder { what, .. } if what.contains("snapshot") => "download the model again".into(),
            Self::UnclearFolder { .. } => "fetch model.safetensors.index.json as well, or open one of the files".into(),
            Self::MissingWeights { name, .. } => format!("fetch {name} as well and put it there under that name"),
            Self::TooLargeForOnnx { .. } => {
                "save it with the weights in a file of their own, in Python: onnx.save(model, PATH, save_as_external_data=True)".into()
            }
            Self::CannotRewrite { .. } => "update Planish, or save the model with an older version of the format".into(),
            Self::OnlyInspected { .. } => "planish inspect shows what is in it".into(),
            Self::SeveralModels { .. } => "open one of these files".into(),
            Self::Pickle { .. } => PICKLE_HINT.into(),
            Self::CheckpointNotRunnable { path } => {
                format!("convert it first: planish convert {} --level BF16 --out FOLDER", shown(path))
            }
            Self::WrongOutput { .. } => {
                "the file was removed; if the checkpoint works elsewhere, please report it with the model's name \
                    (on the command line --no-check keeps such a file)"
                    .into()
            }
            Self::CheckpointNotConvertible { .. } => "planish inspect shows all that was checked".into(),
            Self::Adapter { .. } => {
                "merge it into its base model first, with PEFT in Python: AutoPeftModelForCausalLM.from_pretrained(\"FOLDER\")\
                    .merge_and_unload().save_pretrained(\"NEW_FOLDER\"); then convert NEW_FOLDER"
                    .into()
            }
            Self::TokenBeyondModel { .. } => {
                "take the tokenizer of the base model, or give the model rows for the added tokens (resize_token_embeddings in \
                    transformers) and save both again"
                    .into()
            }
            Self::UnknownTokenizer { .. } => {
                "fetch all tokenizer files of the checkpoint; a newer kind needs llama.cpp's convert_hf_to_gguf.py".into()
            }
            Self::EmptyPrompt => "write a question or an instruction for the models to answer".into(),
            Self::NeedsImatrix { .. } => {
                "collect one from this model first (on the command line: planish imatrix MODEL --out FILE, then --imatrix FILE)"
                    .into()
            }
            Self::ImatrixesDiffer { .. } => "merge only files that were made from the same model".into(),
            Self::BadChange { .. } => {
                "write a pattern and a type, as in attn_v=Q6_K, a type alone, or layers counted from 0, as in 3,5-7".into()
            }
            Self::UnmatchedPattern { fixed: Some(_), .. } => {
                "norms, routers, biases and other small tensors keep their type: name a matrix".into()
            }
            Self::UnmatchedPattern { fixed: None, .. } => "planish inspect MODEL --tensors lists all names".into(),
            Self::CannotPrune { .. } => "choose other layers, or leave them in".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_memory_is_called_one() {
        let hint = |reason: &str| Error::ChildDied { reason: reason.into(), path: "m.gguf".into() }.hint();
        for reason in
            ["signal: 9 (SIGKILL), the system may have run out of memory", "signal: 6 (SIGABRT), failed to allocate buffer"]
        {
            assert!(hint(reason).contains("more memory"), "{reason}");
        }
        let others = [
            "signal: 6 (SIGABRT), llama-vocab.cpp:2578: GGML_ASSERT(a == b) failed",
            "signal: 11 (SIGSEGV)",
            "signal: 4 (SIGILL)",
            "exit status: 1, panic: index out of bounds",
            "it left out a chunk",
        ];
        for reason in others {
            assert!(!hint(reason).contains("memory"), "{reason}");
        }
    }

    #[test]
    fn a_full_standard_output_leaves_no_file_to_remove() {
        let hint = |path: &str| {
            let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
            Error::io("write", Path::new(path))(error).hint()
        };
        assert!(hint("a.gguf").contains("has been removed") && !hint(STANDARD_OUTPUT).contains("removed"));
    }
}
