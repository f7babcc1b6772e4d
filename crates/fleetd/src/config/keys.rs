//! The configuration keys, one table: name, default, what for. Files, `FLEET_*` variables and flags all come from it.

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is in force.
    Used,
    /// The original had it; here it has no effect, and why.
    Ignored(&'static str),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As in the file. `FLEET_NAME` in the environment, `--name` with dashes as a flag.
    pub name: &'static str,
    /// The value when nothing is said.
    pub default: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
    /// In force or not.
    pub role: Role,
}

const fn used(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, default, help, role: Role::Used }
}

const fn ignored(name: &'static str, why: &'static str) -> Key {
    Key { name, default: "", help: "kept for old files; has no effect", role: Role::Ignored(why) }
}

/// All keys.
pub const KEYS: &[Key] = &[
    used("verbosity", "0", "0: what an operator needs; 1: also why; 2: everything"),
    used(
        "store",
        "",
        "where the cluster's memory is: `embedded` (a file on this machine) or `etcd`; default etcd if etcd_servers is set",
    ),
    used("store_path", "", "the embedded store's file; default /var/lib/fleet/store.redb"),
    used("etcd_servers", "", "etcd's addresses with commas between; default http://127.0.0.1:2379"),
    used(
        "etcd_key_prefix",
        "/_coreos.com/fleet/",
        "what all of fleet's keys in etcd begin with; the same in a cluster",
    ),
    used("etcd_request_timeout", "3s", "how long one request to one etcd server may take"),
    used("etcd_username", "", "who to log in to etcd as, if it wants that"),
    used("etcd_password", "", "the password; better in the file or the environment than as a flag"),
    used("etcd_cafile", "", "PEM file: who signs etcd's certificates; default those that the system trusts"),
    used("etcd_certfile", "", "PEM file: the certificate to show to etcd; needs etcd_keyfile, too"),
    used("etcd_keyfile", "", "PEM file: the key of etcd_certfile"),
    used(
        "listen",
        "",
        "where the API listens: unix:///path or host:port, with commas between; default unix:///run/fleet.sock, or the sockets that systemd passes",
    ),
    used(
        "advertise",
        "",
        "where the other machines' fleetd reach this one's API: http[s]://host:port; default the first TCP address of `listen` that is not loopback",
    ),
    used(
        "api_certfile",
        "",
        "PEM file: the certificate of the API's TCP sockets, which speak TLS then; needs api_keyfile, too",
    ),
    used("api_keyfile", "", "PEM file: the key of api_certfile"),
    used(
        "api_cafile",
        "",
        "PEM file: who signs the certificates that clients have to show; and, where this fleetd asks others, theirs",
    ),
    used("public_ip", "", "the address shown for this machine; empty: found by its default route"),
    used("metadata", "", "key=value pairs with commas between"),
    used("agent_ttl", "30s", "how long this machine may be silent before it counts as lost"),
    used("loss_grace", "10s", "the leader: how long a lost machine may be away before its units are placed elsewhere"),
    used("brake_share", "0.5", "the leader: if more than this share of the machines is lost at once, nothing moves"),
    used("brake_min", "2", "the leader: so many machines may be lost at once without that"),
    used("leader_ttl", "10s", "how long the lead outlives its leader's last sign of life"),
    used("units_directory", "", "where fleet keeps its unit files; default /run/fleet/units"),
    used("systemd_user", "false", "drive the user's systemd and not the system's"),
    used("systemd_socket", "", "drive the systemd that listens at this private socket"),
    used("unit_directory", "", "where that systemd looks for unit files; needed with systemd_socket"),
    used("machines_file", "", "serve the machines named in this file and not this one (a cluster on one box)"),
    used("slices", "32", "over how many slices services are spread, 0 for systemd's default slice"),
    used("disable_engine", "false", "never decide for the cluster, only run units"),
    used("leave_on_stop", "false", "when this daemon ends, hand units over to other machines and stop the rest"),
    used("leave_timeout", "1m30s", "how long each of the two may take: the handing over, and the stopping"),
    used("resync_interval", "5m", "how often everything is looked at anew even when nothing changed"),
    used("token_limit", "100", "how many entries API v1 lists on one page, from 1 to 65535"),
    used("api_connections", "16384", "how many connections to each listening socket there may be at once"),
    used("api_header_bytes", "65536", "the largest request line and headers of a request, in bytes"),
    used("api_header_timeout", "10s", "how long the headers of a request may take to come"),
    used("api_idle_timeout", "2m", "how long a connection stays open without a request"),
    used("api_body_bytes", "67108864", "the largest body of a request, in bytes"),
    used("api_body_timeout", "1m", "how long the body of a request may take to come"),
    used("api_options", "10000", "how many options API v1 takes for one unit"),
    used("exec", "true", "let clients of the API run commands beside units on this machine (fleetctl exec)"),
    used("exec_max", "16", "how many such commands may run at once on a machine"),
    used("exec_timeout", "1h", "how long such a command may run; it is stopped then"),
    ignored("engine_reconcile_interval", "the engine acts on events at once; see resync_interval"),
    ignored("enable_grpc", "states go through the store"),
    ignored("disable_watches", "watches are what the store is read by"),
    ignored("verify_units", "the original had dropped it, too"),
    ignored("authorized_keys_file", "the original had dropped it, too"),
];

/// The keys that SIGHUP puts into force. Of all others it says that they wait for the next start.
pub const RELOADED: [&str; 16] = [
    "verbosity",
    "public_ip",
    "metadata",
    "api_certfile",
    "api_keyfile",
    "api_cafile",
    "token_limit",
    "api_header_bytes",
    "api_header_timeout",
    "api_idle_timeout",
    "api_body_bytes",
    "api_body_timeout",
    "api_options",
    "exec",
    "exec_max",
    "exec_timeout",
];
