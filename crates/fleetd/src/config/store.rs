//! Where the cluster's memory is: the keys `store`, `store_path` and `etcd_*`.

use std::path::PathBuf;
use std::time::Duration;

use fleet_store::etcd::{self, EtcdConfig, IdentityFiles, User};

use super::{ConfigError, Settings, value};

/// Where etcd is when it is asked for but not said where. The original also tried port 4001, which etcd has long left.
const SERVERS_DEFAULT: &str = "http://127.0.0.1:2379";

/// One of the stores.
#[derive(Clone, Debug)]
pub enum StoreAt {
    /// A file on this machine, used by this process alone.
    Embedded(PathBuf),
    /// etcd.
    Etcd(EtcdConfig),
}

impl Settings {
    pub(super) fn store(&mut self) -> Result<StoreAt, ConfigError> {
        let is_etcd = match (self.get("store"), self.get("etcd_servers")) {
            (Some(("embedded", _)), servers) => {
                let warning = servers.map(|(_, from)| format!("etcd_servers ({from}) has no effect: store = embedded"));
                self.warnings.extend(warning);
                false
            }
            (Some(("etcd", _)), _) | (None, Some(_)) => true,
            (None, None) => false,
            (Some((store, from)), _) => {
                return Err(self.wrong("store", store, from, "write `embedded` or `etcd`".to_owned()));
            }
        };
        match is_etcd {
            true => Ok(StoreAt::Etcd(self.etcd()?)),
            false => {
                Ok(StoreAt::Embedded(self.path("store_path").unwrap_or_else(|| "/var/lib/fleet/store.redb".into())))
            }
        }
    }

    fn etcd(&self) -> Result<EtcdConfig, ConfigError> {
        let user = match (self.get("etcd_username"), self.get("etcd_password")) {
            (Some((name, _)), password) => {
                let password = password.map_or("", |(password, _)| password);
                Some(User { name: name.to_owned(), password: password.to_owned() })
            }
            (None, None) => None,
            // Without the password in the message.
            (None, Some((_, from))) => {
                let reason = "is needed where etcd_password is set".to_owned();
                return Err(self.wrong("etcd_username", "", from, reason));
            }
        };
        let identity = match (self.get("etcd_certfile"), self.get("etcd_keyfile")) {
            (Some((cert, _)), Some((key, _))) => Some(IdentityFiles { cert_file: cert.into(), key_file: key.into() }),
            (None, None) => None,
            (Some((cert, from)), None) => {
                return Err(self.wrong("etcd_certfile", cert, from, "etcd_keyfile is needed, too".to_owned()));
            }
            (None, Some((key, from))) => {
                return Err(self.wrong("etcd_keyfile", key, from, "etcd_certfile is needed, too".to_owned()));
            }
        };
        Ok(EtcdConfig {
            endpoints: self.read("etcd_servers", servers)?,
            prefix: self.read("etcd_key_prefix", prefix)?,
            user,
            ca_file: self.path("etcd_cafile"),
            identity,
            request_timeout: self.read("etcd_request_timeout", request_timeout)?,
        })
    }
}

/// `a,b` or `["a", "b"]`, as the original took them.
fn servers(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    let items = text.split(',').map(|item| item.trim_matches([' ', '\t', '"', '\'']));
    let items: Vec<&str> = items.filter(|item| !item.is_empty()).collect();
    if items.is_empty() {
        return Ok(vec![SERVERS_DEFAULT.to_owned()]);
    }
    let check = |item: &str| match etcd::check_endpoint(item) {
        Ok(()) => Ok(item.to_owned()),
        Err(reason) => Err(format!("`{item}`: {reason}")),
    };
    items.into_iter().map(check).collect()
}

/// With one slash at both ends, as the original understood it with and without them.
fn prefix(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    match parts.is_empty() {
        true => Err("write a path such as `/_coreos.com/fleet/`".to_owned()),
        false => Ok(format!("/{}/", parts.join("/"))),
    }
}

/// A duration, or seconds as a bare number, which is what the original took.
fn request_timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = seconds.map_or_else(|| value::duration(text), Ok)?;
    match time.is_zero() {
        true => Err("write more than nothing: every request has a limit here".to_owned()),
        false => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(file: &str, expected: Expect) {
        let mut settings = Settings::default();
        let lines = super::super::ini::parse(file).expect("a file").keys;
        for (name, (value, line)) in lines {
            let key = super::super::KEYS.iter().find(|key| key.name == name).expect("a key");
            settings.set(key, value, super::super::Source::File("FILE".into(), line));
        }
        let shown = match settings.store() {
            Ok(StoreAt::Embedded(path)) => format!("embedded: {}", path.display()),
            Ok(StoreAt::Etcd(config)) => format!("{config:#?}"),
            Err(err) => format!("error: {err}"),
        };
        let warnings = settings.warnings.iter().map(|warning| format!("\nwarning: {warning}"));
        expected.assert_eq(&(shown + &warnings.collect::<String>()));
    }

    #[test]
    fn stores() {
        check("", expect!["embedded: /var/lib/fleet/store.redb"]);
        check("store_path = /x", expect!["embedded: /x"]);
        check(
            "store = embedded\netcd_servers = http://h:1",
            expect![[r#"
            embedded: /var/lib/fleet/store.redb
            warning: etcd_servers (FILE, line 2) has no effect: store = embedded"#]],
        );
        check(
            "store = etcd",
            expect![[r#"
            EtcdConfig {
                endpoints: [
                    "http://127.0.0.1:2379",
                ],
                prefix: "/_coreos.com/fleet/",
                user: None,
                ca_file: None,
                identity: None,
                request_timeout: 3s,
            }"#]],
        );
        check(
            "etcd_servers = [\"http://a:2379\", 'https://b:2379']\netcd_key_prefix = /fleet\netcd_request_timeout = 1.5\n\
             etcd_username = u\netcd_password = secret\netcd_cafile = /ca\netcd_certfile = /cert\netcd_keyfile = /key",
            expect![[r#"
                EtcdConfig {
                    endpoints: [
                        "http://a:2379",
                        "https://b:2379",
                    ],
                    prefix: "/fleet/",
                    user: Some(
                        User {
                            name: "u",
                            ..
                        },
                    ),
                    ca_file: Some(
                        "/ca",
                    ),
                    identity: Some(
                        IdentityFiles {
                            cert_file: "/cert",
                            key_file: "/key",
                        },
                    ),
                    request_timeout: 1.5s,
                }"#]],
        );
    }

    #[test]
    fn mistakes() {
        check(
            "etcd_servers = localhost:2379",
            expect![
                "error: etcd_servers = `localhost:2379` (FILE, line 1): `localhost:2379`: write `http://host:port` or `https://host:port`"
            ],
        );
        check(
            "etcd_servers = http://h:1\netcd_key_prefix = /",
            expect!["error: etcd_key_prefix = `/` (FILE, line 2): write a path such as `/_coreos.com/fleet/`"],
        );
        check(
            "store = etcd\netcd_request_timeout = 0",
            expect![
                "error: etcd_request_timeout = `0` (FILE, line 2): write more than nothing: every request has a limit here"
            ],
        );
        check(
            "store = etcd\netcd_request_timeout = soon",
            expect![
                "error: etcd_request_timeout = `soon` (FILE, line 2): write a duration with its unit, such as `30s`, `1m30s` or `500ms`"
            ],
        );
        check(
            "store = etcd\netcd_password = secret",
            expect!["error: etcd_username = `` (FILE, line 2): is needed where etcd_password is set"],
        );
        check(
            "store = etcd\netcd_certfile = /cert",
            expect!["error: etcd_certfile = `/cert` (FILE, line 2): etcd_keyfile is needed, too"],
        );
        check(
            "store = etcd\netcd_keyfile = /key",
            expect!["error: etcd_keyfile = `/key` (FILE, line 2): etcd_certfile is needed, too"],
        );
    }
}
