//! The other process: a command that is started, or a socket that is there.
//!
//! A command is told in [`crate::SOCKET`] which socket to connect to. The socket lies in a folder that is its owner's alone, and is
//! gone once the command has connected. A command has its own process group, so that Ctrl-C reaches this program alone, which
//! finishes its step; a server whose other side has gone reads the end of its stream.

use crate::message::{self, Message, Writer};
use crate::{Place, RemoteError, Result, SOCKET};
use dualmd_torch::Tensor;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a process is looked at that is waited for.
const TICK: Duration = Duration::from_millis(10);
/// How long a server may take to leave once it is told to.
const GRACE: Duration = Duration::from_secs(3);
/// How long its last words may take to arrive once it has left.
const WORDS: Duration = Duration::from_millis(500);
/// Bytes on their way in a socket.
const BUFFER: usize = 1 << 22;
/// The variable in which the launcher of the Python package leaves the `LD_LIBRARY_PATH` that it found, before it put this program's
/// libtorch there: a server has its own torch.
const OUTER_LIBRARIES: &str = "DUALMD_OUTER_LIBRARY_PATH";
/// Bytes of last words that are kept.
const KEPT: usize = 600;

/// Why there is no server at a place.
fn error(place: &Place, reason: impl Into<String>) -> RemoteError {
    RemoteError::Start {
        place: place.shown(),
        reason: reason.into(),
    }
}

/// A server that can be asked.
#[derive(Debug)]
pub(crate) struct Server {
    stream: UnixStream,
    process: Option<Process>,
    timeout: Duration,
    writer: Writer,
}

impl Server {
    /// Starts the command and waits for its connection, or connects to the socket.
    pub(crate) fn open(place: &Place, timeout: Duration) -> Result<Self> {
        let (stream, process) = match place {
            Place::Socket(path) | Place::Caller(path) => (connect(place, path)?, None),
            Place::Command(command) => {
                let (stream, process) = start(place, command, timeout)?;
                (stream, Some(process))
            }
            Place::Onnx(file) => {
                let (stream, process) = start(place, &serving(file), timeout)?;
                (stream, Some(process))
            }
        };
        // Fewer changes between the two processes. The system allows what it does; the usual size works as well.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, BUFFER);
        Ok(Self {
            stream,
            process,
            timeout,
            writer: Writer::default(),
        })
    }

    /// Sends a message and reads the answer into `buffer`; `limit`: bytes that it may have beside [`message::SLACK`].
    ///
    /// # Errors
    /// What the server could not do, in its words; a server that left, hangs, or says what it should not.
    pub(crate) fn ask<'b>(
        &mut self,
        buffer: &'b mut Vec<u8>,
        kind: &str,
        settings: &[(&str, String)],
        tensors: &[(&str, &Tensor)],
        limit: u64,
    ) -> Result<Message<'b>> {
        let deadline = Instant::now() + self.timeout;
        let mut stream = Until {
            stream: &self.stream,
            deadline,
        };
        let limit = limit + message::SLACK;
        let answer = (self.writer.send(&mut stream, kind, settings, tensors))
            .and_then(|()| message::read(&mut stream, buffer, limit, kind));
        let answer = match answer {
            Err(RemoteError::Connection(error)) => return Err(self.broken(kind, error)),
            answer => answer?,
        };
        if answer.kind() == "error" {
            let reason = answer.setting("message").unwrap_or("it does not say why");
            return Err(RemoteError::Refused {
                asked: kind.to_owned(),
                reason: reason.to_owned(),
            });
        }
        if answer.kind() != kind {
            return Err(RemoteError::Answer {
                asked: kind.to_owned(),
                reason: format!(
                    "it is of kind `{}`: an answer is of the kind of its question, or `error`",
                    answer.kind()
                ),
            });
        }
        Ok(answer)
    }

    /// Why a connection broke.
    fn broken(&mut self, asked: &str, error: std::io::Error) -> RemoteError {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => RemoteError::Hangs {
                asked: asked.to_owned(),
                seconds: self.timeout.as_secs(),
                words: self
                    .process
                    .as_ref()
                    .map(Process::words)
                    .unwrap_or_default(),
            },
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                match &mut self.process {
                    Some(process) => process.ended(),
                    None => RemoteError::Ended {
                        status: None,
                        words: String::new(),
                    },
                }
            }
            _ => RemoteError::Connection(error),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stream = Until {
            stream: &self.stream,
            deadline: Instant::now() + TICK,
        };
        // Whoever does not hear it reads the end of the stream.
        let _ = self.writer.send(&mut stream, "bye", &[], &[]);
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// A stream that gives up at a time.
struct Until<'a> {
    stream: &'a UnixStream,
    deadline: Instant,
}

impl Until<'_> {
    fn left(&self) -> std::io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(ErrorKind::TimedOut.into()),
            false => Ok(Some(left)),
        }
    }
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn connect(place: &Place, path: &Path) -> Result<UnixStream> {
    UnixStream::connect(path).map_err(|e| {
        let why = match e.kind() {
            ErrorKind::NotFound => "there is no such socket: start the server first",
            ErrorKind::ConnectionRefused => "no server listens there any more: start it again",
            ErrorKind::InvalidInput => "a socket's path has at most 107 bytes: use a shorter one",
            _ => "cannot connect",
        };
        error(place, format!("{why} ({e})"))
    })
}

/// The command that serves a file of ONNX: by the Python whose package started this program, or else by the one in `PATH`.
fn serving(file: &Path) -> String {
    let quoted = file.to_string_lossy().replace('\'', r"'\''");
    format!("\"${{DUALMD_PYTHON:-python3}}\" -m dualmd.convert --serve -- '{quoted}'")
}

/// Starts a command and waits until it has connected.
fn start(place: &Place, command: &str, timeout: Duration) -> Result<(UnixStream, Process)> {
    let failed = |what: &str, e: std::io::Error| error(place, format!("{what}: {e}"));
    let folder = tempfile::Builder::new()
        .prefix("dualmd-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|e| {
            failed(
                "cannot make a folder for the socket (TMPDIR names another place)",
                e,
            )
        })?;
    let path = folder.path().join("denoiser");
    let listener = UnixListener::bind(&path).map_err(|e| {
        failed(
            "cannot make a socket in the temporary folder (TMPDIR names another, of a short path)",
            e,
        )
    })?;
    let waiting = |e| failed("cannot wait for the server", e);
    listener.set_nonblocking(true).map_err(waiting)?;
    let (reader, writer) = std::io::pipe().map_err(waiting)?;
    let mut shell = Command::new("sh");
    match std::env::var_os(OUTER_LIBRARIES) {
        Some(before) if before.is_empty() => {
            shell.env_remove("LD_LIBRARY_PATH");
        }
        Some(before) => {
            shell.env("LD_LIBRARY_PATH", before);
        }
        None => {}
    }
    let child = shell
        .arg("-c")
        .arg(command)
        .env(SOCKET, &path)
        .stdin(Stdio::null())
        // Standard output is the program's own, for results.
        .stdout(writer.try_clone().map_err(waiting)?)
        .stderr(writer)
        .process_group(0)
        .spawn()
        .map_err(|e| failed("cannot start a shell for it", e))?;
    let mut process = Process {
        child,
        tail: Tail::of(reader),
    };
    let deadline = Instant::now() + timeout;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(waiting)?;
                return Ok((stream, process));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock || e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(waiting(e)),
        }
        if process.child.try_wait().map_err(waiting)?.is_some() {
            return Err(match process.ended() {
                RemoteError::Ended { status, words } => error(
                    place,
                    format!(
                        "it ended{} before it had connected to the socket that {SOCKET} names (a script does that by dualmd.serve){}",
                        status.map_or(String::new(), |s| format!(" ({s})")),
                        crate::last(&words)
                    ),
                ),
                other => other,
            });
        }
        if Instant::now() >= deadline {
            return Err(RemoteError::Hangs {
                asked: "hello".into(),
                seconds: timeout.as_secs(),
                words: process.words(),
            });
        }
        std::thread::sleep(TICK);
    }
}

/// A command that was started here; dropped, it is ended.
#[derive(Debug)]
struct Process {
    child: Child,
    tail: Tail,
}

impl Process {
    fn words(&self) -> String {
        self.tail.words()
    }

    /// Waits for it to end, as it has closed its connection, and tells how it did.
    fn ended(&mut self) -> RemoteError {
        let status = self.wait(GRACE);
        let deadline = Instant::now() + WORDS;
        while !self.tail.is_whole() && Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
        RemoteError::Ended {
            status,
            words: self.words(),
        }
    }

    fn wait(&mut self, time: Duration) -> Option<String> {
        let deadline = Instant::now() + time;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status.to_string()),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(TICK),
                _ => return None,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.wait(GRACE).is_none() {
            let group = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// The end of what a process writes.
#[derive(Debug, Clone, Default)]
struct Tail(Arc<Mutex<(Vec<u8>, bool)>>);

impl Tail {
    /// Reads on in a thread of its own, so that the process is never kept waiting.
    fn of(mut reader: PipeReader) -> Self {
        let tail = Self::default();
        let kept = tail.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match reader.read(&mut buffer) {
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Ok(n) if n > 0 => {
                        let mut kept = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
                        kept.0
                            .extend_from_slice(buffer.get(..n).unwrap_or_default());
                        let extra = kept.0.len().saturating_sub(KEPT);
                        kept.0.drain(..extra);
                    }
                    _ => break,
                }
            }
            kept.0.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        });
        tail
    }

    fn is_whole(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Its lines as one.
    fn words(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept.0);
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
        lines.collect::<Vec<_>>().join(" | ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_onnx_is_one_word_for_the_shell() {
        let output = Command::new("sh")
            .arg("-c")
            .arg(serving(Path::new("my 'best' $model.onnx")))
            .env("DUALMD_PYTHON", "echo")
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "-m dualmd.convert --serve -- my 'best' $model.onnx\n"
        );
    }
}
