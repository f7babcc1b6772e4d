//! The sockets of the API: those that systemd passes, and those that the configuration names.

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};

use crate::config::{Advertised, Listen};

/// A socket that takes connections.
#[derive(Debug)]
pub enum Listener {
    /// A unix socket.
    Unix(UnixListener),
    /// A TCP socket.
    Tcp(TcpListener),
}

/// Why a socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen at {address}")]
    Bind {
        address: String,
        #[source]
        err: std::io::Error,
    },
    #[error("cannot listen at {address}: somebody listens there already; is another fleetd running?")]
    InUse { address: String },
    #[error("{address} is there and is no socket: it is not touched")]
    NoSocket { address: String },
    #[error("systemd passed socket {number}, which is no listening stream socket: the API needs ListenStream=")]
    Passed { number: usize },
}

/// Binds one configured address. A unix socket that nobody listens at any more is replaced.
pub async fn bind(listen: &Listen) -> Result<Listener, ListenError> {
    match listen {
        Listen::Unix(path) => bind_unix(path).await.map(Listener::Unix),
        Listen::Tcp(address) => match TcpListener::bind(address).await {
            Ok(listener) => Ok(Listener::Tcp(listener)),
            Err(err) if err.kind() == std::io::ErrorKind::AddrInUse => {
                Err(ListenError::InUse { address: address.clone() })
            }
            Err(err) => Err(ListenError::Bind { address: address.clone(), err }),
        },
    }
}

async fn bind_unix(path: &Path) -> Result<UnixListener, ListenError> {
    let address = path.display().to_string();
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(ListenError::NoSocket { address }),
        Ok(_) => match tokio::net::UnixStream::connect(path).await {
            Ok(_) => return Err(ListenError::InUse { address }),
            Err(_) => {
                std::fs::remove_file(path).map_err(|err| ListenError::Bind { address: address.clone(), err })?;
            }
        },
        Err(_) => (),
    }
    UnixListener::bind(path).map_err(|err| ListenError::Bind { address, err })
}

/// Where other machines reach the API: the first TCP socket that is not only for this machine.
pub fn reachable(listeners: &[Listener]) -> Option<Advertised> {
    let addresses = listeners.iter().filter_map(|listener| match listener {
        Listener::Tcp(tcp) => tcp.local_addr().ok(),
        Listener::Unix(_) => None,
    });
    let for_others = addresses.filter(|address| !address.ip().is_loopback());
    for_others.map(Advertised::Socket).next()
}

/// Takes over the sockets that systemd passed, in order.
pub fn passed() -> Result<Vec<Listener>, ListenError> {
    let mut fds = listenfd::ListenFd::from_env();
    (0..fds.len()).map(|idx| take_over(&mut fds, idx).ok_or(ListenError::Passed { number: idx + 1 })).collect()
}

fn take_over(fds: &mut listenfd::ListenFd, idx: usize) -> Option<Listener> {
    // Each `take` refuses a socket of another kind and leaves it in its place.
    if let Ok(Some(unix)) = fds.take_unix_listener(idx) {
        unix.set_nonblocking(true).ok()?;
        return UnixListener::from_std(unix).ok().map(Listener::Unix);
    }
    let tcp = fds.take_tcp_listener(idx).ok()??;
    tcp.set_nonblocking(true).ok()?;
    TcpListener::from_std(tcp).ok().map(Listener::Tcp)
}
