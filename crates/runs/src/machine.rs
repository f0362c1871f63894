//! What the machine is and what time it has: read once, printed with the plan and kept beside the results.

use dualmd_files::{limit, read_text};
use std::path::Path;

/// The processor's name, `unknown` where the system does not tell.
pub fn cpu_name() -> String {
    read_text(Path::new("/proc/cpuinfo"), limit::SETTINGS)
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown".into())
}

/// Cores this process may use (the affinity mask and container limits count), at least 1.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Memory this process may use in GB (10^9 bytes): the machine's, or the container's limit where that is lower. None where
/// the system does not tell.
pub fn memory_gb() -> Option<f64> {
    let text = read_text(Path::new("/proc/meminfo"), limit::SETTINGS).ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let total = line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0;
    let limit = read_text(Path::new("/sys/fs/cgroup/memory.max"), limit::SETTINGS)
        .ok()
        .and_then(|text| text.trim().parse::<f64>().ok());
    Some(limit.map_or(total, |limit| limit.min(total)) / 1e9)
}

/// The most memory this process ever held, in MB (10^6 bytes). None where the system does not tell.
pub fn peak_rss_mb() -> Option<f64> {
    let text = read_text(Path::new("/proc/self/status"), limit::SETTINGS).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0 / 1e6)
}

/// The program that computes; `dualmd`, which is what one types, becomes it.
pub const ENGINE: &str = "dualmd-engine";

/// The command of this process, as one would type it.
pub fn command_line() -> String {
    let quote = |a: String| {
        let plain = a
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./=,:@+".contains(c))
            && !a.is_empty();
        if plain {
            a
        } else {
            format!("'{}'", a.replace('\'', r"'\''"))
        }
    };
    let mut all = std::env::args();
    let program = all.next().unwrap_or_default();
    let name = Path::new(&program).file_name().map_or_else(
        || "dualmd".into(),
        |name| typed(&name.to_string_lossy()).to_owned(),
    );
    std::iter::once(name)
        .chain(all.map(quote))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The variable in which a program that calls this one, such as the Python package, says how itself was called.
pub const CALLED_AS: &str = "DUALMD_CALLED_AS";

/// How the program that calls this one was called, where there is one: a line of its language.
pub fn called_as() -> Option<String> {
    one_line(&std::env::var(CALLED_AS).ok()?)
}

/// What repeats the work of this process, for plans and reports: the call of the program that called this one, or the command.
pub fn call() -> String {
    called_as().unwrap_or_else(command_line)
}

/// A text on one line; nothing where it is empty.
fn one_line(text: &str) -> Option<String> {
    let line = text.trim().replace(['\n', '\r'], " ");
    (!line.is_empty()).then_some(line)
}

/// The program as one types it, by its file's name.
fn typed(name: &str) -> &str {
    if name == ENGINE { "dualmd" } else { name }
}

/// What stands for what the system does not tell.
pub const UNKNOWN: &str = "unknown";

/// The machine's name, `unknown` where the system does not tell.
pub fn host() -> String {
    system("hostname")
}

/// What no other machine has, and this one until it is started again; `unknown` where the system does not tell.
pub fn boot() -> String {
    system("random/boot_id")
}

/// A value of the kernel's.
fn system(name: &str) -> String {
    read_text(&Path::new("/proc/sys/kernel").join(name), limit::SETTINGS)
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| UNKNOWN.into())
}

/// The time in UTC to the second, RFC 3339.
pub fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_machine_answers() {
        assert!(super::cores() >= 1);
        assert!(!super::cpu_name().is_empty());
        assert!(!super::host().is_empty() && !super::host().contains('\n'));
        // The kernel's random number, the same at every look.
        assert_eq!((super::boot().len(), super::boot()), (36, super::boot()));
        assert_eq!(super::now().len(), "2026-11-24T05:09:00Z".len());
        assert!(super::memory_gb().is_none_or(|gb| gb > 0.01));
    }

    #[test]
    fn a_call_is_one_line() {
        let line = super::one_line(" dualmd.audit(\n    pipe)\n");
        assert_eq!(line.as_deref(), Some("dualmd.audit(     pipe)"));
        assert_eq!(super::one_line(" \n"), None);
    }

    /// A training that a run started, too, is a command that a person can repeat.
    #[test]
    fn a_command_names_the_program_that_is_typed() {
        assert_eq!(super::typed(super::ENGINE), "dualmd");
        assert_eq!(super::typed("dualmd"), "dualmd");
        assert_eq!(super::typed("audits"), "audits");
    }
}
