//! dualmd-attack
