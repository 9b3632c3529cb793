//! Column headers that sort: one click up, the next down, the third back to the original order.

use std::cmp::Ordering;

use eframe::egui::{Align, Button, Layout, RichText, Ui};

/// Which column a table is sorted by, and which way. Kept in egui's memory, not saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sorting<C> {
    /// The column and which end comes first; `None` for the original order.
    pub by: Option<(C, Direction)>,
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Small first.
    Ascending,
    /// Large first.
    Descending,
}

/// On which side of its column a header stands: that of the values below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl<C> Default for Sorting<C> {
    fn default() -> Self {
        Self { by: None }
    }
}

impl<C: Copy + PartialEq> Sorting<C> {
    /// The sorting after a click on `column`: ascending, then descending, then none.
    #[must_use]
    pub fn clicked(self, column: C) -> Self {
        let by = match self.by {
            Some((current, Direction::Ascending)) if current == column => Some((column, Direction::Descending)),
            Some((current, Direction::Descending)) if current == column => None,
            _ => Some((column, Direction::Ascending)),
        };
        Self { by }
    }

    /// Sorts `rows` by `compare(column, a, b)`. Equal rows keep their order, in both directions.
    pub fn sort<R>(self, rows: &mut [R], compare: impl Fn(C, &R, &R) -> Ordering) {
        match self.by {
            Some((column, Direction::Ascending)) => rows.sort_by(|a, b| compare(column, a, b)),
            Some((column, Direction::Descending)) => rows.sort_by(|a, b| compare(column, b, a)),
            None => {}
        }
    }

    /// Draws the header of `column` and takes its click. Its accessible name is `Sort by NAME`, without the unit behind a comma.
    pub fn header_ui(&mut self, ui: &mut Ui, column: C, name: &str, explanation: &str, side: Side) {
        let arrow = match self.by {
            Some((current, Direction::Ascending)) if current == column => " ↑",
            Some((current, Direction::Descending)) if current == column => " ↓",
            _ => "",
        };
        let layout = match side {
            Side::Left => Layout::left_to_right(Align::Center),
            Side::Right => Layout::right_to_left(Align::Center),
        };
        ui.with_layout(layout, |ui| {
            ui.spacing_mut().button_padding.x = 0.0;
            let text = RichText::new(format!("{name}{arrow}")).small().strong();
            let response = ui.add(Button::new(text).frame(false));
            let plain = name.split(", ").next().unwrap_or(name).to_lowercase();
            if response.accessible_name(format!("Sort by {plain}")).on_hover_text(explanation).clicked() {
                *self = self.clicked(column);
            }
        });
    }
}

/// Orders optional numbers: unknown ones last when ascending.
#[must_use]
pub fn compare_known(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clicks_go_up_down_and_back() {
        let once = Sorting::default().clicked('a');
        assert_eq!(once.by, Some(('a', Direction::Ascending)));
        assert_eq!(once.clicked('a').by, Some(('a', Direction::Descending)));
        assert_eq!(once.clicked('a').clicked('a').by, None);
        assert_eq!(once.clicked('b').by, Some(('b', Direction::Ascending)));
    }

    #[test]
    fn unknown_values_come_last_and_equal_rows_keep_their_order() {
        let mut rows = [(0, Some(2.0)), (1, None), (2, Some(1.0)), (3, Some(2.0))];
        let compare = |_: char, a: &(i32, Option<f64>), b: &(i32, Option<f64>)| compare_known(a.1, b.1);
        Sorting::default().clicked('a').sort(&mut rows, compare);
        assert_eq!(rows.map(|row| row.0), [2, 0, 3, 1]);
    }
}
