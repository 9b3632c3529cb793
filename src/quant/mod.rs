//! Numbers ↔ blocks: pure functions on slices.
