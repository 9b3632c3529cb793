//! Getting what is asked for: runtimes that are not built in. Nothing is fetched or removed unless the user says so.
//!
//! ```text
//! runtimes  a private Python environment for each runtime: set up, listed, removed
//! installer the program that sets one up, its progress and its failures
//! ```

mod installer;
mod runtimes;

pub use runtimes::{Installed, SetUpPlan, install, installed, is_offered, plan, remove, sizes};
