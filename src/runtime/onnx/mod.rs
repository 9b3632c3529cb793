//! ONNX Runtime: its own library, loaded from the packages of a Python that is never started; the execution provider is the CPU's.
//!
//! ```text
//! model    a folder: its vocabulary, what ends a text
//! session  a text: tokens in, logits out
//! graph    the network and the keys and values that it keeps
//! ```

mod graph;
mod model;
mod session;

use std::path::Path;
use std::sync::Arc;

use ort::environment::Environment;

use super::session::{Engine, Language, Purpose};
use super::{RuntimeId, RuntimeInfo, environment};
use crate::hardware::onnx_runtime_library;
use crate::path_text;
use model::OnnxModel;

/// The library, loaded.
pub(super) struct OnnxRuntime {
    environment: Environment,
    info: RuntimeInfo,
}

impl OnnxRuntime {
    /// Loads the library.
    pub(super) fn start() -> Result<Self, String> {
        let found = environment::find(RuntimeId::OnnxRuntime).map_err(|error| error.to_string())?;
        let missing = || unusable(&found.packages_dir, "is not there");
        let library = onnx_runtime_library(&found.packages_dir).ok_or_else(missing)?;
        let builder =
            ort::init_from(&library).map_err(|error| unusable(&library, &format!("cannot be loaded: {}", cause(&error))))?;
        // What it says beside its errors would be taken for their cause.
        let logger = Arc::new(|_, category: &str, _: &str, _: &str, message: &str| {
            tracing::debug!(target: "onnxruntime", "{category}: {message}");
        });
        let environment = builder.with_name("planish").with_telemetry(false).with_logger(logger).build();
        let environment = environment.map_err(|error| unusable(&library, &format!("cannot be started: {error}")))?;
        let info = RuntimeInfo {
            version: format!("{} {}", RuntimeId::OnnxRuntime.name(), found.version),
            backend: "CPU execution provider".into(),
            system: format!("{}, {}", path_text::shown(&library), ort::info().trim_start_matches("ORT Build Info: ")),
            devices: vec!["CPU".into()],
        };
        Ok(Self { environment, info })
    }
}

impl Engine for OnnxRuntime {
    fn info(&self) -> RuntimeInfo {
        self.info.clone()
    }

    /// How exactly products of quantized weights are computed is part of the file (`accuracy_level`): the purpose changes nothing.
    fn load(&self, path: &Path, _: Purpose) -> Result<Box<dyn Language + '_>, String> {
        Ok(Box::new(OnnxModel::open(&self.environment, path)?))
    }
}

/// Why the library does not serve; `Error::hint` knows the beginning.
fn unusable(path: &Path, what: &str) -> String {
    format!("the library of ONNX Runtime {what}: {}", path_text::shown(path))
}

/// The cause without the path, which the message ends with.
fn cause(error: &ort::LoadDynamicError) -> String {
    match error {
        ort::LoadDynamicError::Dlopen { error, .. } => error.to_string(),
        ort::LoadDynamicError::MissingApi { .. } => "another library has its name".into(),
        ort::LoadDynamicError::InvalidVersionString => "it does not tell its version".into(),
        ort::LoadDynamicError::BadVersion { version_str, .. } => {
            format!("it has version {version_str}, 1.{} or newer is needed", ort::MINOR_VERSION)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_library_that_does_not_serve_is_told_with_its_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libonnxruntime.so.1.32.0");
        std::fs::write(&path, "not a library").unwrap();
        let error = ort::init_from(&path).err().unwrap();
        let reason = unusable(&path, &format!("cannot be loaded: {}", cause(&error)));
        let error = Error::Runtime { runtime: RuntimeId::OnnxRuntime.name().into(), reason, path: "model".into() };
        assert!(error.hint().contains("planish runtime install onnxruntime"), "{error}");
    }
}
