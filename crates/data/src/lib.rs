//! dualmd-data
