//! What is known (Store, Slot) and what is wished (Command, Form). No I/O, no clock, no egui.

mod command;
mod form;
mod job;
mod recipe_form;
mod slot;
mod store;

pub use command::Command;
pub use form::{AskForm, BenchForm, CompareTab, Form, HistoryForm, ImatrixForm, Page, QualityForm, TextChoice, Theme};
pub use job::{JobKind, JobRecord, JobStatus};
pub use recipe_form::RecipeForm;
pub use slot::Slot;
pub use store::Store;
