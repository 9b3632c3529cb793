//! Opening a path without being surprised by what is there.

use std::fs::{File, FileType, Metadata};
use std::path::Path;

use crate::error::{Error, Result};

/// Opens a regular file for reading; returns it with its size in bytes.
///
/// The kind of file is checked before opening: opening a FIFO would wait for a writer, perhaps for ever.
///
/// # Errors
/// `Error::NotAFile` for anything but a regular file or a link to one, `Error::BrokenLink` for a link to nothing, `Error::Io` when there
/// is nothing or no permission.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64)> {
    check_regular(
        path,
        &std::fs::metadata(path).map_err(|error| broken_link(path).unwrap_or_else(|| Error::io("open", path)(error)))?,
    )?;
    let file = File::open(path).map_err(Error::io("open", path))?;
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    check_regular(path, &metadata)?;
    Ok((file, metadata.len()))
}

/// True for a name that can only be that of a file in the folder at hand, on every system.
pub(super) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', ':']) && !name.chars().any(char::is_control) && name != "." && name != ".."
}

/// The error for a link that leads to nothing; `None` for anything else.
pub(super) fn broken_link(path: &Path) -> Option<Error> {
    // A link in a circle leads to nothing as well.
    let leads_nowhere = || std::fs::metadata(path).is_err_and(|error| error.kind() != std::io::ErrorKind::PermissionDenied);
    let target = std::fs::read_link(path).ok().filter(|_| leads_nowhere())?;
    Some(Error::BrokenLink { target, path: path.to_path_buf() })
}

fn check_regular(path: &Path, metadata: &Metadata) -> Result<()> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(Error::NotAFile { kind: kind_of(metadata.file_type()), path: path.to_path_buf() })
    }
}

fn kind_of(file_type: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if file_type.is_fifo() {
            return "a FIFO";
        }
        if file_type.is_socket() {
            return "a socket";
        }
    }
    if file_type.is_dir() { "a folder" } else { "a device" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = open_regular(folder.path()).unwrap_err();
        assert_eq!(error, Error::NotAFile { kind: "a folder", path: folder.path().to_path_buf() });
    }

    #[test]
    fn nothing_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let error = open_regular(&folder.path().join("nothing")).unwrap_err();
        assert!(matches!(error, Error::Io { action: "open", kind: std::io::ErrorKind::NotFound, .. }), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn fifos_and_devices_are_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(open_regular(&fifo), Err(Error::NotAFile { kind: "a FIFO", .. })));
        assert!(matches!(open_regular(Path::new("/dev/zero")), Err(Error::NotAFile { kind: "a device", .. })));
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(open_regular(&socket), Err(Error::NotAFile { kind: "a socket", .. })));
    }
}
