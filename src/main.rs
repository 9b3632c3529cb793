//! Window or command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == planish::runtime::CHILD_ARGUMENT) {
        return planish::runtime::child::child_main();
    }
    ExitCode::SUCCESS
}
