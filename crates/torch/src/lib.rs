//! dualmd-torch
