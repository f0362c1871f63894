//! One program for many targets: linking each on its own would take longer than fuzzing it.

use std::sync::OnceLock;

/// Gives the input to the target that `DUALMD_FUZZ` names.
pub fn read(input: &[u8]) {
    static READ: OnceLock<fn(&[u8])> = OnceLock::new();
    READ.get_or_init(chosen)(input);
}

fn chosen() -> fn(&[u8]) {
    let name = std::env::var("DUALMD_FUZZ").unwrap_or_default();
    if let Some(target) = dualmd_fuzz::target(&name) {
        return target.read;
    }
    let known = dualmd_fuzz::targets();
    let known: Vec<&str> = known.iter().map(|target| target.name).collect();
    eprintln!("set DUALMD_FUZZ to one of {}", known.join(", "));
    std::process::exit(2)
}
