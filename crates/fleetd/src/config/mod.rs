//! The configuration: defaults, then the file, then `FLEET_*` variables, then flags; the later one wins.
//!
//! Nothing is guessed: a value that does not parse is an error that names key, value and source.

mod api;
mod ini;
mod keys;
mod machines;
mod store;
mod tls;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_core::engine::EngineConfig;

pub use api::{ApiLimits, ConnectionLimits, ExecLimits};
pub use keys::{KEYS, Key, RELOADED, Role};
pub use machines::{MachineConfig, MachinesError, SystemdAt};
pub use store::StoreAt;
pub use tls::ServerFiles;

/// The file that is read when none is named and this one exists.
pub const DEFAULT_FILE: &str = "/etc/fleet/fleet.conf";

/// Shortest `agent_ttl`: etcd's leases count in seconds, and two renewals must fit in.
const AGENT_TTL_MIN: Duration = Duration::from_secs(3);

/// Longest `agent_ttl`: nobody waits that long for a lost machine, and the guard takes no longer one for true.
const AGENT_TTL_MAX: Duration = crate::guard::deadline::AHEAD_MAX;

/// Shortest and longest `loss_grace`. Shorter, and a `fleetd` that is replaced by a newer one just after its lease has run
/// out moves units; longer, and it is no patience any more but a machine to be cordoned.
const LOSS_GRACE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

/// Shortest and longest `leave_timeout`: no longer than systemd can be told to wait.
const LEAVE_TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Shortest and longest `leader_ttl`: etcd's leases count in seconds and are no shorter than two, and two renewals must fit
/// in; while nobody leads, nothing is placed.
const LEADER_TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_secs(600);

/// Most machines in `brake_min`: more than any cluster has.
const BRAKE_MIN_MAX: u64 = 100_000;

/// All that `fleetd` needs to know at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// 0, 1 or 2.
    pub verbosity: u64,
    /// Where the cluster's memory is.
    pub store: StoreAt,
    /// Where the API listens, beside the sockets that systemd passes.
    pub listen: Vec<Listen>,
    /// Whether `listen` was configured or is the default.
    pub listen_is_default: bool,
    /// Where other machines reach the API, if it was said.
    pub advertise: Option<Advertised>,
    /// The machines to serve.
    pub machines: Vec<MachineConfig>,
    /// How long a machine may be silent before it counts as lost.
    pub agent_ttl: Duration,
    /// How patient the engine is with machines that are lost.
    pub losses: EngineConfig,
    /// How long the lead outlives its leader's last sign of life.
    pub leader_ttl: Duration,
    /// Over how many slices units are spread.
    pub slices: u32,
    /// Never lead.
    pub disable_engine: bool,
    /// Take the machines out of the cluster when the daemon ends.
    pub leave_on_stop: bool,
    /// How long each step of that may take.
    pub leave_timeout: Duration,
    /// How often everything is looked at anew.
    pub resync_interval: Duration,
    /// What the API's TCP sockets speak TLS with, if they do; and this daemon, when it asks others.
    pub tls: Option<ServerFiles>,
    /// What requests may take.
    pub api: ApiLimits,
    /// All keys as they were said.
    pub values: Values,
    /// What an operator should know about the configuration.
    pub warnings: Vec<String>,
}

/// Every key with its value as it was said, or its default.
#[derive(Clone, PartialEq, Eq)]
pub struct Values(BTreeMap<&'static str, String>);

impl Values {
    /// The keys whose values differ.
    pub fn differing(&self, other: &Values) -> Vec<&'static str> {
        self.0.iter().filter(|(key, value)| other.0.get(*key) != Some(*value)).map(|(key, _)| *key).collect()
    }
}

/// Without the values: some are secret.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// One address of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A unix socket; a stale one is replaced.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

/// Where other machines reach the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advertised {
    /// At this URL.
    Url(String),
    /// At this socket of ours.
    Socket(SocketAddr),
}

impl Advertised {
    /// As a URL, of a socket with the scheme `https` if it speaks TLS. A socket that listens at all addresses of the machine is
    /// reached at its `public_ip`.
    pub fn url(&self, public_ip: &str, tls: bool) -> String {
        let scheme = if tls { "https" } else { "http" };
        match self {
            Advertised::Url(url) => url.clone(),
            Advertised::Socket(address) if address.ip().is_unspecified() => match public_ip.parse() {
                Ok(ip) => format!("{scheme}://{}", SocketAddr::new(ip, address.port())),
                Err(_) => String::new(),
            },
            Advertised::Socket(address) => format!("{scheme}://{address}"),
        }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The table of keys.
    Default,
    /// A line of the file.
    File(PathBuf, usize),
    /// A variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("the default"),
            Source::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Source::Environment(variable) => write!(f, "environment variable {variable}"),
            Source::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read configuration file {path}")]
    Read {
        path: PathBuf,
        #[source]
        err: std::io::Error,
    },
    #[error("configuration file {path}, {reason}")]
    Syntax { path: PathBuf, reason: String },
    #[error("{key} = `{value}` ({from}): {reason}")]
    Value { key: &'static str, value: String, from: Source, reason: String },
    #[error(transparent)]
    Machines(#[from] MachinesError),
    #[error("cannot tell this machine's identity: {path}: {reason}")]
    MachineId { path: PathBuf, reason: String },
}

/// Key, value and source of everything that was said.
#[derive(Debug, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, (String, Source)>,
    warnings: Vec<String>,
}

impl Settings {
    /// Collects what file, environment and flags say. `file` is the one of `--config`; without it [`DEFAULT_FILE`] is read
    /// if it exists.
    pub fn collect(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: Vec<(&'static str, String)>,
    ) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        let default = Path::new(DEFAULT_FILE);
        if let Some(path) = file.or(default.exists().then_some(default)) {
            settings.read_file(path)?;
        }
        let environment: BTreeMap<String, String> = environment.collect();
        for key in KEYS {
            let variable = format!("FLEET_{}", key.name.to_uppercase());
            if let Some(value) = environment.get(&variable) {
                settings.set(key, value.clone(), Source::Environment(variable));
            }
        }
        for (name, value) in flags {
            let key = KEYS.iter().find(|key| key.name == name).expect("flags are made from the table");
            settings.set(key, value, Source::Flag(format!("--{}", name.replace('_', "-"))));
        }
        Ok(settings)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|err| ConfigError::Read { path: path.to_owned(), err })?;
        let ini =
            ini::parse(&text).map_err(|err| ConfigError::Syntax { path: path.to_owned(), reason: err.to_string() })?;
        if let Some(line) = ini.section {
            let path = path.display();
            self.warnings.push(format!("{path}, line {line}: a section; nothing from here on is read, keys have none"));
        }
        for (name, (value, line)) in ini.keys {
            match KEYS.iter().find(|key| key.name == name) {
                Some(key) => self.set(key, value, Source::File(path.to_owned(), line)),
                None => self.warnings.push(format!("{}, line {line}: no key is called `{name}`", path.display())),
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &Key, value: String, from: Source) {
        if let Role::Ignored(why) = key.role {
            self.warnings.push(format!("{} ({from}) has no effect: {why}", key.name));
        }
        self.values.insert(key.name, (value, from));
    }

    /// The value of a key; an empty one counts as not said, but an empty variable overrides the file.
    fn get(&self, name: &'static str) -> Option<(&str, &Source)> {
        self.values.get(name).map(|(value, from)| (value.as_str(), from)).filter(|(value, _)| !value.is_empty())
    }

    fn read<T>(&self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        let default = KEYS.iter().find(|key| key.name == name).expect("keys are in the table").default;
        let (value, from) = self.get(name).unwrap_or((default, &Source::Default));
        parse(value).map_err(|reason| self.wrong(name, value, from, reason))
    }

    fn wrong(&self, key: &'static str, value: &str, from: &Source, reason: String) -> ConfigError {
        ConfigError::Value { key, value: value.to_owned(), from: from.clone(), reason }
    }

    /// Checks everything and makes the configuration of it.
    pub fn check(mut self) -> Result<Config, ConfigError> {
        let store = self.store()?;
        let metadata = self.read("metadata", value::metadata)?;
        let public_ip = self.read("public_ip", public_ip)?;
        let user = self.read("systemd_user", value::boolean)?;
        let machines = match self.get("machines_file") {
            Some((path, _)) => machines::read(Path::new(path))?,
            None => vec![self.own_machine(user, public_ip, metadata)?],
        };
        let listen_is_default = self.get("listen").is_none();
        let config = Config {
            verbosity: self.read("verbosity", |text| value::number(text, 0..=2))?,
            store,
            listen: self.read("listen", listen)?,
            listen_is_default,
            advertise: self.read("advertise", advertise)?,
            machines,
            agent_ttl: self.read("agent_ttl", |text| {
                let ttl = value::duration(text)?;
                if ttl < AGENT_TTL_MIN {
                    return Err(format!("at least {} s, so that two renewals fit in", AGENT_TTL_MIN.as_secs()));
                }
                if AGENT_TTL_MAX < ttl {
                    return Err(format!("at most {} s", AGENT_TTL_MAX.as_secs()));
                }
                Ok(ttl)
            })?,
            losses: EngineConfig {
                grace_ms: self.read("loss_grace", |text| {
                    let grace = value::duration_in(text, LOSS_GRACE)?;
                    Ok(u64::try_from(grace.as_millis()).expect("the range fits"))
                })?,
                brake_share: self.read("brake_share", value::share)?,
                brake_min: self.read("brake_min", |text| {
                    value::number(text, 0..=BRAKE_MIN_MAX).map(|n| usize::try_from(n).expect("the range fits"))
                })?,
                ..EngineConfig::default()
            },
            leader_ttl: self.read("leader_ttl", |text| value::duration_in(text, LEADER_TTL))?,
            slices: self.read("slices", |text| {
                value::number(text, 0..=1_024).map(|n| u32::try_from(n).expect("the range fits"))
            })?,
            disable_engine: self.read("disable_engine", value::boolean)?,
            leave_on_stop: self.read("leave_on_stop", value::boolean)?,
            leave_timeout: self.read("leave_timeout", |text| value::duration_in(text, LEAVE_TIMEOUT))?,
            resync_interval: self.read("resync_interval", |text| {
                let interval = value::duration(text)?;
                if interval < Duration::from_secs(1) {
                    return Err("at least 1s".to_owned());
                }
                Ok(interval)
            })?,
            tls: self.tls()?,
            api: self.api()?,
            values: self.values(),
            warnings: std::mem::take(&mut self.warnings),
        };
        Ok(config)
    }

    fn values(&self) -> Values {
        let value = |key: &Key| self.get(key.name).map_or(key.default, |(value, _)| value).to_owned();
        Values(KEYS.iter().filter(|key| key.role == Role::Used).map(|key| (key.name, value(key))).collect())
    }

    fn path(&self, name: &'static str) -> Option<PathBuf> {
        self.get(name).map(|(path, _)| path.into())
    }

    fn own_machine(
        &self,
        user: bool,
        public_ip: String,
        metadata: BTreeMap<String, String>,
    ) -> Result<MachineConfig, ConfigError> {
        let path = Path::new("/etc/machine-id");
        let wrong = |reason: String| ConfigError::MachineId { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|err| wrong(err.to_string()))?;
        let id = text.trim().parse().map_err(|err: fleet_core::model::MachineIdError| wrong(err.to_string()))?;
        let runtime: PathBuf = match user {
            false => "/run".into(),
            true => std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| "/run".into(), PathBuf::from),
        };
        let (systemd, unit_directory) = match (self.get("systemd_socket"), user) {
            (Some((socket, from)), _) => {
                let directory = self.path("unit_directory").ok_or_else(|| {
                    self.wrong("systemd_socket", socket, from, "unit_directory is needed, too".to_owned())
                })?;
                (SystemdAt::Socket(socket.into()), directory)
            }
            (None, true) => (SystemdAt::User, runtime.join("systemd/user")),
            (None, false) => (SystemdAt::System, runtime.join("systemd/system")),
        };
        let units_directory = self.path("units_directory").unwrap_or_else(|| runtime.join("fleet/units"));
        let folder = std::path::absolute(units_directory.join(machines::GUARD_FOLDER));
        let folder = folder.map_err(|err| wrong(err.to_string()))?;
        let guard_folder_there = crate::guard::unit::argument(&folder.to_string_lossy());
        let enter = Vec::new();
        Ok(MachineConfig {
            id,
            public_ip,
            metadata,
            systemd,
            units_directory,
            unit_directory,
            guard_folder_there,
            enter,
            user,
        })
    }
}

fn public_ip(text: &str) -> Result<String, String> {
    match text.parse::<std::net::IpAddr>() {
        _ if text.is_empty() => Ok(String::new()),
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("write an IPv4 or IPv6 address".to_owned()),
    }
}

fn advertise(text: &str) -> Result<Option<Advertised>, String> {
    match text.parse::<fleet_api::Endpoint>() {
        _ if text.is_empty() => Ok(None),
        Ok(endpoint) => Ok(Some(Advertised::Url(endpoint.to_string()))),
        Err(err) => Err(err.to_string()),
    }
}

fn listen(text: &str) -> Result<Vec<Listen>, String> {
    let one = |item: &str| match item.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(Listen::Unix(path.into())),
        Some(_) => Err(format!("`{item}` has no absolute path: write unix:///path")),
        None => match item.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => Ok(Listen::Tcp(item.to_owned())),
            _ => Err(format!("`{item}`: write unix:///path or host:port")),
        },
    };
    let text = if text.is_empty() { "unix:///run/fleet.sock" } else { text };
    text.split(',').map(str::trim).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().map_err(|err| err.to_string())?;
        let path = folder.path().join("fleet.conf");
        std::fs::write(&path, file).map_err(|err| err.to_string())?;
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let config = Settings::collect(Some(&path), environment, flags).and_then(Settings::check);
        config.map_err(|err| err.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn later_sources_win() {
        let ttl =
            |file, environment, flags| settings(file, environment, flags).map(|config| config.agent_ttl.as_secs());
        assert_eq!(ttl("", &[], &[]), Ok(30));
        assert_eq!(ttl("agent_ttl=10s", &[], &[]), Ok(10));
        assert_eq!(ttl("agent_ttl=10s", &[("FLEET_AGENT_TTL", "20s")], &[]), Ok(20));
        assert_eq!(ttl("agent_ttl=10s", &[("FLEET_AGENT_TTL", "")], &[]), Ok(30), "an empty variable overrides");
        assert_eq!(ttl("agent_ttl=10s", &[("FLEET_AGENT_TTL", "20s")], &[("agent_ttl", "40s")]), Ok(40));
    }

    #[test]
    fn a_socket_is_advertised_at_an_address_that_others_can_use() {
        let rows = [
            ("10.0.0.1:49153", "10.9.9.9", "http://10.0.0.1:49153"),
            ("0.0.0.0:49153", "10.9.9.9", "http://10.9.9.9:49153"),
            ("[::]:49153", "2001:db8::1", "http://[2001:db8::1]:49153"),
            ("0.0.0.0:49153", "", ""),
        ];
        for (socket, public_ip, url) in rows {
            let advertised = Advertised::Socket(socket.parse().expect("an address"));
            assert_eq!(advertised.url(public_ip, false), url, "{socket} with {public_ip}");
            let url = url.replace("http:", "https:");
            assert_eq!(advertised.url(public_ip, true), url, "{socket} with {public_ip}");
        }
        let said = settings("advertise=http://box:1", &[], &[]).map(|config| config.advertise);
        assert_eq!(said, Ok(Some(Advertised::Url("http://box:1".to_owned()))));
    }

    #[test]
    fn the_engine_is_as_patient_as_it_is_told() {
        let config = settings("", &[], &[]).expect("a config");
        assert_eq!((config.losses, config.leader_ttl.as_secs()), (EngineConfig::default(), 10));
        let text = "loss_grace=1m\nbrake_share=0.25\nbrake_min=5\nleader_ttl=4s";
        let config = settings(text, &[], &[]).expect("a config");
        let losses = EngineConfig { grace_ms: 60_000, brake_share: 0.25, brake_min: 5, ..EngineConfig::default() };
        assert_eq!((config.losses, config.leader_ttl.as_secs()), (losses, 4));
    }

    #[test]
    fn wrong_values_name_key_value_and_source() {
        type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
        let rows: &[Row<'_>] = &[
            ("verbosity=x", &[], "verbosity = `x` (FILE, line 1): write a whole number from 0 to 2"),
            (
                "\nagent_ttl=30",
                &[],
                "agent_ttl = `30` (FILE, line 2): write a duration with its unit, such as `30s`, `1m30s` or `500ms`",
            ),
            (
                "advertise=10.0.0.1:49153",
                &[],
                "advertise = `10.0.0.1:49153` (FILE, line 1): endpoint `10.0.0.1:49153` has no scheme: write `unix:///path`, `http://host:port` or `https://host:port`",
            ),
            ("agent_ttl=1s", &[], "agent_ttl = `1s` (FILE, line 1): at least 3 s, so that two renewals fit in"),
            ("agent_ttl=2h", &[], "agent_ttl = `2h` (FILE, line 1): at most 3600 s"),
            (
                "",
                &[("FLEET_DISABLE_ENGINE", "maybe")],
                "disable_engine = `maybe` (environment variable FLEET_DISABLE_ENGINE): write `true` or `false`",
            ),
            ("metadata=a=b,c", &[], "metadata = `a=b,c` (FILE, line 1): `c` has no `=`: write `key=value,key=value`"),
            ("public_ip=here", &[], "public_ip = `here` (FILE, line 1): write an IPv4 or IPv6 address"),
            (
                "listen=unix://run/x",
                &[],
                "listen = `unix://run/x` (FILE, line 1): `unix://run/x` has no absolute path: write unix:///path",
            ),
            (
                "listen=localhost",
                &[],
                "listen = `localhost` (FILE, line 1): `localhost`: write unix:///path or host:port",
            ),
            ("token_limit=0", &[], "token_limit = `0` (FILE, line 1): write a whole number from 1 to 65535"),
            ("token_limit=65536", &[], "token_limit = `65536` (FILE, line 1): write a whole number from 1 to 65535"),
            ("api_connections=1", &[], "api_connections = `1` (FILE, line 1): write a whole number from 16 to 1000000"),
            (
                "api_header_bytes=1",
                &[],
                "api_header_bytes = `1` (FILE, line 1): write a whole number from 8192 to 1048576",
            ),
            (
                "api_body_bytes=1",
                &[],
                "api_body_bytes = `1` (FILE, line 1): write a whole number from 4194304 to 1073741824",
            ),
            ("api_options=1", &[], "api_options = `1` (FILE, line 1): write a whole number from 100 to 1000000"),
            ("api_header_timeout=1ms", &[], "api_header_timeout = `1ms` (FILE, line 1): at least 1 s"),
            ("api_idle_timeout=25h", &[], "api_idle_timeout = `25h` (FILE, line 1): at most 24 h"),
            ("api_body_timeout=0s", &[], "api_body_timeout = `0s` (FILE, line 1): at least 1 s"),
            ("loss_grace=500ms", &[], "loss_grace = `500ms` (FILE, line 1): from 1 s to 86400 s"),
            ("leader_ttl=1h", &[], "leader_ttl = `1h` (FILE, line 1): from 3 s to 600 s"),
            (
                "brake_share=50",
                &[],
                "brake_share = `50` (FILE, line 1): write a number from 0 to 1, such as `0.5` for half",
            ),
            ("brake_min=-1", &[], "brake_min = `-1` (FILE, line 1): write a whole number from 0 to 100000"),
            ("store=mongo", &[], "store = `mongo` (FILE, line 1): write `embedded` or `etcd`"),
            ("systemd_socket=/x", &[], "systemd_socket = `/x` (FILE, line 1): unit_directory is needed, too"),
            ("nonsense", &[], "configuration file FILE, line 1: `nonsense` has no `=`; write `key = value`"),
        ];
        for (file, environment, expected) in rows {
            assert_eq!(settings(file, environment, &[]).map(|_| ()), Err((*expected).to_owned()), "{file}");
        }
    }

    #[test]
    fn what_can_be_reloaded_is_in_force_somewhere() {
        for name in RELOADED {
            assert!(KEYS.iter().any(|key| key.name == name && key.role == Role::Used), "{name}");
        }
    }

    #[test]
    fn differing_values_are_found_and_not_shown() {
        let config = |file| settings(file, &[], &[]).expect("a config");
        let (one, other) =
            (config("etcd_username=u\netcd_password=one"), config("etcd_username=u\netcd_password=two\nslices=1"));
        assert_eq!(one.values.differing(&other.values), ["etcd_password", "slices"]);
        assert_eq!(one.values.differing(&one.values), [""; 0]);
        assert!(!format!("{:?}", one.values).contains("one"));
    }

    #[test]
    fn old_and_unknown_keys_are_warnings() {
        let config =
            settings("store=embedded\nenable_grpc=true\netcd_servers=x\ncolour=red", &[], &[]).expect("a config");
        assert_eq!(config.warnings.len(), 3, "{:?}", config.warnings);
        assert!(config.warnings[0].contains("no key is called `colour`"), "{:?}", config.warnings);
    }

    #[test]
    fn a_machines_file_names_its_mistakes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("machines.toml");
        let machine = |id: &str| format!("[[machine]]\nid = '{id}'\nsystemd_socket = '/s'\nunit_directory = '/u'\n");
        let rows = [
            (machine("a1") + &machine("a2"), "2"),
            (machine("a1") + &machine("a1"), "names machine a1 twice"),
            (String::new(), "names no machine"),
            ("machine = []".to_owned(), "0"),
            (machine("a/1"), "machine 1"),
            ("machine = 1".to_owned(), "cannot be understood"),
        ];
        for (text, expected) in rows {
            std::fs::write(&path, &text).expect("a file");
            let said = machines::read(&path).map_or_else(|err| err.to_string(), |machines| machines.len().to_string());
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
