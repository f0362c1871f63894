//! Variables that must be set before the program begins.

/// Variables that libraries read when they are loaded, before `main`:
///
/// * libtorch's OpenMP threads spin while they wait, which makes a machine with more threads than free cores crawl;
/// * glibc returns every large tensor's memory to the system as soon as it is freed, and each training step pays for
///   fetching (and clearing) it again: a third of the time of a small network's step went into the kernel.
const EARLY: [(&str, &str); 4] = [
    ("OMP_WAIT_POLICY", "PASSIVE"),
    ("MALLOC_MMAP_THRESHOLD_", "4294967296"),
    ("MALLOC_TRIM_THRESHOLD_", "8589934592"),
    ("MALLOC_TOP_PAD_", "67108864"),
];

/// Marks a process that has been through [`settle`].
const SETTLED: &str = "DUALMD_SETTLED";

/// Sets the variables of [`EARLY`] that the user has not set, and starts the program once more with them.
pub fn settle() {
    #[cfg(unix)]
    if std::env::var_os(SETTLED).is_none()
        && EARLY
            .iter()
            .any(|(name, _)| std::env::var_os(name).is_none())
        && let Ok(program) = std::env::current_exe()
    {
        use std::os::unix::process::CommandExt;
        let unset = EARLY
            .iter()
            .filter(|(name, _)| std::env::var_os(name).is_none());
        // Returns only if it fails; then the program runs on, just slower.
        let _ = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .envs(unset.copied())
            .env(SETTLED, "1")
            .exec();
    }
}
