//! The ways to fleetd and to machines: TLS, tunnels, ssh.
//!
//! What is given is read by [`settings`]; what follows from it, as words of a command line or as a hint, is told by pure functions
//! ([`ssh`], [`tls`]). [`tunnel`] and [`fd_forward`] do it. Connections by ssh are the user's own program's, with its configuration, keys, agent and known hosts.

pub mod args;
pub mod fd_forward;
pub mod settings;
pub mod ssh;
pub mod tls;
pub mod tunnel;

use std::time::Duration;

use fleet_api::Client;
use fleet_api::tls::Tls;

use crate::error::CommandError;
use crate::settings::Settings;
use tunnel::Tunnel;

/// A client of the fleetd that the settings name, through `tunnel` if there is one; each call may take `limit`. Nothing is sent yet.
///
/// # Errors
/// [`CommandError::Tls`], [`CommandError::Api`].
pub fn client(settings: &Settings, limit: Duration, tunnel: Option<&Tunnel>) -> Result<Client, CommandError> {
    let Settings { endpoint, reach, .. } = settings;
    let mut client = Client::builder(endpoint.clone()).timeout(Some(limit));
    if let Some(tunnel) = tunnel {
        client = client.through(tunnel.api());
    }
    if endpoint.is_tls() {
        let tls =
            Tls::load(&reach.tls).map_err(|err| CommandError::Tls { endpoint: endpoint.clone(), err: err.into() })?;
        client = client.tls(tls);
    }
    client.build().map_err(|err| CommandError::Api { doing: "talk to fleetd".to_owned(), err, hint: None })
}
