//! Which file was made from which: noted when a file is made, so that nothing need be read to know it later.

use std::path::{Path, PathBuf};

use rusqlite::params;

use super::{FileIdentity, History};
use crate::error::Result;

impl History {
    /// Notes that `output` was made from the model with this identity, whose tensors have this checksum.
    ///
    /// # Errors
    /// `Error::History`.
    pub fn remember_conversion(&self, output: &Path, source: &FileIdentity, source_blake3: &str) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO conversions (output, source, size_bytes, mtime_ns, inode, source_blake3)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let values = params![
            crate::path_text::to_text(output),
            crate::path_text::to_text(&source.path),
            source.size_bytes,
            source.mtime_ns,
            source.inode,
            source_blake3
        ];
        self.connection.execute(sql, values).map(drop).map_err(self.error("write"))
    }

    /// Files that were made from the model with this identity, sorted by path, each with the checksum of the tensors that it
    /// was made from: where layers were left out, of the others. The model may have been moved within its file system.
    ///
    /// # Errors
    /// `Error::History`.
    pub fn conversions_of(&self, source: &FileIdentity) -> Result<Vec<(PathBuf, String)>> {
        let failed = self.error("read");
        let sql = "SELECT output, source_blake3 FROM conversions
                   WHERE size_bytes = ?1 AND mtime_ns = ?2 AND inode = ?3 AND (inode <> 0 OR source = ?4) ORDER BY output";
        let mut query = self.connection.prepare(sql).map_err(&failed)?;
        let values = params![source.size_bytes, source.mtime_ns, source.inode, crate::path_text::to_text(&source.path)];
        let found = query
            .query_map(values, |row| Ok((crate::path_text::from_text(&row.get::<_, String>(0)?), row.get(1)?)))
            .map_err(&failed)?;
        found.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// Forgets a file that is gone. Its runs stay.
    ///
    /// # Errors
    /// `Error::History`.
    pub fn forget_conversion(&self, output: &Path) -> Result<()> {
        let forget = "DELETE FROM conversions WHERE output = ?1";
        self.connection.execute(forget, [crate::path_text::to_text(output)]).map(drop).map_err(self.error("write"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_from_a_model_is_known_also_after_it_was_moved() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let history = History::open(&at("history.sqlite3")).unwrap();
        std::fs::write(at("a.gguf"), "model").unwrap();
        std::fs::write(at("b.gguf"), "another").unwrap();
        let identity = |name: &str| FileIdentity::of(&[at(name)]).unwrap();
        history.remember_conversion(&at("a-Q8_0.gguf"), &identity("a.gguf"), "11").unwrap();
        history.remember_conversion(&at("a-Q4_0.gguf"), &identity("a.gguf"), "22").unwrap();
        history.remember_conversion(&at("b-Q8_0.gguf"), &identity("b.gguf"), "33").unwrap();
        let expected = vec![(at("a-Q4_0.gguf"), "22".to_string()), (at("a-Q8_0.gguf"), "11".to_string())];
        assert_eq!(history.conversions_of(&identity("a.gguf")).unwrap(), expected);
        if cfg!(unix) {
            std::fs::rename(at("a.gguf"), at("moved.gguf")).unwrap();
            assert_eq!(history.conversions_of(&identity("moved.gguf")).unwrap(), expected);
        }
        history.forget_conversion(&at("a-Q4_0.gguf")).unwrap();
        assert_eq!(history.conversions_of(&identity(if cfg!(unix) { "moved.gguf" } else { "a.gguf" })).unwrap().len(), 1);
        std::fs::write(at("b.gguf"), "another one").unwrap();
        assert_eq!(history.conversions_of(&identity("b.gguf")).unwrap(), []);
    }
}
