//! dualmd-diffusion
