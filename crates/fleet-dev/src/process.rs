//! A child process that is waited for on a thread of its own, and the datagram by which it says that it is ready.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::DevError;

/// Longest path of a unix socket in bytes: `sun_path` has 108, the last is a zero. unix(7).
const SOCKET_PATH_LEN_MAX: usize = 107;

/// Longest readiness message in bytes that is looked at; systemd's has about 30.
const MESSAGE_LEN_MAX: usize = 4096;

/// What our own thread sends to those who wait for readiness, once the process is gone.
const EXITED: &[u8] = b"EXITED";

/// A running child. Someone always waits for it, so it does not become a zombie, and its end is an event.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    exit: Arc<Exit>,
}

#[derive(Debug, Default)]
struct Exit {
    status: Mutex<Option<ExitStatus>>,
    changed: Condvar,
}

impl Exit {
    fn status(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        // The value is written whole, so it is right even if a thread panicked while it held the lock.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts `command`; at its end tells all of `waiters`, which are paths of [`Readiness`] sockets.
    pub(crate) fn spawn(command: &mut Command, waiters: Vec<PathBuf>) -> Result<(Process, Stdio), DevError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|err| DevError::Program { program, err })?;
        let (pid, stdin) = (child.id(), child.stdin.take());
        let exit = Arc::new(Exit::default());
        let process = Process { pid, exit: Arc::clone(&exit) };
        let wait = move || {
            let status = child.wait().unwrap_or_else(|err| panic!("cannot wait for our own child {pid}: {err}"));
            *exit.status() = Some(status);
            exit.changed.notify_all();
            if let Ok(sender) = UnixDatagram::unbound() {
                for path in waiters {
                    // Nobody listens any more in the usual case: the process became ready long ago.
                    let _unheard = sender.send_to(EXITED, path);
                }
            }
        };
        let thread = thread::Builder::new().name(format!("wait-{pid}")).spawn(wait);
        thread.map_err(|err| DevError::Program { program: format!("thread wait-{pid}"), err })?;
        Ok((process, Stdio(stdin)))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn exited(&self) -> Option<ExitStatus> {
        *self.exit.status()
    }

    /// Waits for its end, at most for `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let result = self.exit.changed.wait_timeout_while(self.exit.status(), limit, |status| status.is_none());
        let (status, _) = result.unwrap_or_else(PoisonError::into_inner);
        *status
    }

    /// Sends `signal`, unless it has ended already.
    pub(crate) fn signal(&self, signal: Signal) {
        let status = self.exit.status();
        if status.is_none()
            && let Ok(pid) = i32::try_from(self.pid)
        {
            // Fails only if it ended this moment, which is what the next wait will find.
            let _gone = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// Our end of a child's standard input, if it was asked for.
#[derive(Debug)]
pub(crate) struct Stdio(pub Option<std::process::ChildStdin>);

/// Where a process says `READY=1`, as in sd_notify(3).
#[derive(Debug)]
pub(crate) struct Readiness {
    socket: UnixDatagram,
    path: PathBuf,
}

/// Why a process did not become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotReady {
    Exited,
    TimedOut,
}

impl Readiness {
    /// One for a program that is started again and again: at a path of its own each time, `PATH-1`, so that the end of the last one's,
    /// which is told and cleaned up by threads, does not meet the new one.
    pub(crate) fn bind_anew(path: &Path) -> Result<Readiness, DevError> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let mut path = path.as_os_str().to_owned();
        path.push(format!("-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        Readiness::bind(path.into())
    }

    pub(crate) fn bind(path: PathBuf) -> Result<Readiness, DevError> {
        check_socket_path(&path)?;
        match fs::remove_file(&path) {
            Ok(()) => (),
            Err(err) if err.kind() == io::ErrorKind::NotFound => (),
            Err(err) => return Err(DevError::file("cannot remove the old socket", &path)(err)),
        }
        let socket = UnixDatagram::bind(&path).map_err(DevError::file("cannot make the socket", &path))?;
        Ok(Readiness { socket, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Goes on listening until the process ends, for one that has more to say (`STOPPING=1`, barriers).
    pub(crate) fn listen_on(self) -> Result<(), DevError> {
        let failed = DevError::file("cannot listen on", &self.path);
        self.socket.set_read_timeout(None).map_err(failed)?;
        let listen = move || {
            let mut message = [0; MESSAGE_LEN_MAX];
            while self.socket.recv(&mut message).is_ok_and(|len| &message[..len] != EXITED) {}
        };
        let thread = thread::Builder::new().name("notify".to_owned()).spawn(listen);
        thread.map(drop).map_err(|err| DevError::Program { program: "thread notify".to_owned(), err })
    }

    /// Waits until `READY=1` arrives, the process ends or `deadline` is over.
    pub(crate) fn wait(&self, deadline: Instant) -> Result<Result<(), NotReady>, DevError> {
        self.wait_hearing(deadline, |_| ())
    }

    /// The same; `hear` is given each line that arrives until then, `X_NSPAWN_LEADER_PID=4711` for one.
    pub(crate) fn wait_hearing(
        &self,
        deadline: Instant,
        mut hear: impl FnMut(&str),
    ) -> Result<Result<(), NotReady>, DevError> {
        let failed = |err| DevError::file("cannot read the socket", &self.path)(err);
        let mut message = [0; MESSAGE_LEN_MAX];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Err(NotReady::TimedOut));
            }
            self.socket.set_read_timeout(Some(left)).map_err(failed)?;
            match self.socket.recv(&mut message) {
                Ok(len) if &message[..len] == EXITED => return Ok(Err(NotReady::Exited)),
                Ok(len) => {
                    let text = String::from_utf8_lossy(&message[..len]);
                    text.lines().for_each(&mut hear);
                    if text.lines().any(|line| line == "READY=1") {
                        return Ok(Ok(()));
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(Err(NotReady::TimedOut)),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => (),
                Err(err) => return Err(failed(err)),
            }
        }
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        // Gone already when its folder was removed.
        let _gone = fs::remove_file(&self.path);
    }
}

/// How many lines of a program's own output an error shows.
const OWN_WORDS_LINES_MAX: usize = 30;

/// The error for `what`, with the ends of the `outputs` it left.
pub(crate) fn not_ready(
    what: String,
    why: NotReady,
    process: &Process,
    limit: Duration,
    outputs: &[String],
) -> DevError {
    let how = match (why, process.exited()) {
        (NotReady::Exited, Some(status)) => format!("ended with {status}"),
        (NotReady::Exited, None) => "ended".to_owned(),
        (NotReady::TimedOut, _) => format!("said nothing for {limit:?}"),
    };
    DevError::NotReady { what, how, words: last_lines(outputs) }
}

/// The ends of the `outputs`, indented, as an error shows them.
pub(crate) fn last_lines(outputs: &[String]) -> String {
    let ends = outputs.iter().flat_map(|output| {
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(OWN_WORDS_LINES_MAX)..].to_vec()
    });
    let words: Vec<String> = ends.map(|line| format!("  {line}")).collect();
    if words.is_empty() { "  (none)".to_owned() } else { words.join("\n") }
}

/// Refuses a path that the kernel could not take for a unix socket.
pub(crate) fn check_socket_path(path: &Path) -> Result<(), DevError> {
    let len = path.as_os_str().len();
    if len <= SOCKET_PATH_LEN_MAX {
        return Ok(());
    }
    Err(DevError::SocketPathTooLong { path: path.to_owned(), len, max: SOCKET_PATH_LEN_MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `script` with a readiness socket; returns what the wait said.
    #[track_caller]
    fn check(messages: &[&[u8]], script: &str, limit: Duration, expected: Result<(), NotReady>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let readiness = Readiness::bind(folder.path().join("ready")).expect("socket");
        let sender = UnixDatagram::unbound().expect("socket");
        for message in messages {
            sender.send_to(message, readiness.path()).expect("the socket is bound");
        }
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(std::process::Stdio::piped());
        let (process, stdin) = Process::spawn(&mut command, vec![readiness.path().to_owned()]).expect("sh starts");
        let said = readiness.wait(Instant::now() + limit).expect("the socket works");
        drop(stdin); // Lets `read` end.
        assert_eq!(said, expected);
        assert!(process.wait(Duration::from_secs(10)).is_some(), "`{script}` ends with its input");
    }

    #[test]
    fn ready_or_not() {
        let long = Duration::from_secs(30);
        check(&[b"READY=1\nSTATUS=Ready."], "read x", long, Ok(()));
        check(&[b"STATUS=Starting", b"STATUS=x\nREADY=1"], "read x", long, Ok(()));
        check(&[b"STATUS=Starting", b"XREADY=1"], "exit 3", long, Err(NotReady::Exited));
        check(&[b"READY=0"], "read x", Duration::from_millis(50), Err(NotReady::TimedOut));
    }

    #[test]
    fn socket_paths() {
        let path = |len: usize| PathBuf::from("/".repeat(len));
        assert!(check_socket_path(&path(107)).is_ok());
        let err = check_socket_path(&path(108)).expect_err("one byte too long").to_string();
        assert!(err.contains("108 bytes, the kernel takes 107"), "{err}");
    }
}
