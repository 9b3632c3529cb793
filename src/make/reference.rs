//! What the levels of a checkpoint are held against: the file that keeps every weight, or the checkpoint itself.

use crate::bench::MemoryLimit;
use crate::bench::quality::ReferenceBy;
use crate::format::{Opened, read_any};
use crate::hardware::Machine;
use crate::import::check_computable;
use crate::model::{Level, Model};
use crate::units::bytes_text;

/// What stands for a model in a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Reference {
    /// A file that a runtime runs: the model itself, or the one that keeps every weight of a checkpoint.
    File,
    /// The same file although it is larger than memory, because Planish cannot compute the checkpoint itself.
    LargeFile {
        /// Bytes that running it is predicted to need.
        needed_bytes: u64,
        /// Bytes that it may use.
        limit_bytes: u64,
        /// Why Planish cannot.
        obstacle: String,
    },
    /// The checkpoint, computed by Planish one layer at a time: no such file is written.
    Checkpoint {
        /// Bytes that running the file is predicted to need.
        needed_bytes: u64,
        /// What the levels may use too.
        limit: MemoryLimit,
    },
}

impl Reference {
    /// Chooses for a model on this machine, at this context. `budget_bytes` is what the user allows; `None`: what is free. A
    /// checkpoint that is too large is looked at again, with its tokenizer.
    #[must_use]
    pub fn of(model: &Model, machine: &Machine, budget_bytes: Option<u64>, n_ctx: u64) -> Self {
        Self::with(model, machine, budget_bytes, n_ctx, || match read_any(&model.path) {
            Ok(Opened::Checkpoint(checkpoint)) => check_computable(&checkpoint).err().map(|error| error.reason()),
            Ok(Opened::Model(_) | Opened::Onnx(_)) => Some("it is no checkpoint any more".into()),
            Err(error) => Some(error.to_string()),
        })
    }

    /// As [`Reference::of`]; `obstacle` is asked why Planish cannot compute the checkpoint, `None` where it can.
    #[must_use]
    pub fn with(
        model: &Model,
        machine: &Machine,
        budget_bytes: Option<u64>,
        n_ctx: u64,
        obstacle: impl FnOnce() -> Option<String>,
    ) -> Self {
        let free_bytes = Some(machine.memory.available_bytes).filter(|&free_bytes| free_bytes > 0);
        let (Some(limit_bytes), false) = (budget_bytes.or(free_bytes), model.is_runnable()) else { return Self::File };
        let needed_bytes = MemoryLimit::needed_bytes(&machine.cpu, model, n_ctx);
        let limit = MemoryLimit { limit_bytes, cpu: machine.cpu.clone() };
        Self::chosen(needed_bytes, limit, obstacle)
    }

    fn chosen(needed_bytes: u64, limit: MemoryLimit, obstacle: impl FnOnce() -> Option<String>) -> Self {
        let limit_bytes = limit.limit_bytes;
        if needed_bytes <= limit_bytes {
            return Self::File;
        }
        match obstacle() {
            None => Self::Checkpoint { needed_bytes, limit },
            Some(obstacle) => Self::LargeFile { needed_bytes, limit_bytes, obstacle },
        }
    }

    /// Who computes it.
    #[must_use]
    pub fn by(&self) -> ReferenceBy {
        if matches!(self, Self::Checkpoint { .. }) { ReferenceBy::Planish } else { ReferenceBy::Runtime }
    }

    /// What the levels may use while they run; `None` where everything is run.
    #[must_use]
    pub fn limit(&self) -> Option<&MemoryLimit> {
        match self {
            Self::Checkpoint { limit, .. } => Some(limit),
            Self::File | Self::LargeFile { .. } => None,
        }
    }

    /// Bytes that the file of full size is predicted to need, and those that it may use; `None` for one that fits.
    #[must_use]
    pub fn bytes(&self) -> Option<(u64, u64)> {
        match self {
            Self::File => None,
            Self::LargeFile { needed_bytes, limit_bytes, .. } => Some((*needed_bytes, *limit_bytes)),
            Self::Checkpoint { needed_bytes, limit } => Some((*needed_bytes, limit.limit_bytes)),
        }
    }

    /// What is said about it; `None` for the usual one. `own` is the level that keeps every weight.
    #[must_use]
    pub fn text(&self, own: Option<Level>) -> Option<String> {
        let (needed_bytes, limit_bytes) = self.bytes()?;
        let level = own.map_or("F32", Level::name);
        let size =
            format!("its {level} file would need {}, and {} may be used", bytes_text(needed_bytes), bytes_text(limit_bytes));
        Some(match (self, self.by().text()) {
            (Self::LargeFile { obstacle, .. }, _) => {
                format!("the reference may be slow or fail: {size}; Planish cannot compute the checkpoint itself: {obstacle}")
            }
            (_, by) => format!("reference: {}, because {size}", by.unwrap_or_default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{Cpu, Memory};
    use crate::ui::test_support::sample_model;

    fn limit(limit_bytes: u64) -> MemoryLimit {
        MemoryLimit { limit_bytes, cpu: Cpu::default() }
    }

    #[test]
    fn a_checkpoint_stands_for_itself_where_its_file_is_larger_than_memory() {
        let chosen = |needed_bytes, obstacle: Option<&str>| {
            Reference::chosen(needed_bytes, limit(10 << 30), || obstacle.map(ToString::to_string))
        };
        assert_eq!(chosen(10 << 30, Some("X is not described")), Reference::File, "what fits is run");
        let large = chosen(20 << 30, None);
        assert_eq!(large, Reference::Checkpoint { needed_bytes: 20 << 30, limit: limit(10 << 30) });
        assert_eq!((large.by(), large.limit()), (ReferenceBy::Planish, Some(&limit(10 << 30))));
        let text = "reference: the checkpoint, computed by Planish in F32, one layer at a time, because its BF16 file would need \
            20.0 GiB, and 10.0 GiB may be used";
        assert_eq!(large.text(Some(Level::BF16)).as_deref(), Some(text));
        let file = chosen(20 << 30, Some("X is not described"));
        assert_eq!((file.by(), file.limit()), (ReferenceBy::Runtime, None), "as if there were enough memory");
        assert!(
            file.text(None).is_some_and(|text| text.contains("may be slow or fail") && text.ends_with(": X is not described"))
        );
    }

    #[test]
    fn files_and_unknown_memory_leave_everything_as_it_is() {
        let model = sample_model();
        let machine = |available_bytes| Machine { memory: Memory { available_bytes, ..Memory::default() }, ..Machine::default() };
        assert!(model.is_runnable());
        assert_eq!(Reference::of(&model, &machine(1), None, 512), Reference::File);
        let checkpoint = Model { import: Some(std::sync::Arc::default()), path: "/nowhere/c".into(), ..model };
        assert_eq!(Reference::of(&checkpoint, &machine(0), None, 512), Reference::File, "nobody knows how much there is");
        assert_eq!(Reference::of(&checkpoint, &machine(1 << 50), None, 512), Reference::File);
        assert_eq!(Reference::of(&checkpoint, &machine(1), Some(1 << 50), 512), Reference::File, "the user allows more");
        let large = Reference::of(&checkpoint, &machine(1 << 50), Some(1000), 512);
        assert_eq!(large.bytes().map(|bytes| bytes.1), Some(1000), "the user allows less");
        assert!(matches!(large, Reference::LargeFile { .. }), "there is no such checkpoint to compute");
    }
}
