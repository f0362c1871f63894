//! What was asked for, and what will be done, without a tensor: experiment files with their keys, defaults and checks
//! ([`experiment`]), the plan that follows from one ([`plan`]), the experiments that are part of the program ([`presets`]), and the
//! named choices that files and flags share ([`choices`]), and options that are just what a command takes as its flags ([`options`]).

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod attacks;
pub mod choices;
pub mod experiment;
pub mod options;
pub mod plan;
pub mod presets;
pub mod suggest;
mod usage;

pub use usage::{Usage, usage};
