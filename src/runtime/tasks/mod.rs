//! What a child does with a model, written once for all runtimes.

pub(super) mod answering;
pub(super) mod probing;
pub(super) mod scoring;
pub(super) mod speed;
pub(super) mod streaming;

use super::Event;

/// Where events go; fails when nobody reads them any more.
pub(super) type Emit<'a> = &'a mut dyn FnMut(Event) -> Result<(), String>;
