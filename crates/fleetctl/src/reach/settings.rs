//! What is said of the ways, from flags, else from the environment.

use fleet_api::Endpoint;
use fleet_api::tls::{IdentityFiles, TlsFiles};

use crate::cli::seconds;
use crate::error::CommandError;
use crate::reach::args::ReachArgs;
use crate::reach::ssh::{Gateway, HostKeys, Ssh};
use crate::settings::{Given, truth};

/// How to reach fleetd and machines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reach {
    /// What an `https` endpoint is held against, and what is shown to it.
    pub tls: TlsFiles,
    /// What is said of connections by ssh.
    pub ssh: Ssh,
    /// The host to go through.
    pub tunnel: Option<Gateway>,
}

/// How long a connection by ssh may take to be made if nothing else is said, in seconds. The original's default; without one it is up to
/// the kernel, which tries for two minutes.
const SSH_TIMEOUT_S: f64 = 10.0;

impl Reach {
    /// Puts flags and environment together. `env` looks a variable up; an empty one counts as not set.
    ///
    /// # Errors
    /// [`CommandError::BadEnv`], [`CommandError::BadFlag`], [`CommandError::PlainEndpoint`].
    pub fn resolve(
        args: &ReachArgs,
        endpoint: &Endpoint,
        env: &impl Fn(&str) -> Option<String>,
    ) -> Result<Reach, CommandError> {
        let tunnel = Given::find(args.tunnel.as_ref(), "tunnel", "FLEETCTL_TUNNEL", env);
        let gateway = |given: Given| Gateway::parse(&given.value).map_err(|reason| given.refuse(&reason));
        Ok(Reach { tls: tls(args, endpoint, env)?, ssh: ssh(args, env)?, tunnel: tunnel.map(gateway).transpose()? })
    }
}

fn ssh(args: &ReachArgs, env: &impl Fn(&str) -> Option<String>) -> Result<Ssh, CommandError> {
    let username = Given::find(args.ssh_username.as_ref(), "ssh-username", "FLEETCTL_SSH_USERNAME", env);
    let timeout = Given::find(args.ssh_timeout.as_ref(), "ssh-timeout", "FLEETCTL_SSH_TIMEOUT", env);
    let timeout_s = match timeout {
        None => SSH_TIMEOUT_S,
        Some(given) => seconds(&given.value).map_err(|reason| given.refuse(&reason))?,
    };
    let known_hosts = Given::find(args.known_hosts_file.as_ref(), "known-hosts-file", "FLEETCTL_KNOWN_HOSTS_FILE", env);
    let known_hosts_file = match known_hosts {
        Some(given) if given.value.contains(['"', '\n']) => {
            return Err(given.refuse("ssh cannot be told a name with quotes or line breaks in it"));
        }
        known_hosts => known_hosts.map(|given| given.value),
    };
    let checking = Given::find(
        args.strict_host_key_checking.as_ref(),
        "strict-host-key-checking",
        "FLEETCTL_STRICT_HOST_KEY_CHECKING",
        env,
    );
    let host_keys = match checking {
        None => None,
        Some(given) => Some(
            host_keys(&given.value)
                .ok_or_else(|| given.refuse("write `true`, `false`, `yes`, `ask`, `accept-new`, `no` or `off`"))?,
        ),
    };
    // ssh counts whole seconds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 1 to 100,000,000")]
    let connect_timeout_s = timeout_s.ceil() as u32;
    Ok(Ssh { username: username.map(|given| given.value), connect_timeout_s, known_hosts_file, host_keys })
}

/// The words that ssh has for it mean what they mean there; the original's were truth values, and its `true` asked about hosts that it did
/// not know, as `ask` does.
fn host_keys(text: &str) -> Option<HostKeys> {
    let word = ["yes", "ask", "accept-new", "no", "off"].into_iter().find(|word| *word == text).map(HostKeys::Word);
    let truth = || truth(text).map(|check| if check { HostKeys::Word("ask") } else { HostKeys::Unchecked });
    word.or_else(truth)
}

fn tls(args: &ReachArgs, endpoint: &Endpoint, env: &impl Fn(&str) -> Option<String>) -> Result<TlsFiles, CommandError> {
    // The second variable is that of the flag's old name.
    let given = |flag: Option<&String>, name, variable, former| {
        Given::find(flag, name, variable, env).or_else(|| Given::find(None, name, former, env))
    };
    let ca = given(args.ca_file.as_ref(), "ca-file", "FLEETCTL_CA_FILE", "FLEETCTL_ETCD_CAFILE");
    let cert = given(args.cert_file.as_ref(), "cert-file", "FLEETCTL_CERT_FILE", "FLEETCTL_ETCD_CERTFILE");
    let key = given(args.key_file.as_ref(), "key-file", "FLEETCTL_KEY_FILE", "FLEETCTL_ETCD_KEYFILE");
    if !endpoint.is_tls() {
        // A socket on this machine needs no protection; a host does, and who names these files believes to have it.
        let plain = matches!(endpoint, Endpoint::Http(_));
        return match ca.or(cert).or(key).filter(|_| plain) {
            Some(given) => Err(CommandError::PlainEndpoint { endpoint: endpoint.clone(), given: given.shown() }),
            None => Ok(TlsFiles::default()),
        };
    }
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some(IdentityFiles { cert_file: cert.value.into(), key_file: key.value.into() }),
        (None, None) => None,
        (Some(cert), None) => return Err(cert.refuse("the key is needed, too: `--key-file` or FLEETCTL_KEY_FILE")),
        (None, Some(key)) => {
            return Err(key.refuse("the certificate is needed, too: `--cert-file` or FLEETCTL_CERT_FILE"));
        }
    };
    Ok(TlsFiles { ca_file: ca.map(|ca| ca.value.into()), identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_tls(endpoint: &str, flags: [Option<&str>; 3], env: &[(&str, &str)], expected: &str) {
        let [ca_file, cert_file, key_file] = flags.map(|flag| flag.map(str::to_owned));
        let args = ReachArgs { ca_file, cert_file, key_file, ..ReachArgs::default() };
        let lookup = |name: &str| env.iter().find(|(var, _)| *var == name).map(|(_, value)| (*value).to_owned());
        let endpoint = endpoint.parse().expect("an endpoint");
        let shown = match Reach::resolve(&args, &endpoint, &lookup) {
            Ok(Reach { tls: TlsFiles { ca_file, identity }, .. }) => {
                let identity = identity.map(|files| [files.cert_file, files.key_file]);
                let files = ca_file.into_iter().chain(identity.into_iter().flatten());
                files.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
            }
            Err(err) => err.to_string(),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn files_of_tls() {
        let none = [None; 3];
        check_tls("https://h:1", none, &[], "");
        check_tls("https://h:1", [Some("a"), Some("c"), Some("k")], &[("FLEETCTL_CA_FILE", "x")], "a c k");
        check_tls("https://h:1", none, &[("FLEETCTL_CA_FILE", "x"), ("FLEETCTL_ETCD_CAFILE", "y")], "x");
        check_tls(
            "https://h:1",
            none,
            &[("FLEETCTL_ETCD_CAFILE", "y"), ("FLEETCTL_CERT_FILE", "c"), ("FLEETCTL_ETCD_KEYFILE", "k")],
            "y c k",
        );
        check_tls(
            "https://h:1",
            [None, Some("c"), None],
            &[],
            "`--cert-file` has the value `c`: the key is needed, too: `--key-file` or FLEETCTL_KEY_FILE",
        );
        check_tls(
            "https://h:1",
            none,
            &[("FLEETCTL_KEY_FILE", "k")],
            "environment variable `FLEETCTL_KEY_FILE` has the value `k`: the certificate is needed, too: `--cert-file` or \
             FLEETCTL_CERT_FILE",
        );
        // A socket needs none; a host that is asked in the clear is no place for them.
        check_tls("unix:///x", [Some("a"), None, None], &[], "");
        check_tls("http://h:1", none, &[], "");
        check_tls("http://h:1", [Some("a"), None, None], &[], "`--ca-file` is for TLS, and http://h:1 is without");
        check_tls(
            "http://h:1",
            none,
            &[("FLEETCTL_KEY_FILE", "k")],
            "environment variable `FLEETCTL_KEY_FILE` is for TLS, and http://h:1 is without",
        );
    }

    #[track_caller]
    fn check_ssh(args: ReachArgs, env: &[(&str, &str)], expected: &str) {
        let lookup = |name: &str| env.iter().find(|(var, _)| *var == name).map(|(_, value)| (*value).to_owned());
        let endpoint = "unix:///x".parse().expect("an endpoint");
        let shown = match Reach::resolve(&args, &endpoint, &lookup) {
            Ok(Reach { ssh, tunnel, .. }) => {
                let Ssh { username, connect_timeout_s, known_hosts_file, host_keys } = ssh;
                let host = tunnel.map(|gateway| gateway.host);
                format!("{username:?} {connect_timeout_s} {known_hosts_file:?} {host_keys:?} {host:?}")
            }
            Err(err) => err.to_string(),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn ways_by_ssh() {
        let some = |text: &str| Some(text.to_owned());
        check_ssh(ReachArgs::default(), &[], "None 10 None None None");
        let all = ReachArgs {
            ssh_username: some("core"),
            ssh_timeout: some("0.5"),
            known_hosts_file: some("~/.fleetctl/known_hosts"),
            strict_host_key_checking: some("false"),
            tunnel: some("gate:2222"),
            ..ReachArgs::default()
        };
        let env = [
            ("FLEETCTL_SSH_USERNAME", "me"),
            ("FLEETCTL_SSH_TIMEOUT", "61"),
            ("FLEETCTL_KNOWN_HOSTS_FILE", "k"),
            ("FLEETCTL_STRICT_HOST_KEY_CHECKING", "accept-new"),
            ("FLEETCTL_TUNNEL", "other"),
        ];
        check_ssh(all, &env, "Some(\"core\") 1 Some(\"~/.fleetctl/known_hosts\") Some(Unchecked) Some(\"gate\")");
        check_ssh(ReachArgs::default(), &env, "Some(\"me\") 61 Some(\"k\") Some(Word(\"accept-new\")) Some(\"other\")");
        let checking = |word: &str| ReachArgs { strict_host_key_checking: some(word), ..ReachArgs::default() };
        check_ssh(checking("true"), &[], "None 10 None Some(Word(\"ask\")) None");
        check_ssh(checking("yes"), &[], "None 10 None Some(Word(\"yes\")) None");
        check_ssh(
            checking("perhaps"),
            &[],
            "`--strict-host-key-checking` has the value `perhaps`: write `true`, `false`, `yes`, `ask`, `accept-new`, `no` or `off`",
        );
        check_ssh(
            ReachArgs::default(),
            &[("FLEETCTL_TUNNEL", "gate:ssh")],
            "environment variable `FLEETCTL_TUNNEL` has the value `gate:ssh`: its port is no number from 1 to 65535",
        );
        check_ssh(
            ReachArgs { known_hosts_file: some("a\"b"), ..ReachArgs::default() },
            &[],
            "`--known-hosts-file` has the value `a\"b`: ssh cannot be told a name with quotes or line breaks in it",
        );
    }
}
