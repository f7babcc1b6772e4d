//! Who is at the other end of a connection, as far as the kernel says.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::net::{TcpStream, UnixStream};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// From this address.
    Tcp(SocketAddr),
    /// A process of this box.
    Unix {
        /// Its user.
        uid: u32,
        /// Its number, if the kernel says it.
        pid: Option<i32>,
    },
    /// Nobody can tell: the connection is gone already, or there is none.
    Unknown,
}

impl Peer {
    /// The other end of a TCP connection.
    pub fn of_tcp(stream: &TcpStream) -> Peer {
        stream.peer_addr().map_or(Peer::Unknown, Peer::Tcp)
    }

    /// The other end of a unix socket.
    pub fn of_unix(stream: &UnixStream) -> Peer {
        stream.peer_cred().map_or(Peer::Unknown, |peer| Peer::Unix { uid: peer.uid(), pid: peer.pid() })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => write!(f, "{address}"),
            Peer::Unix { uid, pid: Some(pid) } => write!(f, "uid {uid}, pid {pid}"),
            Peer::Unix { uid, pid: None } => write!(f, "uid {uid}"),
            Peer::Unknown => f.write_str("unknown"),
        }
    }
}

/// As the server noted it on the request.
impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Peer, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Peer::Unknown))
    }
}
