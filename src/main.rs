//! The program's start: a measuring child process, the command line or the window.

use std::process::ExitCode;
use std::time::Instant;

use planish::cli::{self, Action};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let started = Instant::now();
    cli::ignore_file_size_signal();
    // A measuring process may run nothing but its request.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == planish::runtime::CHILD_ARGUMENT) {
        return planish::runtime::child::child_main();
    }
    let filter = EnvFilter::try_from_env("PLANISH_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli::run(std::env::args_os()) {
        Action::Exit(status) => status,
        Action::Window(model) => match planish::app::run(model, started) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                cli::print_error(&error);
                ExitCode::FAILURE
            }
        },
    }
}
