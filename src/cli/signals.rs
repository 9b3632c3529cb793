//! Limits of the system that would otherwise kill the process.
#![allow(unsafe_code, reason = "the standard library cannot ignore a signal")]

/// Lets a write beyond the limit on the size of files (`ulimit -f`) fail with an error, as on a full disk. The system's way is to kill the
/// process: then nobody is told why, and the unfinished file stays.
///
/// Called first in `main`; children inherit it.
pub fn ignore_file_size_signal() {
    // SAFETY: no handler runs, the disposition is only set to "ignore", before any other thread exists.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
