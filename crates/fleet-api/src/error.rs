//! Why a call gave no answer.

use crate::endpoint::Endpoint;
use crate::tls::{TlsError, TlsTrouble};
use crate::v2;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client could not be made.
    #[error("cannot set up a client for {endpoint}")]
    Setup {
        /// Where to.
        endpoint: Endpoint,
        /// Why.
        #[source]
        err: reqwest::Error,
    },
    /// The client could not be made, for want of certificates.
    #[error("cannot set up TLS for {endpoint}")]
    Tls {
        /// Where to.
        endpoint: Endpoint,
        /// Why.
        #[source]
        err: Box<TlsError>,
    },
    /// Nobody answered, or the answer broke off.
    #[error("no answer from fleetd at {endpoint}")]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        #[source]
        err: reqwest::Error,
    },
    /// A stream in which something comes every [`v2::HEARTBEAT_S`] was silent for [`v2::SILENCE_LIMIT_S`]: the connection is dead,
    /// although nobody has ended it.
    #[error("nothing came from fleetd at {endpoint} for {} s", v2::SILENCE_LIMIT_S)]
    Silent {
        /// Where.
        endpoint: Endpoint,
    },
    /// The daemon refused or failed, and says why.
    #[error("{_0}")]
    Problem(Box<v2::Problem>),
    /// The daemon refused or failed, in the words of API v1.
    #[error("{endpoint} answered with {status}: {message}")]
    Refused {
        /// Who.
        endpoint: Endpoint,
        /// The HTTP status.
        status: u16,
        /// What it says about it.
        message: String,
    },
    /// The answer is none that this client understands.
    #[error("{endpoint} gave an answer that is not fleet's: {reason}")]
    Garbled {
        /// Where.
        endpoint: Endpoint,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// Whether the call took longer than the client's limit.
    pub fn is_timeout(&self) -> bool {
        matches!(self, ClientError::Unreachable { err, .. } if err.is_timeout())
    }

    /// Whether the connection was there and broke off: nobody knows what the request has done.
    pub fn broke_off(&self) -> bool {
        matches!(self, ClientError::Unreachable { err, .. } if !err.is_timeout() && !err.is_connect() && !err.is_builder())
    }

    /// What is wrong with TLS, if that is why nobody answered.
    pub fn tls_trouble(&self) -> Option<TlsTrouble> {
        match self {
            ClientError::Unreachable { err, .. } => TlsTrouble::of(err),
            _ => None,
        }
    }
}
