//! `fd-forward`: what the original's clients run on a gateway to reach a socket there through ssh.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::CommandError;
use crate::exit::Exit;

/// How much is copied at once, in bytes: a pipe of ssh holds so much.
const PIECE: usize = 64 << 10;

/// Copies standard input to the socket at `path`, and what comes from there to standard output, until the other side has nothing more
/// to say or nobody reads it any more.
///
/// The end of the input is not passed on: servers of HTTP, ours and others, take it for the end of a client that is still reading.
///
/// # Errors
/// [`CommandError::Dial`], [`CommandError::Relay`]; [`CommandError::Output`] when nobody reads any more.
pub fn run(path: &Path) -> Result<Exit, CommandError> {
    let relay = |err| CommandError::Relay { path: path.to_owned(), err };
    let mut socket = UnixStream::connect(path).map_err(|err| CommandError::Dial { path: path.to_owned(), err })?;
    let own = |fd: io::Result<OwnedFd>| fd.map(std::fs::File::from).map_err(relay);
    // Not as Rust's own streams, which keep back what is no whole line.
    let mut input = own(io::stdin().as_fd().try_clone_to_owned())?;
    let mut output = own(io::stdout().as_fd().try_clone_to_owned())?;
    let mut to = socket.try_clone().map_err(relay)?;
    // A thread that nobody waits for: it may sit in a call until the process ends.
    std::thread::spawn(move || {
        // Whatever ended it, nothing more comes from here.
        let _ = copy(&mut input, &mut to);
        // Without asked-for events poll reports only that the other end is gone, as when ssh has lost its connection.
        let stdout = io::stdout();
        if let Ok(1..) = poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::empty())], PollTimeout::NONE) {
            let _ = to.shutdown(Shutdown::Both);
        }
    });
    match copy(&mut socket, &mut output) {
        Ok(()) => Ok(Exit::Ok),
        Err(Side::From(err)) => Err(relay(err)),
        Err(Side::To(err)) => Err(CommandError::Output(err)),
    }
}

enum Side {
    From(io::Error),
    To(io::Error),
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<(), Side> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(&piece[..n]).map_err(Side::To)?,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => (),
            Err(err) => return Err(Side::From(err)),
        }
    }
}
