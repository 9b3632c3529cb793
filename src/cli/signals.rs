//! Signals that would otherwise kill the process, or must not reach it.
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

/// Installs handlers of signals, and leaves SIGHUP ignored where it was: so `nohup` lets long work outlive its terminal.
pub(super) fn heeding_nohup<T>(install: impl FnOnce() -> T) -> T {
    // SAFETY: no handler of ours runs, the disposition is read by setting it, and set back.
    #[cfg(unix)]
    let before = unsafe {
        let before = libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, before);
        before
    };
    let installed = install();
    // SAFETY: no handler runs, the disposition is only set to "ignore".
    #[cfg(unix)]
    if before == libc::SIG_IGN {
        unsafe {
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
        }
    }
    installed
}
