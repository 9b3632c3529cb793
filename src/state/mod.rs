//! What is known (Store, Slot) and what is wished (Command, Form). No I/O, no clock, no egui.

mod command;
mod dialog;
mod form;
mod job;
mod recipe_form;
mod slot;
mod store;
mod tour;

pub use command::Command;
pub use dialog::{Dialog, Field, Leftovers};
pub use form::{AskForm, BenchForm, CompareTab, Form, HistoryForm, ImatrixForm, Page, QualityForm, TextChoice, Theme};
pub use job::{JobKind, JobRecord, JobStatus};
pub use recipe_form::RecipeForm;
pub use slot::Slot;
pub use store::Store;
pub use tour::{Tour, TourStep};
