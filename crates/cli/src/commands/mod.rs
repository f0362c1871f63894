//! One function per command.

pub mod audit;
pub mod caption;
pub mod data;
pub mod lira;
pub mod list;
pub mod memorisation;
pub mod metrics;
pub mod model;
pub mod report;
pub mod reproduce;
pub mod run;
pub mod selftest;
pub mod train;
