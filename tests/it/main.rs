//! Integration tests: one binary, because each one links the whole program.

mod cli;
mod common;
mod layering;
mod recipes;
