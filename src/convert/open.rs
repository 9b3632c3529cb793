//! Opening what can be converted: a GGUF file, or a checkpoint as the model that it becomes.

use std::path::Path;
use std::sync::Arc;

use super::ground::FolderGround;
use crate::advise::{CheckedCheckpoint, Room, checklist};
use crate::error::{Error, Result};
use crate::format::{Opened, a_model, read_any};
use crate::hardware;
use crate::import::tokenizer::encode;
use crate::import::{check_computable, import};
use crate::model::{Checkpoint, Model, OnnxNetwork};

/// The model in a file or folder; for a checkpoint, the one that it becomes.
///
/// # Errors
/// Those of `format::read_any` and of `import::import`; `Error::NotAModel` for a GGUF file without a model;
/// `Error::OnlyInspected` for an ONNX network.
pub fn open_model(path: &Path) -> Result<Model> {
    match read_any(path)? {
        Opened::Model(model) => a_model(*model),
        Opened::Checkpoint(checkpoint) => imported(*checkpoint).0,
        Opened::Onnx(network) => Err(Error::OnlyInspected { what: OnnxNetwork::WHAT, path: network.path }),
    }
}

/// Ids of a text's tokens by the tokenizer of the checkpoint that a model comes from; `None` for GGUF files and for tokenizers
/// that cannot be asked.
#[must_use]
pub fn own_tokens(model: &Model, text: &str) -> Option<Vec<u32>> {
    model.import.as_ref()?;
    match read_any(&model.path) {
        Ok(Opened::Checkpoint(checkpoint)) => encode(&checkpoint, text).ok().flatten(),
        _ => None,
    }
}

/// Checks a checkpoint, and makes the model that it becomes where nothing is in the way.
#[must_use]
pub fn check_checkpoint(mut checkpoint: Checkpoint) -> CheckedCheckpoint {
    let room = Room { encoding: hardware::measure_encoding(), ..Room::of(&hardware::detect(&checkpoint.path)) };
    let mut checklist = checklist(&checkpoint, &room);
    let mut model = None;
    if !checklist.is_blocked() {
        let (found, same) = imported(checkpoint);
        checkpoint = same;
        checklist.finish(&found);
        model = found.ok().map(Arc::new);
    }
    let own_obstacle = check_computable(&checkpoint).err().map(|error| error.reason());
    CheckedCheckpoint { model, checkpoint, checklist, own_obstacle }
}

/// The model that a checkpoint becomes, with the sizes of the levels that can be made only from the checkpoint; and the
/// checkpoint again.
fn imported(checkpoint: Checkpoint) -> (Result<Model>, Checkpoint) {
    let mut model = match import(&checkpoint) {
        Ok(model) => model,
        Err(error) => return (Err(error), checkpoint),
    };
    match FolderGround::of(checkpoint) {
        Ok(ground) => {
            model.others = ground.levels();
            (Ok(model), ground.into_checkpoint())
        }
        Err(checkpoint) => (Ok(model), *checkpoint),
    }
}
