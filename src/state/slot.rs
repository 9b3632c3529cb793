//! A value that a job delivers.

use crate::error::Error;
use crate::worker::JobId;

/// A value that comes from the background, as far as it has come.
#[derive(Debug, Clone, Default)]
pub enum Slot<T> {
    /// Nobody asked for it.
    #[default]
    Empty,
    /// On its way; how far is in the job's record.
    Waiting {
        /// The job that delivers it. An answer of any other job is dropped.
        id: JobId,
    },
    /// It is here.
    Ready(T),
    /// It could not be had.
    Failed(Error),
}

impl<T> Slot<T> {
    /// The value, when it is here.
    pub fn ready(&self) -> Option<&T> {
        match self {
            Self::Ready(value) => Some(value),
            _ => None,
        }
    }

    /// The error, when it failed.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// The job it waits for.
    pub fn waiting_for(&self) -> Option<JobId> {
        match self {
            Self::Waiting { id } => Some(*id),
            _ => None,
        }
    }

    /// Takes the answer of `id`; false when this slot waits for another job or for none.
    pub fn settle(&mut self, id: JobId, result: Result<T, Error>) -> bool {
        if self.waiting_for() != Some(id) {
            return false;
        }
        *self = match result {
            Ok(value) => Self::Ready(value),
            Err(error) => Self::Failed(error),
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_answer_is_dropped() {
        let mut slot = Slot::Waiting { id: JobId(2) };
        assert!(!slot.settle(JobId(1), Ok(1)));
        assert_eq!(slot.ready(), None);
        assert!(slot.settle(JobId(2), Ok(2)));
        assert_eq!(slot.ready(), Some(&2));
        assert!(!slot.settle(JobId(2), Err(Error::Cancelled)));
        assert_eq!(slot.ready(), Some(&2));
    }
}
