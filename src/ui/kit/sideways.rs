//! What is wider than its card: it scrolls sideways, and leaves the wheel to the page.

use eframe::egui::{ScrollArea, Ui};

use super::focus_order::bring_into_view;

/// Draws what needs `least_width` points at least: in a narrower place it scrolls sideways, with a bar below. In a wider one it gets all
/// the width there is.
pub fn sideways_ui<R>(ui: &mut Ui, id: &str, least_width: f32, add: impl FnOnce(&mut Ui) -> R) -> R {
    let width = ui.available_width().max(least_width);
    let output = ScrollArea::horizontal().id_salt(id).show(ui, |ui| {
        ui.set_width(width);
        let inner = add(ui);
        bring_into_view(ui);
        #[cfg(test)]
        test_marks::note(ui.ctx(), ui.min_rect().intersect(ui.clip_rect()));
        inner
    });
    output.inner
}

/// Where such areas were drawn, for tests.
#[cfg(test)]
pub mod test_marks {
    use eframe::egui::{Context, Id, Rect};

    /// Frame and places.
    type Marks = (u64, Vec<Rect>);

    fn id() -> Id {
        Id::unique("areas that scroll sideways")
    }

    /// Notes where one was drawn.
    pub fn note(ctx: &Context, rect: Rect) {
        let pass = ctx.cumulative_pass_nr();
        ctx.data_mut(|data| {
            let marks: &mut Marks = data.get_temp_mut_or_default(id());
            if marks.0 != pass {
                *marks = (pass, Vec::new());
            }
            marks.1.push(rect);
        });
    }

    /// The places of the last frame.
    pub fn sideways_rects(ctx: &Context) -> Vec<Rect> {
        let (pass, rects) = ctx.data(|data| data.get_temp::<Marks>(id())).unwrap_or_default();
        if pass + 2 >= ctx.cumulative_pass_nr() { rects } else { Vec::new() }
    }
}
