//! Progress on standard error, and SIGINT, SIGTERM and SIGHUP as cancellation.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::output::terminal_columns;
use super::signals::heeding_nohup;
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::path_text::one_line;
use crate::units;

/// Time between two lines where standard error is a file or a pipe.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Time between two updates of the same line on a terminal.
const UPDATE_EVERY: Duration = Duration::from_millis(100);

/// The flag that SIGINT, SIGTERM and SIGHUP set; a second of them ends the process at once. There is one flag per process.
fn cancel_flag() -> Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    Arc::clone(FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let handler_flag = Arc::clone(&flag);
        let on_signal = move || {
            // Asked twice: the user does not want to wait for the clean-up.
            if handler_flag.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        };
        let installed = heeding_nohup(|| ctrlc::set_handler(on_signal));
        if let Err(error) = installed {
            tracing::warn!("cannot catch signals: {error}");
        }
        flag
    }))
}

/// A monitor that draws a line on standard error and ends the work on those signals.
pub(super) fn monitor() -> Monitor {
    let is_terminal = std::io::stderr().is_terminal() && can_redraw(std::env::var_os("TERM").as_deref());
    let line =
        std::sync::Mutex::new(Line { started: Instant::now(), stage_started: Instant::now(), done: 0, drawn: None, is_terminal });
    Monitor::new(cancel_flag(), move |progress| {
        if let Ok(mut line) = line.lock() {
            line.draw(&progress);
        }
    })
}

/// False for terminals without cursor control, such as those of editors: they get lines, as files do. Windows sets no TERM.
fn can_redraw(term: Option<&std::ffi::OsStr>) -> bool {
    term.map_or(cfg!(windows), |term| !term.is_empty() && term != "dumb")
}

/// The text cut to one column less than `columns`: a line that wraps could not be erased again.
fn cut(text: &str, columns: Option<usize>) -> std::borrow::Cow<'_, str> {
    match columns.map(|columns| columns.saturating_sub(1)) {
        Some(room) if text.chars().count() > room => {
            text.chars().take(room.saturating_sub(1)).chain((room > 0).then_some('…')).collect::<String>().into()
        }
        _ => text.into(),
    }
}

struct Line {
    started: Instant,
    stage_started: Instant,
    /// That of the last report.
    done: u64,
    drawn: Option<Instant>,
    is_terminal: bool,
}

impl Line {
    fn draw(&mut self, progress: &Progress) {
        // A part of the work with steps of its own begins anew.
        if progress.done == 0 || progress.done < self.done {
            self.stage_started = Instant::now();
        }
        self.done = progress.done;
        let every = if self.is_terminal { UPDATE_EVERY } else { LINE_EVERY };
        let is_last = progress.total > 0 && progress.done >= progress.total;
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < every) && !is_last {
            return;
        }
        self.drawn = Some(Instant::now());
        let text = progress_text(progress, self.stage_started.elapsed().as_secs_f64());
        let text = one_line(&text);
        let mut stderr = std::io::stderr().lock();
        // A closed standard error is no reason to stop the work.
        let _ = if self.is_terminal {
            write!(stderr, "\r\x1b[2K{}", cut(&text, terminal_columns(std::io::stderr())))
        } else {
            writeln!(stderr, "[{:>6.1} s] {text}", self.started.elapsed().as_secs_f64())
        };
        let _ = stderr.flush();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_terminal && self.drawn.is_some() {
            // The terminal may be gone, which is why the work ends.
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
fn progress_text(progress: &Progress, elapsed_secs: f64) -> String {
    let Some(fraction) = progress.fraction() else { return progress.stage.clone() };
    let mut text = format!("{:3.0} %", fraction * 100.0);
    if progress.unit == ProgressUnit::Bytes && elapsed_secs > 0.2 {
        text.push_str(&format!("  {}", units::bytes_per_sec_text(progress.done as f64 / elapsed_secs)));
    }
    if fraction > 0.01 && fraction < 1.0 && elapsed_secs > 0.2 {
        let left_secs = elapsed_secs * f64::from((1.0 - fraction) / fraction);
        text.push_str(&format!("  {} left", units::duration_text(left_secs)));
    }
    format!("{text}  {}", progress.stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terminals_that_can_are_redrawn_and_no_line_wraps() {
        let redraws = |term: &str| can_redraw(Some(std::ffi::OsStr::new(term)));
        assert!(redraws("xterm-256color") && redraws("linux") && !redraws("dumb") && !redraws(""));
        assert_eq!(cut("0123456789", Some(20)), "0123456789");
        assert_eq!(cut("0123456789", Some(10)), "01234567…");
        assert_eq!(cut("0123456789", Some(2)), "…");
        assert_eq!(cut("0123456789", Some(1)), "");
        assert_eq!(cut("0123456789", None), "0123456789");
    }

    #[test]
    fn text_has_what_is_known() {
        let check = |done, total, unit, secs, expected: &str| {
            assert_eq!(progress_text(&Progress { stage: "x".into(), done, total, unit }, secs), expected);
        };
        check(0, 0, ProgressUnit::Steps, 1.0, "x");
        check(5, 10, ProgressUnit::Steps, 30.0, " 50 %  30 s left  x");
        check(50_000_000, 100_000_000, ProgressUnit::Bytes, 0.5, " 50 %  100 MB/s  500 ms left  x");
        check(10, 10, ProgressUnit::Steps, 30.0, "100 %  x");
    }
}
