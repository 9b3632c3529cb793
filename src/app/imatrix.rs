//! An importance matrix is collected before a conversion that wants one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::App;
use crate::calibrate::imatrix::{CollectRequest, DEFAULT_CHUNK_TOKENS, Existing, imatrix_path};
use crate::convert::Existing as OfLevel;
use crate::error::Result;
use crate::model::Level;
use crate::worker::Job;

impl App {
    /// The job that collects a matrix and the conversion that follows it, both with the present choices. `matrix` is the user's
    /// answer for a matrix that exists.
    pub(super) fn collecting(
        &self,
        levels: Vec<Level>,
        existing: BTreeMap<Level, OfLevel>,
        matrix: Option<OfLevel>,
    ) -> Result<(Job, Box<Job>)> {
        let (model, mut request) = self.conversion(levels, None)?;
        request.existing = existing;
        let out = imatrix_path(&model, &request.out_dir);
        request.imatrix = Some(out.clone());
        let form = &self.form.imatrix;
        let collecting = CollectRequest {
            model: model.path.clone(),
            text: self.calibration().text,
            n_ctx: DEFAULT_CHUNK_TOKENS,
            max_chunks: (form.max_chunks > 0).then_some(form.max_chunks),
            out,
            existing: match (form.reuse, matrix) {
                (true, _) | (_, Some(OfLevel::Skip)) => Existing::Reuse,
                (false, Some(OfLevel::Replace)) => Existing::Replace,
                (false, Some(OfLevel::KeepBoth) | None) => Existing::Refuse,
            },
            by_attention: true,
            n_threads: (self.form.bench.n_threads > 0).then_some(self.form.bench.n_threads),
        };
        let before = Some(Box::new((Arc::clone(&model), request.clone())));
        let job = Job::CollectImatrix { request: Box::new(collecting), before };
        Ok((job, Box::new(Job::Convert { model, request, calibration: self.calibration() })))
    }

    /// Chooses the importance matrix that was collected.
    pub(super) fn take_imatrix(&mut self, path: &Path) {
        self.form.imatrix_path = crate::path_text::to_text(path);
        self.form.imatrix.collect = false;
        self.save();
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::calibrate::imatrix::Collected;
    use crate::error::Error;
    use crate::state::{Command, Form, JobKind, Slot};
    use crate::ui::test_support::{sample_model, store_with_model_and_machine};
    use crate::worker::{Event, JobId, Output, Picked, Picker, Worker};

    struct NoPicker;

    impl Picker for NoPicker {
        fn pick(&self, _: Picked) -> Option<PathBuf> {
            None
        }
    }

    #[test]
    fn a_conversion_follows_its_importance_matrix_and_only_that() {
        let worker = Worker::spawn(Arc::new(|| {}), Arc::new(NoPicker)).unwrap();
        let mut app = App::new(worker, Form::default(), None);
        app.store = store_with_model_and_machine();
        app.form.output_dir = "/no/such/folder".into();
        let path = PathBuf::from("/no/such/folder/SmolLM2-135M-Instruct.Q4_1.imatrix.gguf");
        // The worker would say that there is no such model, but its events are never read.
        let finished = |app: &mut App, is_collected: bool| {
            app.form.imatrix.collect = true;
            app.commands.push(Command::CollectImatrix(vec![Level::Q3_K_M]));
            app.carry_out();
            let id = app.store.jobs.last().map(|job| job.id).unwrap();
            let collected = Collected {
                path: path.clone(),
                sources: app.store.model_path.iter().cloned().collect(),
                texts: Vec::new(),
                n_tensors: 1,
                n_chunks: 1,
                chunk_tokens: 512,
                changes: Vec::new(),
                unused_tensors: Vec::new(),
                unused_experts: Vec::new(),
                foreign: None,
                is_reused: false,
                elapsed_secs: 1.0,
            };
            let result = if is_collected { Ok(Output::Imatrix(Arc::new(collected))) } else { Err(Error::Cancelled) };
            app.take(Event::Finished { id, result, elapsed_secs: 1.0 });
            app.store.jobs.last().map(|job| job.kind.clone())
        };
        assert!(matches!(finished(&mut app, false), Some(JobKind::CollectImatrix(_))), "nothing follows");
        assert!(app.form.imatrix.collect && app.form.imatrix_path.is_empty());
        assert_eq!(finished(&mut app, true), Some(JobKind::Convert(vec![Level::Q3_K_M])));
        assert_eq!((app.form.imatrix.collect, Path::new(&app.form.imatrix_path)), (false, path.as_path()));
        assert!(app.store.imatrix.is_some());
        // It is of no use for another model.
        let mut other = sample_model();
        other.path = "/other.gguf".into();
        app.store.model = Slot::Waiting { id: JobId(77) };
        app.take(Event::Finished { id: JobId(77), result: Ok(Output::Model(Arc::new(other))), elapsed_secs: 0.1 });
        assert!(app.store.imatrix.is_none() && app.form.imatrix_path.is_empty());
    }
}
