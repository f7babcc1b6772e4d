//! Where a fleet API is.

use std::path::PathBuf;
use std::str::FromStr;

/// Where a fleet API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket: `unix:///run/fleet.sock`.
    Unix(PathBuf),
    /// HTTP over TCP: `http://HOST:PORT`, or `https://HOST:PORT` with TLS.
    Http(String),
}

/// A text that is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EndpointError {
    #[error("endpoint `{given}` has no scheme: write `unix:///path`, `http://host:port` or `https://host:port`")]
    NoScheme { given: String },
    #[error("endpoint `{given}` names a host, but a unix socket has a path: write `unix:///{given_path}`")]
    HostInPath { given: String, given_path: String },
    #[error("endpoint `{given}` is no URL of a host: write `http://host:port` or `https://host:port`")]
    BadUrl { given: String },
    #[error("endpoint `{given}` has the unknown scheme `{scheme}`: `unix`, `file`, `http` and `https` are known")]
    UnknownScheme { given: String, scheme: String },
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(given: &str) -> Result<Endpoint, EndpointError> {
        let Some((scheme, rest)) = given.split_once("://") else {
            return Err(EndpointError::NoScheme { given: given.to_owned() });
        };
        match scheme {
            "unix" | "file" if rest.starts_with('/') => Ok(Endpoint::Unix(rest.into())),
            "unix" | "file" => Err(EndpointError::HostInPath { given: given.to_owned(), given_path: rest.to_owned() }),
            "http" | "https" => match reqwest::Url::parse(given) {
                Ok(url) if url.has_host() && url.path() == "/" && url.query().is_none() => {
                    Ok(Endpoint::Http(given.trim_end_matches('/').to_owned()))
                }
                Ok(_) | Err(_) => Err(EndpointError::BadUrl { given: given.to_owned() }),
            },
            _ => Err(EndpointError::UnknownScheme { given: given.to_owned(), scheme: scheme.to_owned() }),
        }
    }
}

impl Endpoint {
    /// Host and port of one that is no socket; an IPv6 address is in brackets.
    pub fn host_and_port(&self) -> Option<(String, u16)> {
        let Endpoint::Http(url) = self else { return None };
        let url = reqwest::Url::parse(url).ok()?;
        Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
    }

    /// Whether it is spoken to by TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Endpoint::Http(url) if url.starts_with("https:"))
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Http(url) => f.write_str(url),
        }
    }
}
