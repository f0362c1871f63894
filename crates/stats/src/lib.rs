//! dualmd-stats
