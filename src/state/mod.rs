//! What is known (Store, Slot) and what is wished (Command, Form). No I/O, no clock, no egui.

mod command;
mod dialog;
mod form;
mod job;
mod opened;
mod recipe_form;
mod slot;
mod store;
mod tour;

pub use command::Command;
pub use dialog::{Dialog, Field, Leftovers};
pub use form::{
    AskForm, BenchForm, CompareTab, DeleteForm, ExistingForm, Form, HistoryForm, ImatrixForm, MAX_RECENT, Page, QualityForm,
    TextChoice, Theme, WindowPlace,
};
pub use job::{JobKind, JobRecord, JobStatus};
pub use opened::{Aside, FoundNote};
pub use recipe_form::RecipeForm;
pub use slot::Slot;
pub use store::Store;
pub use tour::{Tour, TourStep};
