//! Places for names beside marks.

use super::canvas::{Area, FONT_SIZE, MARK_RADIUS, text_width};

/// Room around a name.
const GAP: f64 = 3.0;
/// Distances from the mark that are tried, in pixels; beyond the first a thin line leads to the name.
const DISTANCES: [f64; 3] = [MARK_RADIUS + 4.0, MARK_RADIUS + 18.0, MARK_RADIUS + 36.0];

/// Where a name goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    /// Start, middle or end of its base line, as `anchor` says.
    pub(super) at: [f64; 2],
    /// `start`, `middle` or `end`.
    pub(super) anchor: &'static str,
    /// Where the thin line to the mark ends; `None` for a name beside its mark.
    pub(super) leader: Option<[f64; 2]>,
}

/// One place for each mark, in their order, inside `frame`.
///
/// The first place tried that covers no mark, name or line is taken; if there is none, the one that covers least.
pub(super) fn places(marks: &[([f64; 2], String)], lines: &[Area], frame: Area) -> Vec<Place> {
    let mut names: Vec<Area> = Vec::new();
    let marks_taken: Vec<Area> = marks.iter().map(|(at, _)| Area::around(*at, MARK_RADIUS + 1.0, MARK_RADIUS + 1.0)).collect();
    marks
        .iter()
        .map(|(at, name)| {
            let tried = DISTANCES.iter().flat_map(|distance| around(*at, text_width(name), *distance));
            let mut best: Option<(f64, Place, Area)> = None;
            for (rank, (place, area)) in tried.enumerate() {
                let count = |others: &[Area]| others.iter().filter(|other| area.overlaps(other)).count();
                let outside = if frame.contains(&area) { 0.0 } else { 1000.0 };
                #[allow(clippy::cast_precision_loss, reason = "a handful")]
                let cost = outside
                    + 100.0 * count(&names) as f64
                    + 60.0 * count(&marks_taken) as f64
                    + 12.0 * count(lines) as f64
                    + rank as f64;
                if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                    best = Some((cost, place, area));
                }
            }
            let (place, area) = best.map_or_else(
                || (Place { at: *at, anchor: "start", leader: None }, Area::around(*at, 0.0, 0.0)),
                |(_, place, area)| (place, area),
            );
            names.push(area);
            place
        })
        .collect()
}

/// Places at this distance, right of the mark first, with the room they need.
fn around([x, y]: [f64; 2], width: f64, distance: f64) -> Vec<(Place, Area)> {
    let slanted = distance * 0.75;
    let height = FONT_SIZE;
    let at = |dx: f64, dy: f64, anchor: &'static str| {
        // The base line is a third of the height below the middle of a name.
        let middle = [x + dx, y + dy];
        let left = match anchor {
            "start" => middle[0],
            "end" => middle[0] - width,
            _ => middle[0] - width / 2.0,
        };
        let area = Area {
            left: left - GAP,
            top: middle[1] - height / 2.0 - 1.0,
            right: left + width + GAP,
            bottom: middle[1] + height / 2.0 + 1.0,
        };
        let leader = (distance > DISTANCES[0]).then_some([x + dx * 0.85, y + dy * 0.85]);
        (Place { at: [middle[0], middle[1] + height * 0.35], anchor, leader }, area)
    };
    vec![
        at(distance, 0.0, "start"),
        at(0.0, -distance - 2.0, "middle"),
        at(-distance, 0.0, "end"),
        at(0.0, distance + 3.0, "middle"),
        at(slanted, -slanted, "start"),
        at(slanted, slanted, "start"),
        at(-slanted, -slanted, "end"),
        at(-slanted, slanted, "end"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_crowded_marks_cover_neither_each_other_nor_a_mark() {
        let frame = Area { left: 0.0, top: 0.0, right: 400.0, bottom: 300.0 };
        let marks: Vec<([f64; 2], String)> =
            (0..6).map(|idx| ([200.0 + f64::from(idx) * 9.0, 150.0 + f64::from(idx % 2) * 8.0], format!("Q{idx}_K_M"))).collect();
        let found = places(&marks, &[], frame);
        let area = |place: &Place, name: &str| {
            let width = text_width(name);
            let left = match place.anchor {
                "start" => place.at[0],
                "end" => place.at[0] - width,
                _ => place.at[0] - width / 2.0,
            };
            Area { left, top: place.at[1] - 9.0, right: left + width, bottom: place.at[1] + 2.0 }
        };
        let areas: Vec<Area> = found.iter().zip(&marks).map(|(place, mark)| area(place, &mark.1)).collect();
        for (idx, one) in areas.iter().enumerate() {
            assert!(frame.contains(one), "{one:?}");
            assert!(areas.iter().skip(idx + 1).all(|other| !one.overlaps(other)), "name {idx}");
            assert!(marks.iter().all(|(at, _)| !one.overlaps(&Area::around(*at, 5.0, 5.0))), "name {idx} covers a mark");
        }
    }

    #[test]
    fn a_mark_at_the_edge_has_its_name_inside() {
        let frame = Area { left: 0.0, top: 0.0, right: 200.0, bottom: 100.0 };
        let found = places(&[([196.0, 50.0], "Q4_K_M".into())], &[], frame);
        assert_ne!(found[0].anchor, "start");
        assert_eq!(places(&[([20.0, 50.0], "Q4_K_M".into())], &[], frame)[0].anchor, "start");
        assert!(places(&[], &[], frame).is_empty());
    }
}
