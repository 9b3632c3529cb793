//! Writes down, while a conversion runs, which tensors are complete and on the disk.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::journal::{Journal, Record};
use super::part_output::PartOutput;
use crate::error::Result;

/// The shortest pause between two checkpoints: on a fast disk, a kill costs this much work and the tensors under way.
const MIN_PAUSE: Duration = Duration::from_millis(250);
/// The pause after a checkpoint is this many times as long as the checkpoint, so that a slow disk is not kept busy syncing.
const PAUSE_FACTOR: u32 = 4;

/// What to do with tensors that are complete when the work ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// Forget them: the outputs are finished, or are removed.
    Forget,
    /// Write them down: another run will go on from there.
    Keep,
}

/// Takes `(index of the output, record)` until the senders are gone.
///
/// # Errors
/// `Error::Io` when the disk or the journal fails. The conversion does not depend on it.
pub(super) fn write_down(
    records: &Receiver<(usize, Record)>,
    parts: &[PartOutput],
    journals: &mut [Journal],
    at_end: &(dyn Fn() -> AtEnd + Sync),
) -> Result<()> {
    let mut waiting: Vec<Vec<Record>> = vec![Vec::new(); parts.len()];
    let mut due = Instant::now();
    let mut is_open = true;
    while is_open {
        let is_empty = waiting.iter().all(Vec::is_empty);
        let next = if is_empty { records.recv().map_err(|_| RecvTimeoutError::Disconnected) } else { records.recv_deadline(due) };
        match next {
            Ok((output_idx, record)) => {
                if let Some(of_output) = waiting.get_mut(output_idx) {
                    of_output.push(record);
                }
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if at_end() == AtEnd::Forget => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => is_open = false,
        }
        let started = Instant::now();
        for ((part, journal), of_output) in parts.iter().zip(journals.iter_mut()).zip(&mut waiting) {
            if !of_output.is_empty() {
                // First the tensors, then the lines that vouch for them.
                part.sync_data()?;
                journal.append(of_output)?;
                of_output.clear();
            }
        }
        due = Instant::now() + (started.elapsed() * PAUSE_FACTOR).max(MIN_PAUSE);
    }
    Ok(())
}
