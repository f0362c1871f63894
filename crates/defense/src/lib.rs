//! dualmd-defense
