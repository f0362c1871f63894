//! dualmd-audit
