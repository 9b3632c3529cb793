//! Running it: one file per runtime, each in a child process.
