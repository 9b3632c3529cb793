//! Folders for ONNX Runtime GenAI, before they are written.

use std::path::Path;

use super::onnx_recipe::{EMBEDDING, OnnxRecipe};
use super::output::Draft;
use super::overrides::Overrides;
use crate::error::{Error, Result};
use crate::format::onnx::language::{
    Arranged, DATA_FILE, GRAPH_FILE, GenaiSettings, MAX_CONTEXT, arranged, context_len, genai_config, graph_model, head_of,
};
use crate::format::onnx::to_bytes;
use crate::format::{FolderFiles, Planned, PlannedFile, model_card, plain_config, pretty_json};
use crate::model::{Checkpoint, Decoder, LEVEL_KEY, Level, Model, RECIPE_KEY, VERSION_KEY};
use crate::quant::Coding;

/// Folders of one checkpoint, one per level.
#[derive(Debug)]
pub struct OnnxOutputs<'a> {
    decoder: &'a Decoder,
    /// One tensor for each of `Decoder::named_weights`.
    source: &'a Model,
    checkpoint: &'a Checkpoint,
    files: &'a FolderFiles,
    overrides: &'a Overrides,
}

impl<'a> OnnxOutputs<'a> {
    /// The outputs of a checkpoint; `decoder` and `source` are what `import::onnx_model` makes of it.
    #[must_use]
    pub fn new(
        decoder: &'a Decoder,
        source: &'a Model,
        checkpoint: &'a Checkpoint,
        files: &'a FolderFiles,
        overrides: &'a Overrides,
    ) -> Self {
        Self { decoder, source, checkpoint, files, overrides }
    }

    /// The model that is read.
    #[must_use]
    pub fn source(&self) -> &'a Model {
        self.source
    }

    fn recipe(level: Level) -> Result<OnnxRecipe> {
        OnnxRecipe::of(level).ok_or_else(|| Error::Internal { message: format!("{level} is no level of ONNX Runtime") })
    }

    fn arranged(&self, level: Level) -> Result<Arranged> {
        let recipe = Self::recipe(level)?;
        let n_layers = self.decoder.layers.len() as u64;
        let tensors: Vec<(&str, Coding, &[u64])> = self
            .source
            .tensors
            .iter()
            .map(|tensor| (tensor.name.as_str(), recipe.coding(tensor, n_layers), &*tensor.shape))
            .collect();
        arranged(self.decoder, &tensors, recipe.float()).ok_or_else(|| self.broken(level))
    }

    fn broken(&self, level: Level) -> Error {
        Error::Internal { message: format!("{level} of {} has no layout", self.checkpoint.name) }
    }

    /// All files but those that are copied as they are; the data file without its first bytes.
    fn own_files(&self, level: Level, arranged: &Arranged) -> Result<Vec<PlannedFile>> {
        let notes = [
            (LEVEL_KEY, level.to_string()),
            (RECIPE_KEY, self.recipe_text(level)),
            (VERSION_KEY, env!("CARGO_PKG_VERSION").to_string()),
        ];
        let graph = graph_model(self.decoder, arranged, &notes).ok_or_else(|| self.broken(level))?;
        let config = self.checkpoint.config.as_ref();
        let settings = GenaiSettings {
            model_type: config.map_or("", |config| &config.model_type),
            config: Some(&self.files.config),
            generation: Some(&self.checkpoint.generation),
        };
        let json = pretty_json(&genai_config(self.decoder, &settings)).ok_or_else(|| self.broken(level))?;
        Ok(vec![
            PlannedFile::whole(GRAPH_FILE, to_bytes(&graph, Path::new(GRAPH_FILE))?),
            PlannedFile { name: DATA_FILE.into(), size_bytes: arranged.size_bytes, head: Vec::new() },
            PlannedFile::whole("genai_config.json", json),
            PlannedFile::whole("config.json", self.config_file(level)?),
            model_card(self.checkpoint, "onnxruntime-genai", "ONNX Runtime", &self.recipe_text(level)),
        ])
    }

    /// The checkpoint's configuration without what it says of its own quantization.
    fn config_file(&self, level: Level) -> Result<Vec<u8>> {
        let config = plain_config(&self.files.config);
        pretty_json(&serde_json::Value::Object(config)).ok_or_else(|| self.broken(level))
    }

    pub(super) fn draft(&self, level: Level) -> Result<Draft> {
        let arranged = self.arranged(level)?;
        let files = self.own_files(level, &arranged)?;
        let warnings = self.warnings(level, &arranged);
        Ok(Draft::of_folder(self.source, &files, &arranged.ways, self.files, warnings))
    }

    /// The level and what changes there.
    pub(super) fn recipe_text(&self, level: Level) -> String {
        self.overrides.recipe_text(level)
    }

    pub(super) fn planned(&self, level: Level) -> Result<Planned> {
        let arranged = self.arranged(level)?;
        let mut files = self.own_files(level, &arranged)?;
        if let Some(data) = files.iter_mut().find(|file| file.name == DATA_FILE) {
            data.head = head_of(self.decoder, &arranged)?;
        }
        files.extend(self.files.planned());
        Ok(Planned { files, ways: arranged.ways })
    }

    fn warnings(&self, level: Level, arranged: &Arranged) -> Vec<String> {
        let mut warnings = self.source.warnings.clone();
        if self.decoder.n_ctx > MAX_CONTEXT {
            warnings.push(format!("contexts end at {MAX_CONTEXT} tokens, although the model takes {}", self.decoder.n_ctx));
        }
        if self.decoder.n_ctx == 0 {
            let n_ctx = context_len(self.decoder);
            warnings.push(format!("config.json does not say how long contexts may be: {n_ctx} tokens are assumed"));
        }
        let has_tokenizer = self.files.copied.iter().any(|(name, _)| name == "tokenizer_config.json");
        if !has_tokenizer {
            warnings
                .push("there is no tokenizer_config.json, without which onnxruntime-genai's own tokenizer does not start".into());
        }
        let embedding = arranged.places.get(EMBEDDING);
        let are_floats = embedding.is_some_and(|place| matches!(place.coding, Coding::Ggml(_)));
        if are_floats && matches!(OnnxRecipe::of(level), Some(OnnxRecipe::Integers { .. })) {
            warnings.push("the rows of the embeddings are not whole blocks: they stay floats".into());
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Framework;

    #[test]
    fn every_level_of_onnx_runtime_is_made_somehow() {
        let levels: Vec<Level> = Level::of(Framework::OnnxRuntime).collect();
        assert!(levels.len() > 5);
        for level in levels {
            assert!(OnnxRecipe::of(level).is_some(), "{level}");
        }
        assert_eq!(OnnxRecipe::of(Level::MLX_BF16), None);
    }
}
