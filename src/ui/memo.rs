//! What is computed from a model once and not in every frame.

use std::sync::{Arc, Weak};

use eframe::egui::{Id, Ui};

use crate::model::Model;

struct Memo<T> {
    /// Weak: the model may be dropped, but while this exists no other one can get its address.
    model: Weak<Model>,
    value: Arc<T>,
}

impl<T> Clone for Memo<T> {
    fn clone(&self) -> Self {
        Self { model: Weak::clone(&self.model), value: Arc::clone(&self.value) }
    }
}

/// The result of `compute`, kept under `name` until another model comes.
pub fn of_model<T: Send + Sync + 'static>(
    ui: &Ui,
    name: &'static str,
    model: &Arc<Model>,
    compute: impl FnOnce(&Model) -> T,
) -> Arc<T> {
    let id = Id::unique(name);
    let known = ui.data(|data| data.get_temp::<Memo<T>>(id));
    if let Some(memo) = known.filter(|memo| std::ptr::eq(memo.model.as_ptr(), Arc::as_ptr(model))) {
        return memo.value;
    }
    let value = Arc::new(compute(model));
    ui.data_mut(|data| data.insert_temp(id, Memo { model: Arc::downgrade(model), value: Arc::clone(&value) }));
    value
}

#[cfg(test)]
mod tests {
    use super::super::test_support::sample_model;
    use super::*;

    #[test]
    fn each_model_is_computed_once() {
        let (one, other) = (Arc::new(sample_model()), Arc::new(sample_model()));
        let mut n_calls = 0;
        let ctx = eframe::egui::Context::default();
        let mut output = ctx.run_ui(eframe::egui::RawInput::default(), |ui| {
            n_calls = 0;
            for model in [&one, &one, &other, &other, &one] {
                assert_eq!(
                    *of_model(ui, "test memo", model, |model| {
                        n_calls += 1;
                        model.tensors.len()
                    }),
                    272
                );
            }
        });
        output.textures_delta.clear();
        // The last of the list is kept from the pass before, should egui run two.
        assert!((2..=3).contains(&n_calls), "{n_calls}");
    }
}
