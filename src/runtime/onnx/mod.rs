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
use crate::hardware::{PythonPackages, onnx_runtime_library};
use crate::path_text;
use model::OnnxModel;

/// The library, loaded.
pub(super) struct OnnxRuntime {
    environment: Environment,
    info: RuntimeInfo,
}

impl OnnxRuntime {
    /// Loads the library that is found on this machine.
    pub(super) fn start() -> Result<Self, String> {
        let found = environment::find(RuntimeId::OnnxRuntime).map_err(|error| error.to_string())?;
        Self::of(&found)
    }

    fn of(found: &PythonPackages) -> Result<Self, String> {
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
    use std::path::PathBuf;

    use super::*;
    use crate::error::Error;
    use crate::hardware::python_below;
    use crate::runtime::session::{Session, SessionSettings};

    /// The library that `tests/run.sh` has set up; `None`, loudly, without it.
    fn library() -> Option<OnnxRuntime> {
        let fixtures = std::env::var_os("PLANISH_FIXTURES").map(PathBuf::from);
        let fixtures = fixtures.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/planish-fixtures")))?;
        let environment = fixtures.join("data/planish/runtimes/onnxruntime");
        let Some(found) = python_below(&environment, RuntimeId::OnnxRuntime.packages()) else {
            assert!(std::env::var_os("PLANISH_ONNX_RUNTIME").is_none(), "{} is missing", environment.display());
            eprintln!("SKIPPED: no ONNX Runtime in {}", environment.display());
            return None;
        };
        Some(OnnxRuntime::of(&found).unwrap())
    }

    /// The largest difference of two rows of logits.
    fn difference(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn what_was_forgotten_leaves_no_trace() {
        let Some(library) = library() else { return };
        let ids: Vec<u32> = (0..60).map(|idx| idx * 7 % 300).collect();
        // 4-bit weights are multiplied with one row in another way than with several.
        for (name, tolerance) in [("f32", 1e-4), ("f16", 0.05), ("int4", 1.0)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx").join(name);
            let model = library.load(&folder, Purpose::Use).unwrap();
            let settings = SessionSettings { n_tokens: 64, n_threads: 2, exact_attention: false };
            let mut session = model.session(settings).unwrap();
            assert_eq!(session.last_logits(), Err("nothing has been computed".into()));
            session.compute(&ids).unwrap();
            let whole = session.last_logits().unwrap().to_vec();
            let compute = |session: &mut dyn Session, steps: &[&[u32]]| {
                for step in steps {
                    session.compute(step).unwrap();
                }
                session.last_logits().unwrap().to_vec()
            };
            // Others in between, forgotten again.
            assert_eq!(session.forget_from(20), Ok(true));
            compute(session.as_mut(), &[&ids[..30]]);
            assert_eq!((session.forget_from(20), session.forget_from(21)), (Ok(true), Ok(false)));
            assert_eq!(compute(session.as_mut(), &[&ids[20..40], &ids[40..]]), whole, "{name}: the same bits");
            session.clear().unwrap();
            let rows = session.rows(&ids, 0, 10).unwrap().to_vec();
            assert_eq!(rows.chunks_exact(whole.len()).last().unwrap(), whole);
            assert_eq!(rows.len(), 50 * whole.len());
            // Token by token.
            session.clear().unwrap();
            let single: Vec<&[u32]> = ids.chunks(1).collect();
            let by_token = compute(session.as_mut(), &single);
            assert!(difference(&by_token, &whole) < tolerance, "{name}: {}", difference(&by_token, &whole));
            assert!(session.compute(&ids[..5]).unwrap_err().contains("only 64 fit"));
            assert!(session.rows(&ids[..2], 0, 0).unwrap_err().contains("stands at 60"));
        }
    }

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
