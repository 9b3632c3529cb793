//! The decision tree, drawn: questions from left to right, leaves below each other, the taken path lit.

use std::collections::BTreeMap;
use std::sync::Arc;

use eframe::egui::epaint::CubicBezierShape;
use eframe::egui::{
    self, Align2, FontId, Galley, Pos2, Rect, Response, Role, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use super::path_text::end_title;
use crate::advise::{Branch, Plan, Step, Tree};
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::theme::{self, Palette};

/// Widest a node gets; wider windows get wider gaps instead of longer lines.
const MAX_NODE_WIDTH: f32 = 236.0;
/// Narrowest a node gets: below, its lines would break at every word. The drawing then scrolls sideways.
const MIN_NODE_WIDTH: f32 = 132.0;
/// Between two columns at least.
const MIN_COLUMN_GAP: f32 = 34.0;
/// Between two columns at most.
const MAX_COLUMN_GAP: f32 = 72.0;
/// Between two nodes of one column.
const ROW_GAP: f32 = 9.0;
/// Around the text of a node.
const PADDING: Vec2 = vec2(10.0, 7.0);
/// Between the answer above a node and its box.
const ANSWER_GAP: f32 = 2.0;

/// Where a node is drawn, from the top left corner of the whole drawing.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    /// The box, with the answer that leads to it above.
    slot: Rect,
    /// The box alone.
    outline: Rect,
}

/// Sizes that the layout needs of a node, at a given width.
#[derive(Debug, Clone, Copy, PartialEq)]
struct NodeSize {
    answer_height: f32,
    box_height: f32,
}

impl NodeSize {
    fn slot_height(self) -> f32 {
        self.answer_height + self.box_height
    }
}

/// Positions of all nodes and the size of the whole.
#[derive(Debug, Clone, PartialEq)]
struct Layout {
    places: Vec<Place>,
    column_gap: f32,
    size: Vec2,
}

/// Draws the tree of `plan` in the width that is left, or scrolling sideways where that is too little. The root stands at the top left,
/// so that it is in view first. Every node is an accessible label of its own.
pub fn tree_view_ui(ui: &mut Ui, plan: &Plan) {
    let columns = columns_of(&plan.tree);
    let n_columns = columns.iter().copied().max().map_or(0, |deepest| deepest + 1);
    if n_columns > 0 {
        sideways_ui(ui, "tree", least_width(n_columns), |ui| drawing_ui(ui, plan, &columns, n_columns));
    }
}

fn drawing_ui(ui: &mut Ui, plan: &Plan, columns: &[usize], n_columns: usize) {
    let palette = theme::palette(ui);
    let tree = &plan.tree;
    let (node_width, column_gap) = widths(ui.available_width(), n_columns);
    let facts: BTreeMap<usize, &Step> = plan.path.iter().map(|step| (step.node_idx, step)).collect();
    let texts: Vec<NodeText> = (0..tree.nodes.len())
        .map(|idx| NodeText::lay_out(ui, palette, plan, idx, facts.get(&idx).copied(), node_width - 2.0 * PADDING.x))
        .collect();
    let sizes: Vec<NodeSize> = texts.iter().map(NodeText::size).collect();
    let layout = lay_out(tree, columns, &sizes, node_width, column_gap);

    let (area, _) = ui.allocate_exact_size(layout.size, Sense::hover());
    let at = |rect: Rect| rect.translate(area.min.to_vec2());
    draw_edges(ui, palette, plan, &layout, area.min);
    for (idx, text) in texts.iter().enumerate() {
        let Some(place) = layout.places.get(idx) else { continue };
        let step = facts.get(&idx).copied();
        draw_node(ui, palette, text, at(place.slot), at(place.outline), step.is_some());
        let response = ui.interact(at(place.outline), ui.scope_id().with(("tree node", tree.nodes[idx].id)), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::ListItem, true, accessible_text(plan, idx, step)));
        node_tooltip(response, tree, idx, step);
    }
}

/// What a screen reader says of a node: `Where will it run?, taken: no GPU, AVX2 CPU, answer CPU`.
fn accessible_text(plan: &Plan, idx: usize, step: Option<&Step>) -> String {
    let node = &plan.tree.nodes[idx];
    let Some(step) = step else { return format!("{}, not taken", node.text) };
    let answer = step.branch_idx.and_then(|branch_idx| node.branches.get(branch_idx)).map(|branch| branch.answer);
    let mut text = format!("{}, taken", title_of(plan, idx, true));
    if !step.facts.is_empty() {
        text.push_str(": ");
        text.push_str(&step.facts);
    }
    if let Some(answer) = answer {
        text.push_str(", answer ");
        text.push_str(answer);
    }
    text
}

fn node_tooltip(response: Response, tree: &Tree, idx: usize, step: Option<&Step>) {
    let node = &tree.nodes[idx];
    response.on_hover_ui(|ui| {
        ui.set_max_width(360.0);
        ui.strong(node.text);
        if let Some(step) = step {
            ui.label(&step.facts);
        }
        if let Some(leaf) = &node.leaf {
            let names: Vec<&str> = leaf.frameworks.iter().map(|framework| framework.name()).collect();
            ui.label(format!("{}; {}", names.join(", then "), leaf.level_family));
            for reason in &leaf.reasons {
                ui.label(format!("•  {reason}"));
            }
        } else {
            let answers: Vec<&str> = node.branches.iter().map(|branch| branch.answer).collect();
            ui.label(format!("Answers: {}", answers.join(" / ")));
        }
        if step.is_none() {
            ui.weak("Not on the path for this model, machine and goal.");
        }
    });
}

/// The question, or the advice. The leaf that the path ends in says what is recommended in the end, which may be another framework than
/// its first choice, or nothing.
fn title_of(plan: &Plan, idx: usize, is_taken: bool) -> String {
    let node = &plan.tree.nodes[idx];
    if is_taken && node.leaf.is_some() { end_title(plan) } else { node.text.to_string() }
}

/// The texts of a node, broken into lines.
struct NodeText {
    answer: Option<Arc<Galley>>,
    title: Arc<Galley>,
    detail: Option<Arc<Galley>>,
}

impl NodeText {
    fn lay_out(ui: &Ui, palette: &Palette, plan: &Plan, idx: usize, step: Option<&Step>, width: f32) -> Self {
        let tree = &plan.tree;
        let answer = answer_text(plan, idx);
        let node = &tree.nodes[idx];
        let is_taken = step.is_some();
        let small = FontId::proportional(11.5);
        let lay_out = |text: String, font: FontId, color| ui.painter().layout(text, font, color, width);
        let detail = match (step, &node.leaf) {
            (Some(_), Some(_)) => Some(format!("family: {}, {}", node.text, plan.leaf.level_family)),
            (Some(step), _) if !step.facts.is_empty() => Some(step.facts.clone()),
            (_, Some(leaf)) => Some(leaf.level_family.to_string()),
            _ => None,
        };
        Self {
            answer: answer.map(|answer| lay_out(answer, small.clone(), if is_taken { palette.accent } else { palette.muted })),
            title: lay_out(
                title_of(plan, idx, is_taken),
                FontId::proportional(13.5),
                if is_taken { palette.text } else { palette.muted },
            ),
            detail: detail.map(|text| lay_out(text, small, palette.muted)),
        }
    }

    fn size(&self) -> NodeSize {
        let detail_height = self.detail.as_ref().map_or(0.0, |detail| detail.size().y + 2.0);
        NodeSize {
            answer_height: self.answer.as_ref().map_or(0.0, |answer| answer.size().y + ANSWER_GAP),
            box_height: self.title.size().y + detail_height + 2.0 * PADDING.y,
        }
    }
}

/// The answer above a node: the one given on the taken path, else all that lead here, or `any answer` where the question has no other
/// way on. `None` for the root.
fn answer_text(plan: &Plan, idx: usize) -> Option<String> {
    let given = plan.path.windows(2).find(|pair| pair[1].node_idx == idx).and_then(|pair| {
        let branches = &plan.tree.nodes.get(pair[0].node_idx)?.branches;
        branches.get(pair[0].branch_idx?)
    });
    if let Some(branch) = given {
        return Some(branch.answer.to_string());
    }
    let is_only_way = |branches: &[Branch]| branches.len() > 1 && branches.iter().all(|branch| branch.to == idx);
    if plan.tree.nodes.iter().any(|node| is_only_way(&node.branches)) {
        return Some("any answer".into());
    }
    let answers = answers_to(&plan.tree, idx);
    (!answers.is_empty()).then(|| answers.join(" / "))
}

/// Answers of all branches that lead to a node, without repeats.
fn answers_to(tree: &Tree, idx: usize) -> Vec<&'static str> {
    let mut answers = Vec::new();
    for branch in tree.nodes.iter().flat_map(|node| &node.branches).filter(|branch| branch.to == idx) {
        if !answers.contains(&branch.answer) {
            answers.push(branch.answer);
        }
    }
    answers
}

/// The column of each node: the longest way from the root, so that every branch leads to the right.
fn columns_of(tree: &Tree) -> Vec<usize> {
    let mut columns = vec![0; tree.nodes.len()];
    for (idx, node) in tree.nodes.iter().enumerate() {
        for branch in &node.branches {
            // Branches lead to higher indices, so a node's own column is final when its branches are looked at.
            if let Some(column) = columns.get(idx).map(|column| column + 1)
                && let Some(of_child) = columns.get_mut(branch.to)
            {
                *of_child = column.max(*of_child);
            }
        }
    }
    columns
}

/// Least width of a drawing with this many columns.
#[allow(clippy::cast_precision_loss, reason = "a handful of columns")]
fn least_width(n_columns: usize) -> f32 {
    let n = n_columns as f32;
    MIN_NODE_WIDTH * n + MIN_COLUMN_GAP * (n - 1.0).max(0.0)
}

/// Width of a node and of the gap between columns.
#[allow(clippy::cast_precision_loss, reason = "a handful of columns")]
fn widths(available: f32, n_columns: usize) -> (f32, f32) {
    let n = n_columns as f32;
    let n_gaps = (n - 1.0).max(1.0);
    let node_width = ((available - MIN_COLUMN_GAP * (n - 1.0)) / n).clamp(MIN_NODE_WIDTH, MAX_NODE_WIDTH);
    let gap = ((available - node_width * n) / n_gaps).clamp(MIN_COLUMN_GAP, MAX_COLUMN_GAP);
    (node_width, gap)
}

/// Gives each node a band as high as itself or as all its children, whichever is more, and puts it at the top of its band: the
/// first thing in view is the root.
#[allow(clippy::cast_precision_loss, reason = "a handful of columns")]
fn lay_out(tree: &Tree, columns: &[usize], sizes: &[NodeSize], node_width: f32, column_gap: f32) -> Layout {
    let n = tree.nodes.len();
    let children = spanning_children(tree);
    let mut band_heights = vec![0.0_f32; n];
    // Children have higher indices: from the back, every child's band is known before its parent's.
    for idx in (0..n).rev() {
        band_heights[idx] = stack_height(&children[idx], &band_heights).max(sizes[idx].slot_height());
    }
    let mut tops = vec![0.0_f32; n];
    let mut places = vec![Place { slot: Rect::ZERO, outline: Rect::ZERO }; n];
    let mut size = Vec2::ZERO;
    for idx in 0..n {
        let slot_height = sizes[idx].slot_height();
        let left = columns[idx] as f32 * (node_width + column_gap);
        let top = tops[idx];
        let slot = Rect::from_min_size(pos2(left, top), vec2(node_width, slot_height));
        let outline = slot.with_min_y(top + sizes[idx].answer_height);
        places[idx] = Place { slot, outline };
        size = size.max(slot.max.to_vec2());
        let mut child_top = tops[idx];
        for &child in &children[idx] {
            tops[child] = child_top;
            child_top += band_heights[child] + ROW_GAP;
        }
    }
    Layout { places, column_gap, size }
}

#[allow(clippy::cast_precision_loss, reason = "a handful of nodes")]
fn stack_height(children: &[usize], band_heights: &[f32]) -> f32 {
    let gaps = children.len().saturating_sub(1) as f32 * ROW_GAP;
    children.iter().map(|&child| band_heights[child]).sum::<f32>() + gaps
}

/// The children that are placed beside each node: a node with several parents belongs to the first.
fn spanning_children(tree: &Tree) -> Vec<Vec<usize>> {
    let mut has_parent = vec![false; tree.nodes.len()];
    let mut children = vec![Vec::new(); tree.nodes.len()];
    for (idx, node) in tree.nodes.iter().enumerate() {
        for branch in &node.branches {
            if let Some(seen) = has_parent.get_mut(branch.to)
                && !*seen
            {
                *seen = true;
                children[idx].push(branch.to);
            }
        }
    }
    children
}

/// `(from, to)` of the branches on the taken path.
fn taken_edges(plan: &Plan) -> Vec<(usize, usize)> {
    plan.path.windows(2).map(|pair| (pair[0].node_idx, pair[1].node_idx)).collect()
}

fn draw_edges(ui: &Ui, palette: &Palette, plan: &Plan, layout: &Layout, origin: Pos2) {
    let taken = taken_edges(plan);
    let mut edges: Vec<(usize, usize)> = Vec::new();
    for (idx, node) in plan.tree.nodes.iter().enumerate() {
        for branch in &node.branches {
            if !edges.contains(&(idx, branch.to)) {
                edges.push((idx, branch.to));
            }
        }
    }
    // Lit edges last, so that no muted one crosses over them.
    edges.sort_by_key(|edge| taken.contains(edge));
    for edge in edges {
        let (Some(from), Some(to)) = (layout.places.get(edge.0), layout.places.get(edge.1)) else { continue };
        let is_taken = taken.contains(&edge);
        let stroke = if is_taken { Stroke::new(2.5, palette.accent) } else { Stroke::new(1.0, palette.control_line) };
        let start = from.outline.right_center() + origin.to_vec2();
        let end = to.outline.left_center() + origin.to_vec2();
        // An edge that skips columns bends in the first gap and then runs straight: the bands left of a node are empty, so it
        // crosses no other node.
        let bent = pos2((start.x + layout.column_gap).min(end.x), end.y);
        let reach = (bent.x - start.x) * 0.55;
        let points = [start, start + vec2(reach, 0.0), bent - vec2(reach, 0.0), bent];
        ui.painter().add(CubicBezierShape::from_points_stroke(points, false, egui::Color32::TRANSPARENT, stroke));
        ui.painter().line_segment([bent, end], stroke);
        if is_taken {
            ui.painter().circle_filled(start, 3.0, palette.accent);
            ui.painter().circle_filled(end, 3.0, palette.accent);
        }
    }
}

fn draw_node(ui: &Ui, palette: &Palette, text: &NodeText, slot: Rect, outline: Rect, is_taken: bool) {
    let painter = ui.painter();
    let (fill, stroke) = if is_taken {
        (palette.accent_soft, Stroke::new(1.5, palette.accent))
    } else {
        (palette.card, Stroke::new(1.0, palette.line))
    };
    painter.rect(outline, theme::CONTROL_RADIUS, fill, stroke, StrokeKind::Inside);
    if let Some(answer) = &text.answer {
        // The line that arrives here ends below the answer, on the box; the answer stands on it.
        let at = Align2::LEFT_TOP.anchor_size(slot.min + vec2(2.0, 0.0), answer.size()).min;
        painter.galley(at, Arc::clone(answer), palette.muted);
    }
    let title_at = outline.min + PADDING;
    painter.galley(title_at, Arc::clone(&text.title), palette.text);
    if let Some(detail) = &text.detail {
        painter.galley(title_at + vec2(0.0, text.title.size().y + 2.0), Arc::clone(detail), palette.muted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::Node;

    /// `0 → 1, 2`; `1 → 3, 4`; `2 → 4, 5`: node 4 has two parents.
    fn diamond() -> Tree {
        let node = |branches: &[(&'static str, usize)]| Node {
            id: "node",
            text: "question",
            branches: branches.iter().map(|&(answer, to)| Branch { answer, to }).collect(),
            leaf: None,
        };
        let nodes = vec![
            node(&[("yes", 1), ("no", 2)]),
            node(&[("yes", 3), ("no", 4)]),
            node(&[("no", 4), ("maybe", 5)]),
            node(&[]),
            node(&[]),
            node(&[]),
        ];
        Tree { nodes }
    }

    #[test]
    fn nodes_lie_right_of_their_parents_and_never_overlap() {
        let tree = diamond();
        let columns = columns_of(&tree);
        let sizes = vec![NodeSize { answer_height: 14.0, box_height: 40.0 }; tree.nodes.len()];
        let (node_width, gap) = widths(1000.0, 3);
        let layout = lay_out(&tree, &columns, &sizes, node_width, gap);
        assert!(layout.size.x <= 1000.0, "{:?}", layout.size);
        for (idx, node) in tree.nodes.iter().enumerate() {
            for branch in &node.branches {
                assert!(layout.places[idx].slot.right() < layout.places[branch.to].slot.left());
            }
            for other in idx + 1..tree.nodes.len() {
                assert!(!layout.places[idx].slot.intersects(layout.places[other].slot), "{idx} and {other} overlap");
            }
        }
    }

    #[test]
    fn a_tall_parent_keeps_its_own_room() {
        let mut tree = diamond();
        tree.nodes.truncate(2);
        tree.nodes[0].branches.truncate(1);
        tree.nodes[1].branches.clear();
        let sizes = [NodeSize { answer_height: 0.0, box_height: 90.0 }, NodeSize { answer_height: 10.0, box_height: 20.0 }];
        let layout = lay_out(&tree, &columns_of(&tree), &sizes, 100.0, 40.0);
        assert_eq!(layout.size, vec2(240.0, 90.0));
        assert_eq!(layout.places[1].outline, Rect::from_min_max(pos2(140.0, 10.0), pos2(240.0, 30.0)));
    }

    #[test]
    fn answers_of_several_parents_are_named_once() {
        assert_eq!(answers_to(&diamond(), 4), ["no"]);
        assert_eq!(answers_to(&diamond(), 5), ["maybe"]);
        assert_eq!(answers_to(&diamond(), 0), [""; 0]);
    }

    #[test]
    fn nodes_fit_the_width_at_any_number_of_columns() {
        let check = |available: f32, n_columns: usize| {
            let (node_width, gap) = widths(available, n_columns);
            let n = f32::from(u8::try_from(n_columns).unwrap());
            assert!(node_width * n + gap * (n - 1.0) <= available + 0.01, "{n_columns} columns in {available}");
            assert!((MIN_NODE_WIDTH..=MAX_NODE_WIDTH).contains(&node_width));
        };
        for n_columns in 1..=6 {
            check(1000.0, n_columns);
            check(1600.0, n_columns);
        }
        assert_eq!(widths(400.0, 6), (MIN_NODE_WIDTH, MIN_COLUMN_GAP), "it scrolls");
    }
}
