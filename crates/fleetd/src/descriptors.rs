//! How many files and connections this process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::ConnectionLimits;

/// What everything else needs at most: the store, systemd, unit files being written, tools being run.
const RESERVE: u64 = 512;

/// Raises the limit as far as this process may by itself, and says so if that is not enough for the connections that are allowed.
///
/// systemd starts services with a limit of 1,024, for programs that use `select`, and lets them raise it; we use none.
pub fn raise(n_sockets: usize, limits: &ConnectionLimits) {
    let hard = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) => hard,
        Err(err) => return tracing::warn!(error = %err, "cannot ask for the limit of open files"),
    };
    if let Err(err) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        tracing::warn!(error = %err, "cannot raise the limit of open files to {hard}");
    }
    let wanted =
        u64::try_from(n_sockets.saturating_mul(limits.connections)).unwrap_or(u64::MAX).saturating_add(RESERVE);
    if hard < wanted {
        tracing::warn!(
            "api_connections = {} on {n_sockets} sockets may need {wanted} open files, and this process may have {hard}: lower \
             it, or set LimitNOFILE= in fleetd.service",
            limits.connections,
        );
    }
}
