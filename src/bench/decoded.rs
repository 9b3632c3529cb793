//! The decoded weights of an MLX folder, as a file that goes when nobody needs it any more.

use crate::convert::{DecodedGguf, decoded_gguf};
use crate::error::Result;
use crate::format::Artifact;
use crate::monitor::Monitor;
use crate::runtime::work_folder::WorkFolder;

/// The decoded weights of a folder. The file exists as long as the value lives.
pub(super) struct Decoded {
    pub(super) gguf: DecodedGguf,
    _folder: WorkFolder,
}

impl Decoded {
    /// Decodes a folder into a temporary one.
    ///
    /// # Errors
    /// Those of [`decoded_gguf`]; `Error::Io` without a folder for it.
    pub(super) fn write(artifact: &Artifact, monitor: &Monitor) -> Result<Self> {
        let folder = WorkFolder::new("decoded")?;
        Ok(Self { gguf: decoded_gguf(artifact, folder.path(), monitor)?, _folder: folder })
    }
}
