//! Size and place of the window between runs.

use eframe::egui::{Context, Pos2, Rect, Vec2, ViewportBuilder, ViewportCommand, pos2, vec2};

use crate::state::WindowPlace;

/// Size of the window where nothing is remembered, and its smallest size, in points.
const SIZE: Vec2 = vec2(1280.0, 800.0);
const MIN_SIZE: Vec2 = vec2(960.0, 600.0);
/// Height of a title bar, and the width of it that must be on a monitor so that the window can be grabbed, in points.
const TITLE_HEIGHT: f32 = 30.0;
const LEAST_VISIBLE: f32 = 120.0;

/// The window as it was left: in the usual size where nothing is remembered, without a position where none is known.
pub(super) fn builder(place: Option<WindowPlace>) -> ViewportBuilder {
    let builder = ViewportBuilder::default().with_min_inner_size(MIN_SIZE);
    let Some(place) = place else { return builder.with_inner_size(SIZE) };
    let size = vec2(place.width, place.height).max(MIN_SIZE);
    let builder = builder.with_inner_size(if size.is_finite() { size } else { SIZE }).with_maximized(place.is_maximized);
    match place.position {
        Some([x, y]) if x.is_finite() && y.is_finite() => builder.with_position(pos2(x, y)),
        _ => builder,
    }
}

/// Moves a window whose monitor is gone onto another one, before it is shown.
pub(super) fn bring_back(context: &eframe::CreationContext<'_>, place: Option<WindowPlace>) {
    let (Some(place), Some(window)) = (place, context.winit_window()) else { return };
    let monitors: Vec<Rect> = window
        .available_monitors()
        .map(|monitor| {
            let (position, size) = (monitor.position(), monitor.size());
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "pixels of a screen")]
            let (scale, min, size) = (
                monitor.scale_factor() as f32,
                pos2(position.x as f32, position.y as f32),
                vec2(size.width as f32, size.height as f32),
            );
            Rect::from_min_size((min.to_vec2() / scale).to_pos2(), size / scale)
        })
        .collect();
    if let Some(better) = better_position(place, &monitors) {
        let zoom = context.egui_ctx.zoom_factor();
        context.egui_ctx.send_viewport_cmd(ViewportCommand::OuterPosition((better.to_vec2() / zoom).to_pos2()));
    }
}

/// Where a window should go that could not be grabbed where it was; `None` where it can be, or where its position or all
/// monitors are unknown. All in points without zoom.
fn better_position(place: WindowPlace, monitors: &[Rect]) -> Option<Pos2> {
    let [x, y] = place.position?;
    let title = Rect::from_min_size(pos2(x, y), vec2(place.width, TITLE_HEIGHT));
    let is_held_on = |monitor: &Rect| {
        let visible = monitor.intersect(title);
        visible.is_positive() && visible.width() >= LEAST_VISIBLE && visible.height() >= TITLE_HEIGHT / 2.0
    };
    let first = monitors.first()?;
    if monitors.iter().any(is_held_on) {
        return None;
    }
    // In the middle, or at the corner of a monitor that is smaller.
    let size = vec2(place.width, place.height + TITLE_HEIGHT);
    Some(first.min + ((first.size() - size) / 2.0).max(Vec2::ZERO))
}

/// Remembers where the window is. A maximized one keeps the size and place that it had before, or gets the usual size.
pub(super) fn observe(ctx: &Context, place: &mut Option<WindowPlace>) {
    let (inner, outer, is_maximized, is_hidden) = ctx.input(|input| {
        let viewport = input.viewport();
        let is_hidden = viewport.minimized == Some(true) || viewport.fullscreen == Some(true);
        (viewport.inner_rect, viewport.outer_rect, viewport.maximized == Some(true), is_hidden)
    });
    let Some(inner) = inner.filter(|inner| inner.is_positive() && !is_hidden) else { return };
    if is_maximized {
        let usual = WindowPlace { position: None, width: SIZE.x, height: SIZE.y, is_maximized };
        place.get_or_insert(usual).is_maximized = true;
        return;
    }
    let zoom = ctx.zoom_factor();
    let position = outer.map(|outer| [outer.min.x * zoom, outer.min.y * zoom]);
    *place = Some(WindowPlace { position, width: inner.width() * zoom, height: inner.height() * zoom, is_maximized });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(x: f32, y: f32) -> WindowPlace {
        WindowPlace { position: Some([x, y]), width: 1300.0, height: 850.0, is_maximized: false }
    }

    #[test]
    fn a_window_whose_monitor_is_gone_comes_back() {
        let left = Rect::from_min_size(Pos2::ZERO, vec2(1920.0, 1080.0));
        let right = Rect::from_min_size(pos2(1920.0, 0.0), vec2(1920.0, 1080.0));
        let check = |x, y, monitors: &[Rect], expected: Option<Pos2>| {
            assert_eq!(better_position(place(x, y), monitors), expected, "{x}, {y}");
        };
        check(2000.0, 50.0, &[left, right], None);
        check(2000.0, 50.0, &[left], Some(pos2(310.0, 100.0)));
        // Half beyond an edge is how the user left it; a title bar out of reach is not.
        check(1500.0, 50.0, &[left], None);
        check(1900.0, 50.0, &[left], Some(pos2(310.0, 100.0)));
        check(100.0, -200.0, &[left], Some(pos2(310.0, 100.0)));
        check(-5000.0, 50.0, &[Rect::from_min_size(Pos2::ZERO, vec2(1024.0, 700.0))], Some(Pos2::ZERO));
        check(5000.0, 50.0, &[], None);
        assert_eq!(better_position(WindowPlace { position: None, ..place(0.0, 0.0) }, &[left]), None);
    }

    #[test]
    fn the_window_opens_as_it_was_left() {
        let fresh = builder(None);
        assert_eq!((fresh.inner_size, fresh.position), (Some(SIZE), None));
        let again = builder(Some(WindowPlace { is_maximized: true, ..place(40.0, 30.0) }));
        assert_eq!((again.inner_size, again.position), (Some(vec2(1300.0, 850.0)), Some(pos2(40.0, 30.0))));
        assert_eq!(again.maximized, Some(true));
        let odd = WindowPlace { position: Some([f32::NAN, 0.0]), width: 3.0, height: f32::INFINITY, is_maximized: false };
        assert_eq!((builder(Some(odd)).inner_size, builder(Some(odd)).position), (Some(SIZE), None));
    }

    #[test]
    fn a_maximized_window_keeps_its_earlier_size() {
        let mut found = None;
        let frame = |maximized: bool, size: Vec2, found: &mut Option<WindowPlace>| {
            let ctx = Context::default();
            let mut input = eframe::egui::RawInput::default();
            let viewport = input.viewports.entry(input.viewport_id).or_default();
            viewport.inner_rect = Some(Rect::from_min_size(pos2(10.0, 40.0), size));
            viewport.outer_rect = Some(Rect::from_min_size(pos2(10.0, 10.0), size));
            viewport.maximized = Some(maximized);
            // Nothing is drawn: the font goes nowhere.
            ctx.run_ui(input, |ui| observe(ui.ctx(), found)).textures_delta.clear();
        };
        frame(true, vec2(1920.0, 1080.0), &mut found);
        let usual = WindowPlace { position: None, width: SIZE.x, height: SIZE.y, is_maximized: true };
        assert_eq!(found, Some(usual), "not the size of the screen");
        frame(false, vec2(1300.0, 850.0), &mut found);
        assert_eq!(found, Some(place(10.0, 10.0)));
        frame(true, vec2(1920.0, 1080.0), &mut found);
        assert_eq!(found, Some(WindowPlace { is_maximized: true, ..place(10.0, 10.0) }));
    }
}
