//! Ways to end a process at a bad moment, and to fill its disk.

use crate::common::{self, text};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The calls that give files and folders their names, take them away, and bring them to the disk.
const CALLS: &str = "?rename,?renameat,?renameat2,?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat,?fsync";
/// Processes of one call carry this, so that they, and no others, can be ended together.
const MARK: &str = "DUALMD_KILLS_MARK";
/// Nothing here takes this long; what does hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is killed: the program of this build, or the one that `DUALMD_KILLS_BINARY` names.
pub fn binary() -> PathBuf {
    std::env::var_os("DUALMD_KILLS_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_dualmd").into(), PathBuf::from)
}

/// `dualmd` with `args`, one thread a process.
pub fn dualmd(args: &[String]) -> Command {
    let mut command = Command::new(binary());
    command.args(args);
    settled(&mut command);
    command
}

/// As everywhere, and silent.
fn settled(command: &mut Command) {
    common::settled(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
}

/// A call that a process of an unbroken run made: its name, and the how-manieth of that name in that process.
pub type Call = (String, usize);

/// Runs `dualmd` under strace, unharmed, and gives all calls that its processes made.
pub fn calls(strace: &Path, args: &[String], log: &Path) -> Vec<Call> {
    let mut command = traced(strace, args, log, &[]);
    let status = command.stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{args:?} under strace: {status}");
    let text = std::fs::read_to_string(log).unwrap();
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let made = text.lines().filter_map(|line| {
        let (process, rest) = line.split_once(char::is_whitespace)?;
        let (name, _) = rest.trim_start().split_once('(')?;
        let name = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric())
            .then_some(name)?;
        let count = seen.entry((process, name)).or_default();
        *count += 1;
        Some((name.to_owned(), *count))
    });
    made.collect()
}

fn traced(strace: &Path, args: &[String], log: &Path, more: &[String]) -> Command {
    let mut command = Command::new(strace);
    command.args(["-f", "-q", "-o", text(log), "-e", &format!("trace={CALLS}")]);
    command.args(more).arg("--").arg(binary()).args(args);
    settled(&mut command);
    command
}

/// How a run is ended.
#[derive(Debug, Clone)]
pub enum Kill {
    /// The first process that makes this call, by SIGKILL as it enters it; then, if so, all others.
    At(Call, bool),
    /// The program after this long; then, if so, its trainings.
    After(Duration, bool),
}

/// What is left of a run that was killed.
pub struct Killed {
    /// strace, or the program; processes that outlived the kill may be under it.
    child: Child,
    /// Was a process killed, or was the run through before?
    pub hit: bool,
}

impl Killed {
    /// Waits for what outlived the kill.
    pub fn wait(mut self) {
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < PATIENCE, "a process outlived its run");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Starts `dualmd`, ends it, and gives what outlived that: a training whose run was killed writes its checkpoint.
pub fn kill(how: &Kill, strace: Option<&Path>, args: &[String], log: &Path) -> Killed {
    let mark = format!("{}-{}", std::process::id(), log.display());
    let began = Instant::now();
    let (mut command, all) = match (how, strace) {
        (Kill::At((call, n), all), Some(strace)) => {
            let inject = format!("inject={call}:signal=SIGKILL:when={n}");
            (traced(strace, args, log, &["-e".into(), inject]), *all)
        }
        (Kill::After(_, all), _) => (dualmd(args), *all),
        (Kill::At(..), None) => unreachable!("drawn where there is strace"),
    };
    let mut child = command
        .env(MARK, &mark)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let hit = loop {
        assert!(began.elapsed() < PATIENCE, "{how:?}: the run hangs");
        let over = child.try_wait().unwrap().is_some();
        match how {
            Kill::At(..) => {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                if text.contains("+++ killed by SIGKILL +++") {
                    break true;
                }
            }
            Kill::After(delay, _) if !over && began.elapsed() > *delay => {
                let _ = child.kill();
                break true;
            }
            Kill::After(..) => {}
        }
        if over {
            break false;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    if all && hit {
        // Twice: one may have been starting another.
        for _ in 0..2 {
            end_marked(&mark);
        }
    } else if hit && matches!(how, Kill::At(..)) {
        // Where a training was killed, the run stops the others and says so; where the run was, it is gone. The first is waited
        // for, as a user would wait who calls again what has failed.
        let own = format!("{} +++ killed by SIGKILL +++", first_process(log));
        while child.try_wait().unwrap().is_none() {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            if text.replace("  ", " ").contains(&own) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{how:?}: the run hangs");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Killed { child, hit }
}

/// The process that strace started, the first in its log.
fn first_process(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Ends all processes that carry a mark, strace among them.
fn end_marked(mark: &str) {
    let wanted = format!("{MARK}={mark}");
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let environment = match name.parse::<u32>() {
            Ok(_) => std::fs::read(entry.path().join("environ")).unwrap_or_default(),
            Err(_) => continue,
        };
        if environment
            .split(|b| *b == 0)
            .any(|e| e == wanted.as_bytes())
        {
            let _ = Command::new("kill")
                .args(["-KILL", &name])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// A small disk of its own, unmounted at the end.
pub struct Disk(PathBuf);

impl Disk {
    /// A tmpfs of so many kibibytes; mounting needs root, or a sudo that asks nothing.
    pub fn mount(path: &Path, kib: u64) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={kib}k");
        let made = common::as_root("mount")
            .args(["-t", "tmpfs", "-o", &size, "dualmd-kills", text(path)])
            .status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "a small tmpfs cannot be mounted: this needs root"
        );
        Self(path.to_path_buf())
    }

    /// Makes room.
    pub fn grow(&self) {
        let status = common::as_root("mount")
            .args(["-o", "remount,size=256m", text(&self.0)])
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = common::as_root("umount").arg(&self.0).status();
    }
}
