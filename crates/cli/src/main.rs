//! dualmd
fn main() {}
