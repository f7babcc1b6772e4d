//! What requests to the API may take: the keys `token_limit`, `api_*` and `exec*`.

use std::time::Duration;

use super::{ConfigError, Settings, value};

/// The limits of the API, each a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// `token_limit`: entries on a page of v1.
    pub page: u16,
    /// `api_body_bytes`: the largest body of a request.
    pub body_bytes: usize,
    /// `api_body_timeout`: how long a body may take to come.
    pub body_timeout: Duration,
    /// `api_options`: options of one unit in v1.
    pub options: usize,
    /// Those of each listening socket.
    pub connections: ConnectionLimits,
    /// Those of commands beside units.
    pub exec: ExecLimits,
}

/// What commands beside units may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecLimits {
    /// `exec`: whether any may run on the machines that are served here.
    pub allowed: bool,
    /// `exec_max`: how many on one machine at once.
    pub at_once: usize,
    /// `exec_timeout`: how long one may run.
    pub timeout: Duration,
}

/// What clients of one listening socket may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// `api_connections`: how many at once.
    pub connections: usize,
    /// `api_header_bytes`: the request line and headers of a request.
    pub header_bytes: usize,
    /// `api_header_timeout`: how long those may take to come, from their first byte on.
    pub header_timeout: Duration,
    /// `api_idle_timeout`: how long a connection stays open without a request.
    pub idle_timeout: Duration,
}

/// Bounds of `api_connections`. With fewer a few clients that keep their connections open would shut out all others.
const CONNECTIONS: (u64, u64) = (16, 1_000_000);

/// Bounds of `api_header_bytes`. The least is what hyper reads at once.
const HEADER_BYTES: (u64, u64) = (8 << 10, 1 << 20);

/// Bounds of `api_body_bytes`. A request with one unit file of the largest size has to get in, however its text is escaped.
const BODY_BYTES: (u64, u64) = (4 << 20, 1 << 30);

/// Bounds of `api_options`.
const OPTIONS: (u64, u64) = (100, 1_000_000);

/// Bounds of `exec_max`. Each holds a connection, six descriptors, and what it is given to read.
const EXEC_MAX: (u64, u64) = (1, 1_000);

/// Bounds of every time here.
const TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));

impl Default for ApiLimits {
    fn default() -> ApiLimits {
        Settings::default().api().expect("the defaults in the table of keys are within their bounds")
    }
}

impl Settings {
    pub(super) fn api(&self) -> Result<ApiLimits, ConfigError> {
        Ok(ApiLimits {
            page: self.read("token_limit", |text| number(text, (1, u16::MAX.into())))?,
            body_bytes: self.read("api_body_bytes", |text| number(text, BODY_BYTES))?,
            body_timeout: self.read("api_body_timeout", time)?,
            options: self.read("api_options", |text| number(text, OPTIONS))?,
            connections: ConnectionLimits {
                connections: self.read("api_connections", |text| number(text, CONNECTIONS))?,
                header_bytes: self.read("api_header_bytes", |text| number(text, HEADER_BYTES))?,
                header_timeout: self.read("api_header_timeout", time)?,
                idle_timeout: self.read("api_idle_timeout", time)?,
            },
            exec: ExecLimits {
                allowed: self.read("exec", value::boolean)?,
                at_once: self.read("exec_max", |text| number(text, EXEC_MAX))?,
                timeout: self.read("exec_timeout", time)?,
            },
        })
    }
}

fn number<T: TryFrom<u64>>(text: &str, (min, max): (u64, u64)) -> Result<T, String> {
    let number = value::number(text, min..=max)?;
    T::try_from(number).map_err(|_| format!("{number} is more than this machine can count"))
}

fn time(text: &str) -> Result<Duration, String> {
    let (min, max) = TIMES;
    match value::duration(text)? {
        time if time < min => Err(format!("at least {} s", min.as_secs())),
        time if max < time => Err(format!("at most {} h", max.as_secs() / 3_600)),
        time => Ok(time),
    }
}
