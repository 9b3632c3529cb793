//! What is wrong with a drawn window: text that is cut off, widgets that cover each other or leave what they belong to.
//!
//! Found in what was really drawn: the shapes of the last frame, and the places of all widgets in it.

use std::collections::BTreeSet;

use eframe::egui::accesskit::Role;
use eframe::egui::epaint::text::PlacedRow;
use eframe::egui::epaint::{ClippedShape, Shape, TextShape};
use eframe::egui::{Color32, Memory, Rect, WidgetRect};
use egui_kittest::Harness;
use egui_kittest::kittest::NodeT as _;

use super::kit::sideways::test_marks::sideways_rects;
use super::test_support::PageState;

/// Less than this is the rounding to pixels.
const ROUNDING: f32 = 1.6;

/// egui lets the contents of an area that scrolls stick out of it by this much.
const CLIP_MARGIN: f32 = 4.0;

/// A line of text that was drawn.
struct Text {
    words: String,
    /// The address of the text, which tells its lines from those of others.
    galley: usize,
    /// Where its letters are.
    rect: Rect,
    /// The part of the window that it may be drawn in.
    clip: Rect,
    is_elided: bool,
}

impl Text {
    fn visible(&self) -> Rect {
        self.rect.intersect(self.clip)
    }
}

/// A box that was drawn: a card, a button, a cell's ground.
struct Box {
    rect: Rect,
    clip: Rect,
    /// How many texts were drawn before it.
    n_texts: usize,
}

/// A widget that is read or used.
struct Widget {
    role: Role,
    name: String,
    rect: Rect,
    visible: Rect,
}

/// All that was drawn in a frame.
struct Drawn {
    window: Rect,
    texts: Vec<Text>,
    boxes: Vec<Box>,
    widgets: Vec<Widget>,
    /// Areas that scroll sideways: their contents may be cut at their edges.
    sideways: Vec<Rect>,
}

/// Every fault of the last frame, one line each.
pub fn layout_faults(harness: &Harness<'_, PageState>) -> BTreeSet<String> {
    let drawn = Drawn::of(harness);
    let mut faults = BTreeSet::new();
    drawn.cut_texts(&mut faults);
    drawn.covered_texts(&mut faults);
    drawn.left_boxes(&mut faults);
    drawn.broken_buttons(&mut faults);
    drawn.widget_faults(&mut faults);
    fields_without_their_name(harness, &mut faults);
    faults
}

/// A row that wraps does not end with the name of a field that begins the next line.
fn fields_without_their_name(harness: &Harness<'_, PageState>, faults: &mut BTreeSet<String>) {
    for node in harness.root().children_recursive() {
        let field = node.accesskit_node();
        let Some(place) = field.bounding_box() else { continue };
        for name in field.labelled_by() {
            let Some(name_place) = name.bounding_box() else { continue };
            if place.y0 >= name_place.y1 && place.x0 < name_place.x0 - 8.0 {
                faults.insert(format!("apart from its field: {:?}", name.value().or(name.label()).unwrap_or_default()));
            }
        }
    }
}

/// Asserts that the last frame has no fault.
pub fn check_layout(harness: &Harness<'_, PageState>) {
    let faults = layout_faults(harness);
    assert!(faults.is_empty(), "{faults:#?}");
}

/// True for names and paths of the user's own, contents of files, and lines that gather what many jobs say: they can be of any
/// length and end in an ellipsis where there is no room; a tooltip or a copy button has the whole.
fn may_end_early(words: &str) -> bool {
    ["/", ".gguf", ".weight", "A-Model-With", "  ·  ", "<|im_start|>"].iter().any(|part| words.contains(part))
}

impl Drawn {
    fn of(harness: &Harness<'_, PageState>) -> Self {
        let window = harness.ctx.content_rect();
        let (mut texts, mut boxes) = (Vec::new(), Vec::new());
        for ClippedShape { clip_rect, shape, .. } in &harness.output().shapes {
            take_shape(shape, *clip_rect, window, &mut texts, &mut boxes);
        }
        Self { window, texts, boxes, widgets: widgets_of(harness), sideways: sideways_rects(&harness.ctx) }
    }

    /// True where the contents can be brought into view by scrolling sideways.
    fn scrolls_sideways(&self, visible: Rect) -> bool {
        self.sideways.iter().any(|area| area.expand(CLIP_MARGIN).contains_rect(visible))
    }

    /// True inside a widget of one of these roles: text fields scroll with their cursor, and pictures keep order themselves.
    fn is_in(&self, rect: Rect, roles: &[Role]) -> bool {
        self.widgets.iter().any(|widget| roles.contains(&widget.role) && widget.visible.expand(ROUNDING).contains_rect(rect))
    }

    fn cut_texts(&self, faults: &mut BTreeSet<String>) {
        const FIELDS: [Role; 3] = [Role::TextInput, Role::MultilineTextInput, Role::Image];
        for text in self.texts.iter().filter(|text| text.visible().is_positive()) {
            let visible = text.visible();
            if text.is_elided && !may_end_early(&text.words) {
                faults.insert(format!("ends early: {:?}", text.words));
            }
            let is_cut = is_cut_sideways(text.rect, text.clip);
            if is_cut && !self.scrolls_sideways(visible) && !self.is_in(visible, &FIELDS) {
                faults.insert(format!("cut off: {:?}", text.words));
            }
            let is_below =
                text.rect.bottom() > self.window.bottom() + ROUNDING && text.clip.bottom() >= self.window.bottom() - 1.0;
            if is_below && text.clip.top() <= self.window.top() + 1.0 {
                faults.insert(format!("below the window: {:?}", text.words));
            }
        }
    }

    fn covered_texts(&self, faults: &mut BTreeSet<String>) {
        let seen: Vec<(&Text, Rect)> = self
            .texts
            .iter()
            .map(|text| (text, text.visible()))
            .filter(|(_, visible)| visible.is_positive() && !self.is_in(*visible, &[Role::Image]))
            .collect();
        for (idx, (one, rect)) in seen.iter().enumerate() {
            for (other, other_rect) in seen.iter().skip(idx + 1) {
                if one.galley != other.galley && overlap(*rect, *other_rect) {
                    faults.insert(format!("cover each other: {:?} and {:?}", one.words, other.words));
                }
            }
        }
    }

    /// A text lies inside a box or outside of it, not across its edge.
    fn left_boxes(&self, faults: &mut BTreeSet<String>) {
        for (idx, text) in self.texts.iter().enumerate() {
            let visible = text.visible();
            if !visible.is_positive() || self.is_in(visible, &[Role::Image, Role::TextInput, Role::MultilineTextInput]) {
                continue;
            }
            for found in self.boxes.iter().filter(|found| found.n_texts <= idx) {
                let rect = found.rect.intersect(found.clip);
                // A box that is cut itself ends where its area does.
                let is_inside = rect.expand(ROUNDING).contains_rect(visible);
                if overlap(rect, visible) && !is_inside && !self.scrolls_sideways(visible) {
                    faults.insert(format!("across the edge of its box: {:?}", text.words));
                }
            }
        }
    }

    /// The words of a button stand on one line.
    fn broken_buttons(&self, faults: &mut BTreeSet<String>) {
        let is_button = |text: &Text| self.is_in(text.visible(), &[Role::Button]);
        for lines in self.texts.windows(2) {
            if let [one, next] = lines
                && one.galley == next.galley
                && is_button(one)
                && is_button(next)
            {
                faults.insert(format!("a button in several lines: {:?}", one.words));
            }
        }
    }

    fn widget_faults(&self, faults: &mut BTreeSet<String>) {
        let name = |widget: &Widget| format!("{:?} {:?}", widget.role, widget.name);
        let seen: Vec<&Widget> = self.widgets.iter().filter(|widget| widget.visible.is_positive()).collect();
        for widget in &seen {
            let is_text = matches!(widget.role, Role::Label | Role::Heading);
            // What a label says is looked at as text: its rectangle may be wider.
            if !is_text && is_cut_sideways(widget.rect, widget.visible) && !self.scrolls_sideways(widget.visible) {
                faults.insert(format!("cut off: {}", name(widget)));
            }
            if is_cut_sideways(widget.visible, self.window) {
                faults.insert(format!("outside the window: {}", name(widget)));
            }
        }
        for (idx, one) in seen.iter().enumerate() {
            for other in seen.iter().skip(idx + 1) {
                // Letters are looked at above: the rectangle of a label may be wider than they are.
                let is_text = [one, other].iter().any(|widget| matches!(widget.role, Role::Label | Role::Heading));
                let is_part = |outer: &Widget, inner: &Widget| {
                    matches!(outer.role, Role::CheckBox | Role::ListItem | Role::Image) && outer.rect.contains_rect(inner.rect)
                };
                let are_related = is_part(one, other) || is_part(other, one);
                if !are_related && !is_text && overlap(one.visible, other.visible) {
                    faults.insert(format!("cover each other: {} and {}", name(one), name(other)));
                }
            }
        }
    }
}

fn is_cut_sideways(rect: Rect, clip: Rect) -> bool {
    rect.left() < clip.left() - ROUNDING || rect.right() > clip.right() + ROUNDING
}

/// True when more than an edge is shared.
fn overlap(one: Rect, other: Rect) -> bool {
    let both = one.intersect(other);
    both.width() > ROUNDING && both.height() > ROUNDING
}

fn take_shape(shape: &Shape, clip: Rect, window: Rect, texts: &mut Vec<Text>, boxes: &mut Vec<Box>) {
    match shape {
        Shape::Vec(shapes) => shapes.iter().for_each(|shape| take_shape(shape, clip, window, texts, boxes)),
        Shape::Text(text) => texts.extend(lines_of(text, clip)),
        Shape::Rect(rect) => {
            let is_seen = rect.fill.a() > 0 || (rect.stroke.width > 0.0 && rect.stroke.color != Color32::TRANSPARENT);
            let covers_all = rect.rect.contains_rect(window.shrink(1.0));
            // What dims the page behind a question: nothing behind it is read.
            if covers_all && rect.fill.a() > 0 && rect.fill.a() < 255 {
                texts.clear();
                boxes.clear();
            } else if is_seen && !covers_all && rect.blur_width <= 0.0 {
                boxes.push(Box { rect: rect.rect, clip, n_texts: texts.len() });
            }
        }
        _ => {}
    }
}

/// The lines of a text that show something, none of a rotated one. Each has its own rectangle: that of the whole text would
/// cover the words that it begins behind.
fn lines_of(text: &TextShape, clip: Rect) -> Vec<Text> {
    let is_rotated = text.angle != 0.0;
    let rows = text.galley.rows.iter().filter(|row| row.row.visuals.mesh_bounds.is_positive());
    let line = |row: &PlacedRow| Text {
        words: text.galley.text().to_string(),
        galley: std::sync::Arc::as_ptr(&text.galley) as usize,
        rect: row.row.visuals.mesh_bounds.translate(row.pos.to_vec2() + text.pos.to_vec2()),
        clip,
        is_elided: text.galley.elided,
    };
    if is_rotated { Vec::new() } else { rows.map(line).collect() }
}

/// The widgets of the last frame that are read or used, in the front layer where a question is open. The tree for screen readers has their
/// roles and names; egui has the part of each that is in view.
fn widgets_of(harness: &Harness<'_, PageState>) -> Vec<Widget> {
    let modal = harness.ctx.memory(Memory::top_modal_layer);
    let places: Vec<WidgetRect> = harness.ctx.viewport(|viewport| {
        let layers = viewport.prev_pass.widgets.layers();
        let of_front = layers.filter(|(layer, _)| modal.is_none_or(|modal| modal == **layer));
        of_front.flat_map(|(_, widgets)| widgets.iter().copied()).collect()
    });
    let root = harness.root();
    let nodes = root.children_recursive().filter(|node| ROLES.contains(&node.accesskit_node().role()));
    let widgets = nodes.filter_map(|node| {
        let rect = node.rect();
        let is_same = |place: &&WidgetRect| place.rect.min.distance(rect.min) < 0.2 && place.rect.max.distance(rect.max) < 0.2;
        let visible = places.iter().find(is_same)?.interact_rect;
        let node = node.accesskit_node();
        Some(Widget { role: node.role(), name: node.label().or(node.value()).unwrap_or_default(), rect, visible })
    });
    widgets.collect()
}

/// What is read or used.
const ROLES: [Role; 13] = [
    Role::Label,
    Role::Heading,
    Role::Button,
    Role::CheckBox,
    Role::RadioButton,
    Role::ComboBox,
    Role::SpinButton,
    Role::Slider,
    Role::Image,
    Role::ListItem,
    Role::ProgressIndicator,
    Role::TextInput,
    Role::MultilineTextInput,
];
