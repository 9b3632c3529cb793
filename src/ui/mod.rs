//! Drawing. Pages read `Store`, edit `Form` and push `Command`s; they do no I/O, start no work and wait for nothing.

pub mod bars;
pub mod glossary;
pub mod icons;
pub mod theme;
pub mod widgets;

#[cfg(test)]
pub mod test_support;
