//! What is computed when its facts change, and not in every frame.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use eframe::egui::{Id, Ui};

/// Stands for a shared value by its address. Weak: the value may be dropped, but while this exists no other one can get its address.
#[derive(Debug)]
pub struct Same<T>(Weak<T>);

impl<T> Same<T> {
    /// This very value.
    pub fn of(value: &Arc<T>) -> Self {
        Self(Arc::downgrade(value))
    }

    /// True for that very value.
    pub fn is(&self, value: &Arc<T>) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(value))
    }
}

impl<T> PartialEq for Same<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

struct Memo<F, T> {
    facts: F,
    value: Arc<T>,
}

/// What `compute` made of `facts`, kept under `name` until the facts differ.
pub fn kept<F: PartialEq + Send + Sync + 'static, T: Send + Sync + 'static>(
    ui: &Ui,
    name: impl Hash + Debug,
    facts: F,
    compute: impl FnOnce() -> T,
) -> Arc<T> {
    let known = |old: &F| *old == facts;
    match known_value(ui, Id::unique(&name), known) {
        Some(value) => value,
        None => keep(ui, Id::unique(&name), facts, compute()),
    }
}

/// The same for facts that are too large to be copied in every frame: `are_facts` tells whether the kept ones still hold,
/// `compute` returns them with the value.
pub fn kept_while<F: Send + Sync + 'static, T: Send + Sync + 'static>(
    ui: &Ui,
    name: impl Hash + Debug,
    are_facts: impl FnOnce(&F) -> bool,
    compute: impl FnOnce() -> (F, T),
) -> Arc<T> {
    let id = Id::unique(&name);
    known_value(ui, id, are_facts).unwrap_or_else(|| {
        let (facts, value) = compute();
        keep(ui, id, facts, value)
    })
}

fn known_value<F: Send + Sync + 'static, T: Send + Sync + 'static>(
    ui: &Ui,
    id: Id,
    are_facts: impl FnOnce(&F) -> bool,
) -> Option<Arc<T>> {
    let memo = ui.data(|data| data.get_temp::<Arc<Memo<F, T>>>(id))?;
    are_facts(&memo.facts).then(|| Arc::clone(&memo.value))
}

fn keep<F: Send + Sync + 'static, T: Send + Sync + 'static>(ui: &Ui, id: Id, facts: F, value: T) -> Arc<T> {
    let value = Arc::new(value);
    ui.data_mut(|data| data.insert_temp(id, Arc::new(Memo { facts, value: Arc::clone(&value) })));
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::test_support::sample_model;

    #[test]
    fn each_value_is_computed_once_until_its_facts_change() {
        let (one, other) = (Arc::new(sample_model()), Arc::new(sample_model()));
        let mut n_calls = 0;
        let ctx = eframe::egui::Context::default();
        let mut output = ctx.run_ui(eframe::egui::RawInput::default(), |ui| {
            n_calls = 0;
            for model in [&one, &one, &other, &other, &one] {
                let n_tensors = kept(ui, "test memo", Same::of(model), || {
                    n_calls += 1;
                    model.tensors.len()
                });
                assert_eq!(*n_tensors, 272);
                kept_while(
                    ui,
                    "test memo of large facts",
                    |old: &Same<_>| old.is(model),
                    || {
                        n_calls += 1;
                        (Same::of(model), model.display_name())
                    },
                );
            }
        });
        output.textures_delta.clear();
        // The last of the list is kept from the pass before, should egui run two.
        assert!((4..=6).contains(&n_calls), "{n_calls}");
    }
}
