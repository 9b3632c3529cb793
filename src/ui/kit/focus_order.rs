//! The way of the focus through the window: Tab moves it in reading order, and the widget it reaches is scrolled into view.
//!
//! egui goes in the order in which widgets are added. Rows that are filled from their right end, so that what stands there keeps its room,
//! would be walked backwards.

use eframe::egui::{Context, FocusDirection, Id, Key, LayerId, Memory, Modifiers, Order, Popup, Rect, Ui};

/// The place of the widget that Tab has reached, and the pass in which it did.
#[derive(Clone, Copy)]
struct Reached {
    pass: u64,
    rect: Rect,
}

fn reached_id() -> Id {
    Id::unique("reached by the keyboard")
}

/// Moves the focus when Tab or Shift+Tab is pressed; called before anything is drawn.
pub fn walk(ui: &Ui) {
    let is_pressed = |modifiers: Modifiers| {
        ui.input(|input| {
            input.events.iter().any(|event| {
                matches!(event, eframe::egui::Event::Key { key: Key::Tab, pressed: true, modifiers: held, .. } if *held == modifiers)
            })
        })
    };
    let is_backwards = is_pressed(Modifiers::SHIFT);
    if !is_backwards && !is_pressed(Modifiers::NONE) {
        return;
    }
    let ctx = ui.ctx();
    ctx.memory_mut(|memory| memory.move_focus(FocusDirection::None));
    let mut order = stops(ctx);
    if is_backwards {
        order.reverse();
    }
    let focused = ctx.memory(Memory::focused);
    let next = match order.iter().position(|stop| Some(stop.0) == focused) {
        Some(idx) => order.get(idx + 1).or(order.first()),
        None => order.first(),
    };
    if let Some(&(id, rect)) = next {
        let pass = ctx.cumulative_pass_nr();
        ctx.memory_mut(|memory| memory.request_focus(id));
        ctx.data_mut(|data| data.insert_temp(reached_id(), Reached { pass, rect }));
    }
}

/// Scrolls to the widget that Tab has reached, if it is among the contents of this scroll area; called at their end.
pub fn bring_into_view(ui: &Ui) {
    let Some(reached) = ui.data(|data| data.get_temp::<Reached>(reached_id())) else { return };
    if reached.pass == ui.ctx().cumulative_pass_nr() && ui.min_rect().intersects(reached.rect) {
        ui.scroll_to_rect(reached.rect.expand(8.0), None);
    }
}

/// The widgets that can take the focus, in reading order: only those of the open list or question, if there is one.
fn stops(ctx: &Context) -> Vec<(Id, Rect)> {
    let mut layers: Vec<LayerId> = ctx.viewport(|viewport| viewport.prev_pass.widgets.layer_ids().collect());
    layers.retain(|layer| ctx.memory(|memory| memory.allows_interaction(*layer)));
    let open_list = layers.iter().copied().find(|layer| layer.order != Order::Background && Popup::is_id_open(ctx, layer.id));
    if let Some(layer) = open_list.or(ctx.memory(Memory::top_modal_layer)) {
        layers = vec![layer];
    }
    layers.sort_by_key(|layer| (layer.order, layer.id.value()));
    let of_layer = |layer: &LayerId| {
        ctx.viewport(|viewport| {
            let widgets = viewport.prev_pass.widgets.get_layer(*layer);
            let stops = widgets.filter(|widget| widget.enabled && widget.sense.is_focusable());
            in_reading_order(stops.map(|widget| (widget.id, widget.rect)).collect())
        })
    };
    layers.iter().flat_map(of_layer).collect()
}

/// Widgets that follow each other on one line go from left to right; else the order stays.
fn in_reading_order<T>(mut stops: Vec<(T, Rect)>) -> Vec<(T, Rect)> {
    let mut start = 0;
    for idx in 1..=stops.len() {
        let ends = match (stops.get(start), stops.get(idx)) {
            (Some(first), Some(next)) => !is_same_line(first.1, next.1),
            _ => true,
        };
        if ends {
            if let Some(line) = stops.get_mut(start..idx) {
                line.sort_by(|a, b| a.1.left().total_cmp(&b.1.left()));
            }
            start = idx;
        }
    }
    stops
}

fn is_same_line(one: Rect, other: Rect) -> bool {
    one.y_range().contains(other.center().y) && other.y_range().contains(one.center().y)
}

#[cfg(test)]
mod tests {
    use eframe::egui::{pos2, vec2};

    use super::*;

    #[test]
    fn lines_are_read_from_left_to_right_and_nothing_else_changes() {
        let at = |name: char, x: f32, y: f32| (name, Rect::from_min_size(pos2(x, y), vec2(50.0, 20.0)));
        // A line filled from the right, then a column, then another such line.
        let added = vec![at('c', 200.0, 0.0), at('b', 100.0, 2.0), at('a', 0.0, 0.0), at('d', 90.0, 40.0), at('e', 0.0, 80.0)];
        let added = [added, vec![at('g', 60.0, 120.0), at('f', 0.0, 121.0)]].concat();
        let names: String = in_reading_order(added).into_iter().map(|stop| stop.0).collect();
        assert_eq!(names, "abcdefg");
        assert!(in_reading_order(Vec::<((), Rect)>::new()).is_empty());
    }
}
