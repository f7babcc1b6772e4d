//! Command lines of the user's `ssh`. Nothing is run here.
//!
//! What is not asked for is left to ssh and its configuration.

use std::path::Path;

use fleet_api::Endpoint;

/// The program, looked for in PATH.
pub const PROGRAM: &str = "ssh";

/// ssh's own exit code: the connection could not be made, or broke off. Source: ssh(1), EXIT STATUS.
pub const FAILED: u8 = 255;

/// What is said of all connections by ssh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ssh {
    /// As whom to log in.
    pub username: Option<String>,
    /// How long a connection may take to be made, in seconds.
    pub connect_timeout_s: u32,
    /// Where host keys are kept, as ssh reads it: `~` stands for the home directory.
    pub known_hosts_file: Option<String>,
    /// What is done about host keys.
    pub host_keys: Option<HostKeys>,
}

/// What is done about the key of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeys {
    /// A word that ssh knows for `StrictHostKeyChecking`.
    Word(&'static str),
    /// Nothing is checked and nothing is kept.
    Unchecked,
}

/// A host through which connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// As whom to log in there, if that is said with it.
    pub username: Option<String>,
    /// Its name or address, or its name in the configuration of ssh.
    pub host: String,
    /// Where its sshd listens.
    pub port: Option<u16>,
}

impl Gateway {
    /// Reads `HOST[:PORT]`, also with `USER@` in front; an IPv6 address with a port stands in brackets.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(given: &str) -> Result<Gateway, String> {
        let (username, address) = match given.rsplit_once('@') {
            Some((username, address)) => (Some(username.to_owned()), address),
            None => (None, given),
        };
        let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or_default())),
            // More than one colon is an IPv6 address.
            None => match address.split_once(':') {
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                _ => (address, None),
            },
        };
        let port = port
            .map(|port| port.parse().ok().filter(|&port: &u16| port != 0))
            .map(|port| port.ok_or_else(|| "its port is no number from 1 to 65535".to_owned()));
        let host = check_host(host)?.to_owned();
        Ok(Gateway { username, host, port: port.transpose()? })
    }
}

impl std::fmt::Display for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)
    }
}

/// A host as ssh may be told it: an address of a machine comes from the cluster, and must not be taken for an option, nor for words
/// of a shell where ssh puts it into a command.
///
/// # Errors
/// What is wrong with it.
pub fn check_host(host: &str) -> Result<&str, String> {
    let plain = |ch: char| ch.is_ascii_alphanumeric() || "._-:%".contains(ch);
    match host.is_empty() || host.starts_with('-') || !host.chars().all(plain) {
        true => Err(format!("`{host}` is no name or address of a host")),
        false => Ok(host),
    }
}

impl Ssh {
    /// Options that hold for every connection.
    fn options(&self, username: Option<&str>, port: Option<u16>) -> Vec<String> {
        let mut options = vec!["-o".to_owned(), format!("ConnectTimeout={}", self.connect_timeout_s)];
        let mut add = |words: [String; 2]| options.extend(words);
        if let Some(username) = username.or(self.username.as_deref()) {
            add(["-l".to_owned(), username.to_owned()]);
        }
        if let Some(port) = port {
            add(["-p".to_owned(), port.to_string()]);
        }
        let known_hosts_file = match self.host_keys {
            Some(HostKeys::Unchecked) => {
                add(["-o".to_owned(), "GlobalKnownHostsFile=/dev/null".to_owned()]);
                add(["-o".to_owned(), "StrictHostKeyChecking=no".to_owned()]);
                // What ssh says of the key that it puts there means nothing.
                add(["-o".to_owned(), "LogLevel=ERROR".to_owned()]);
                Some("/dev/null")
            }
            Some(HostKeys::Word(word)) => {
                add(["-o".to_owned(), format!("StrictHostKeyChecking={word}")]);
                self.known_hosts_file.as_deref()
            }
            None => self.known_hosts_file.as_deref(),
        };
        if let Some(path) = known_hosts_file {
            add(["-o".to_owned(), format!("UserKnownHostsFile=\"{}\"", escape_tokens(path))]);
        }
        options
    }

    /// The words that run `command` on `host`, or a shell if it is empty; `proxy` is a shell's line that reaches the host.
    ///
    /// The words of `command` are put together with blanks by ssh, for the remote shell to read, as ever.
    pub fn session(
        &self,
        host: &str,
        port: Option<u16>,
        forward_agent: bool,
        proxy: Option<&str>,
        command: &[String],
    ) -> Vec<String> {
        let mut words = self.options(None, port);
        words.extend(forward_agent.then(|| "-A".to_owned()));
        if let Some(proxy) = proxy {
            words.extend(["-o".to_owned(), format!("ProxyCommand={proxy}")]);
        }
        if !command.is_empty() {
            // ssh refuses two commands, and ours was typed just now.
            words.extend(["-o".to_owned(), "RemoteCommand=none".to_owned()]);
        }
        words.extend(["--".to_owned(), host.to_owned()]);
        words.extend_from_slice(command);
        words
    }

    /// The words that hold a tunnel through `gateway` open: to `endpoint` from the socket `api`, and for other connections to machines
    /// behind it at the socket `control`.
    pub fn tunnel(&self, gateway: &Gateway, endpoint: &Endpoint, api: &Path, control: &Path) -> Vec<String> {
        let to = match endpoint {
            Endpoint::Unix(path) => escape_forward(&path.display().to_string()),
            Endpoint::Http(_) => {
                endpoint.host_and_port().map(|(host, port)| format!("{host}:{port}")).unwrap_or_default()
            }
        };
        let mut words: Vec<String> = ["-N", "-T", "-x", "-a", "-M", "-S"].map(str::to_owned).into();
        words.push(escape_tokens(&control.display().to_string()));
        // It ends with this command, and is no place for what is configured for sessions.
        for option in ["ControlPersist=no", "PermitLocalCommand=no", "RemoteCommand=none"] {
            words.extend(["-o".to_owned(), option.to_owned()]);
        }
        words.extend(["-L".to_owned(), format!("{}:{to}", escape_forward(&api.display().to_string()))]);
        words.extend(self.options(gateway.username.as_deref(), gateway.port));
        words.extend(["--".to_owned(), gateway.host.clone()]);
        words
    }

    /// A shell's line that reaches a host behind `gateway` through the tunnel that is open at `control`. The host is filled in by ssh.
    pub fn proxy(&self, gateway: &Gateway, control: &Path) -> Option<String> {
        let mut words = vec![PROGRAM.to_owned(), "-S".to_owned(), control.display().to_string()];
        words.extend(["-o", "ControlMaster=no"].map(str::to_owned));
        // For the case that the tunnel is gone by then.
        words.extend(self.options(gateway.username.as_deref(), gateway.port));
        let before = escape_tokens(&shlex::try_join(words.iter().map(String::as_str)).ok()?);
        let host = shlex::try_quote(&gateway.host).ok()?;
        Some(format!("{before} -W [%h]:%p -- {}", escape_tokens(&host)))
    }
}

/// ssh replaces tokens such as `%h` in what it is told.
fn escape_tokens(text: &str) -> String {
    text.replace('%', "%%")
}

/// Colons part the ends of a forwarding.
fn escape_forward(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Ssh {
        Ssh { connect_timeout_s: 10, ..Ssh::default() }
    }

    #[test]
    fn gateways() {
        let check = |given: &str, expected: Result<(Option<&str>, &str, Option<u16>), &str>| {
            let parsed = Gateway::parse(given);
            let parsed = parsed.as_ref().map(|one| (one.username.as_deref(), one.host.as_str(), one.port));
            assert_eq!(parsed.map_err(String::as_str), expected, "{given}");
        };
        check("gate", Ok((None, "gate", None)));
        check("gate.example:2222", Ok((None, "gate.example", Some(2222))));
        check("me@gate:22", Ok((Some("me"), "gate", Some(22))));
        check("10.0.0.1", Ok((None, "10.0.0.1", None)));
        check("2001:db8::1", Ok((None, "2001:db8::1", None)));
        check("[2001:db8::1]", Ok((None, "2001:db8::1", None)));
        check("[2001:db8::1]:2222", Ok((None, "2001:db8::1", Some(2222))));
        check("fe80::1%eth0", Ok((None, "fe80::1%eth0", None)));
        for port in ["gate:", "gate:0", "gate:ssh", "gate:65536", "[::1]22"] {
            check(port, Err("its port is no number from 1 to 65535"));
        }
        check("", Err("`` is no name or address of a host"));
        check("-oProxyCommand=x", Err("`-oProxyCommand=x` is no name or address of a host"));
        check("a;b", Err("`a;b` is no name or address of a host"));
    }

    #[track_caller]
    fn check(words: &[String], expected: &str) {
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn sessions() {
        let command = ["ls", "-l", "/tmp/a b"].map(str::to_owned);
        check(&plain().session("10.0.0.1", None, false, None, &[]), "-o ConnectTimeout=10 -- 10.0.0.1");
        check(
            &plain().session("10.0.0.1", Some(2222), true, None, &command),
            "-o ConnectTimeout=10 -p 2222 -A -o RemoteCommand=none -- 10.0.0.1 ls -l /tmp/a b",
        );
        let ssh = Ssh {
            username: Some("core".to_owned()),
            connect_timeout_s: 3,
            known_hosts_file: Some("~/.fleetctl/100%".to_owned()),
            host_keys: Some(HostKeys::Word("accept-new")),
        };
        check(
            &ssh.session("::1", None, false, Some("proxy %h"), &[]),
            "-o ConnectTimeout=3 -l core -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=\"~/.fleetctl/100%%\" -o \
             ProxyCommand=proxy %h -- ::1",
        );
        check(
            &Ssh { host_keys: Some(HostKeys::Unchecked), ..ssh }.session("h", None, false, None, &[]),
            "-o ConnectTimeout=3 -l core -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR -o \
             UserKnownHostsFile=\"/dev/null\" -- h",
        );
    }

    #[test]
    fn tunnels() {
        let gateway = Gateway::parse("me@gate:2222").expect("a gateway");
        let line = |endpoint: &str| {
            let endpoint = endpoint.parse().expect("an endpoint");
            plain().tunnel(&gateway, &endpoint, Path::new("/t/api"), Path::new("/t/control")).join(" ")
        };
        let begin = "-N -T -x -a -M -S /t/control -o ControlPersist=no -o PermitLocalCommand=no -o RemoteCommand=none";
        let end = "-o ConnectTimeout=10 -l me -p 2222 -- gate";
        assert_eq!(line("unix:///run/a:b.sock"), format!("{begin} -L /t/api:/run/a\\:b.sock {end}"));
        assert_eq!(line("http://127.0.0.1:49153"), format!("{begin} -L /t/api:127.0.0.1:49153 {end}"));
        assert_eq!(line("https://[::1]"), format!("{begin} -L /t/api:[::1]:443 {end}"));
        assert_eq!(
            plain().proxy(&gateway, Path::new("/t t/50%")).as_deref(),
            Some("ssh -S '/t t/50%%' -o 'ControlMaster=no' -o 'ConnectTimeout=10' -l me -p 2222 -W [%h]:%p -- gate"),
        );
    }
}
