//! Flags of the original that have no meaning any more. They are taken, so that old scripts run, and a word says what became of them.

use clap::Args;

use crate::console::Console;
use crate::error::CommandError;
use crate::settings::{Given, truth};

/// Global flags of the original that are no settings of ours.
#[derive(Clone, Debug, Default, Args)]
pub struct FormerArgs {
    /// How to reach the cluster: only by fleetd's API
    #[arg(long, global = true, hide = true, value_name = "DRIVER")]
    pub driver: Option<String>,
    /// Where the original kept its state in etcd
    #[arg(long, global = true, hide = true, value_name = "PREFIX")]
    pub etcd_key_prefix: Option<String>,
    /// Whether to use the API
    #[arg(long, global = true, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub experimental_api: Option<String>,
}

/// What `verify` says, in the original's words.
pub fn verify(console: &Console) {
    console.talk("Command \"verify\" is deprecated, DEPRECATED - No longer works");
    console.talk("WARNING: The signed/verified units feature is DEPRECATED and cannot be used.");
}

/// Flags of `status` and `journal` that were for the way by ssh.
#[derive(Clone, Debug, Default, Args)]
pub struct WayArgs {
    /// Where sshd listens
    #[arg(long, hide = true, value_name = "PORT")]
    pub ssh_port: Option<u16>,
    /// Read the journal as root
    #[arg(long, hide = true)]
    pub sudo: bool,
}

impl WayArgs {
    /// What is to be said of them.
    pub fn notes(&self) -> Vec<&'static str> {
        let port = self.ssh_port.map(|_| "`--ssh-port` has no effect: fleetd is asked, and no ssh is needed");
        let sudo = self.sudo.then_some("`--sudo` has no effect: fleetd reads the journal of its machine itself");
        port.into_iter().chain(sudo).collect()
    }
}

/// What is to be said of former settings that are given.
///
/// # Errors
/// [`CommandError::BadFlag`], [`CommandError::BadEnv`] for what would have had a meaning that we cannot give it, or is nonsense.
pub fn notes(args: &FormerArgs, env: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, CommandError> {
    let mut notes = Vec::new();
    if let Some(given) = Given::find(args.driver.as_ref(), "driver", "FLEETCTL_DRIVER", &env) {
        match given.value.as_str() {
            "API" | "api" => (),
            "etcd" => {
                let reason = "fleetctl asks fleetd, and fleetd alone reads etcd: leave it out, and say with `--endpoint` where a fleetd is";
                return Err(given.refuse(reason));
            }
            _ => return Err(given.refuse("unrecognized driver: there is only `API`")),
        }
    }
    if let Some(given) = Given::find(args.etcd_key_prefix.as_ref(), "etcd-key-prefix", "FLEETCTL_ETCD_KEY_PREFIX", &env)
    {
        notes.push(format!("{} has no effect: fleetd's own configuration says where its state is kept", given.shown()));
    }
    if let Some(given) =
        Given::find(args.experimental_api.as_ref(), "experimental-api", "FLEETCTL_EXPERIMENTAL_API", &env)
    {
        match truth(&given.value) {
            Some(true) => (),
            Some(false) => notes.push(format!("{} has no effect: there is only the API", given.shown())),
            None => return Err(given.refuse("it is neither true nor false")),
        }
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(flags: [Option<&str>; 3], env: &[(&str, &str)], expected: &str) {
        let [driver, etcd_key_prefix, experimental_api] = flags.map(|flag| flag.map(str::to_owned));
        let args = FormerArgs { driver, etcd_key_prefix, experimental_api };
        let lookup = |name: &str| env.iter().find(|(var, _)| *var == name).map(|(_, value)| (*value).to_owned());
        let got = notes(&args, lookup).map_or_else(|err| format!("error: {err}"), |notes| notes.join("\n"));
        assert_eq!(got, expected);
    }

    #[test]
    fn what_became_of_each() {
        check([None; 3], &[], "");
        check([Some("API"), None, Some("true")], &[], "");
        check([None; 3], &[("FLEETCTL_DRIVER", ""), ("FLEETCTL_EXPERIMENTAL_API", "1")], "");
        let prefix = "has no effect: fleetd's own configuration says where its state is kept";
        check([None, Some("/x/"), None], &[], &format!("`--etcd-key-prefix` {prefix}"));
        check(
            [None; 3],
            &[("FLEETCTL_ETCD_KEY_PREFIX", "/x/")],
            &format!("environment variable `FLEETCTL_ETCD_KEY_PREFIX` {prefix}"),
        );
        check([None, None, Some("false")], &[], "`--experimental-api` has no effect: there is only the API");
        let etcd = "fleetctl asks fleetd, and fleetd alone reads etcd: leave it out, and say with `--endpoint` where a fleetd is";
        check([Some("etcd"), None, None], &[], &format!("error: `--driver` has the value `etcd`: {etcd}"));
        check(
            [None; 3],
            &[("FLEETCTL_DRIVER", "etcd")],
            &format!("error: environment variable `FLEETCTL_DRIVER` has the value `etcd`: {etcd}"),
        );
        check(
            [Some("x"), None, None],
            &[],
            "error: `--driver` has the value `x`: unrecognized driver: there is only `API`",
        );
        check(
            [None, None, Some("x")],
            &[],
            "error: `--experimental-api` has the value `x`: it is neither true nor false",
        );
    }
}
