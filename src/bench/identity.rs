//! The SHA-256 of a model, which names it in results.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::format::inspect;
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::runtime::hex;

/// Bytes that are read and hashed at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// SHA-256 of a model's file in hexadecimal; of a split model that of all its files one after the other, in their order.
///
/// # Errors
/// Those of opening the model, `Error::Io`, `Error::Cancelled`.
pub fn model_sha256(path: &Path, monitor: &Monitor) -> Result<String> {
    let model = inspect(path)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let mut hash = Sha256::new();
    let mut done = 0;
    let mut block = vec![0; BLOCK_BYTES];
    for file_path in &model.files {
        let mut file = std::fs::File::open(file_path).map_err(Error::io("open", file_path))?;
        loop {
            let n = file.read(&mut block).map_err(Error::io("read", file_path))?;
            let Some(read) = block.get(..n).filter(|read| !read.is_empty()) else { break };
            hash.update(read);
            done += n as u64;
            monitor.report(Progress {
                stage: format!("hash of {name}"),
                done,
                total: model.size_bytes.max(done),
                unit: ProgressUnit::Bytes,
            })?;
        }
    }
    Ok(hex(&hash.finalize()))
}
