//! Global flags for the ways to fleetd and to machines.

use clap::Args;

/// Each has an environment variable. Their texts are read by [`super::settings`].
#[derive(Clone, Debug, Default, Args)]
pub struct ReachArgs {
    /// PEM file: who signs the certificate of an `https` endpoint [default: those whom the system trusts] [env: FLEETCTL_CA_FILE]
    #[arg(long, alias = "etcd-cafile", global = true, value_name = "FILE", display_order = 110)]
    pub ca_file: Option<String>,
    /// PEM file: the certificate to show to an `https` endpoint [env: FLEETCTL_CERT_FILE]
    #[arg(long, alias = "etcd-certfile", global = true, value_name = "FILE", display_order = 111)]
    pub cert_file: Option<String>,
    /// PEM file: the key of that certificate [env: FLEETCTL_KEY_FILE]
    #[arg(long, alias = "etcd-keyfile", global = true, value_name = "FILE", display_order = 112)]
    pub key_file: Option<String>,
    /// Go to fleetd, and to machines, through this host by ssh [env: FLEETCTL_TUNNEL]
    #[arg(long, global = true, value_name = "HOST[:PORT]", display_order = 113)]
    pub tunnel: Option<String>,
    /// As whom to log in by ssh [default: as ssh does] [env: FLEETCTL_SSH_USERNAME]
    #[arg(long, global = true, value_name = "USER", display_order = 114)]
    pub ssh_username: Option<String>,
    /// How long a connection by ssh may take to be made [default: 10] [env: FLEETCTL_SSH_TIMEOUT]
    #[arg(long, global = true, value_name = "SECONDS", display_order = 115)]
    pub ssh_timeout: Option<String>,
    /// Whether ssh checks host keys: `true`, `false`, or a word of its own such as `accept-new` [default: as ssh does] [env:
    /// FLEETCTL_STRICT_HOST_KEY_CHECKING]
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        display_order = 116
    )]
    pub strict_host_key_checking: Option<String>,
    /// Where ssh keeps host keys [default: as ssh does] [env: FLEETCTL_KNOWN_HOSTS_FILE]
    #[arg(long, global = true, value_name = "FILE", display_order = 117)]
    pub known_hosts_file: Option<String>,
}
