//! The global settings: from flags, else from the environment, else the defaults. A value that cannot be read is an error.

use std::time::Duration;

use fleet_api::Endpoint;

use crate::cli::{GlobalArgs, seconds};
use crate::error::CommandError;
use crate::reach::settings::Reach;

/// Where fleetd listens if nothing else is said. The original's path; `/var/run` is `/run` today.
pub const DEFAULT_ENDPOINT: &str = "unix:///var/run/fleet.sock";

/// How long one request may take if nothing else is said, in seconds.
///
/// The original documented 3 s and had no limit at all. A request may carry thousands of unit files, so some more is right.
pub const DEFAULT_REQUEST_TIMEOUT_S: f64 = 10.0;

/// The variable of `--endpoint`.
pub const ENDPOINT_ENV: &str = "FLEETCTL_ENDPOINT";
const REQUEST_TIMEOUT_ENV: &str = "FLEETCTL_REQUEST_TIMEOUT";
const HELP_ENV: &str = "FLEETCTL_HELP";
const DEBUG_ENV: &str = "FLEETCTL_DEBUG";

/// What every command needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where fleetd is.
    pub endpoint: Endpoint,
    /// Whether nobody said where, so that the default was taken.
    pub endpoint_is_default: bool,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// Whether to say what is asked of fleetd.
    pub debug: bool,
    /// The ways to fleetd and to machines.
    pub reach: Reach,
    /// What is to be said of the settings before anything is done.
    pub notes: Vec<String>,
}

impl Settings {
    /// Puts flags and environment together. `env` looks a variable up; an empty one counts as not set.
    ///
    /// # Errors
    /// [`CommandError::Endpoint`], [`CommandError::BadEnv`], [`CommandError::BadFlag`], [`CommandError::PlainEndpoint`].
    pub fn resolve(args: &GlobalArgs, env: impl Fn(&str) -> Option<String>) -> Result<Settings, CommandError> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let given = args.endpoint.clone().or_else(|| env(ENDPOINT_ENV));
        let (endpoint_text, note) = first_of(given.as_deref().unwrap_or(DEFAULT_ENDPOINT));
        let endpoint: Endpoint =
            endpoint_text.parse().map_err(|err| CommandError::Endpoint { given: endpoint_text.to_owned(), err })?;
        let timeout_s = match (&args.request_timeout, env(REQUEST_TIMEOUT_ENV)) {
            (Some(value), _) => seconds(value).map_err(|reason| CommandError::BadFlag {
                flag: "request-timeout",
                value: value.clone(),
                reason,
            })?,
            (None, Some(value)) => seconds(&value).map_err(|reason| CommandError::BadEnv {
                name: REQUEST_TIMEOUT_ENV,
                value: value.clone(),
                reason,
            })?,
            (None, None) => DEFAULT_REQUEST_TIMEOUT_S,
        };
        let debug = match env(DEBUG_ENV) {
            _ if args.debug => true,
            None => false,
            Some(value) => truth(&value).ok_or_else(|| CommandError::BadEnv {
                name: DEBUG_ENV,
                value: value.clone(),
                reason: "it is neither true nor false".to_owned(),
            })?,
        };
        Ok(Settings {
            reach: Reach::resolve(&args.reach, &endpoint, &env)?,
            endpoint,
            endpoint_is_default: given.is_none(),
            request_timeout: Duration::from_secs_f64(timeout_s),
            debug,
            notes: note.into_iter().collect(),
        })
    }
}

/// The first of a list of endpoints, as in the original, and what to say of the others. A comma may also be part of a path.
fn first_of(endpoints: &str) -> (&str, Option<String>) {
    match endpoints.split_once(',') {
        Some((first, others)) if others.contains("://") => {
            (first, Some(format!("only the first of several endpoints is used: {first}")))
        }
        Some(_) | None => (endpoints, None),
    }
}

/// Whether the environment asks each command for its help alone, as it could in the original.
///
/// # Errors
/// [`CommandError::BadEnv`].
pub fn help_is_asked_for(env: impl Fn(&str) -> Option<String>) -> Result<bool, CommandError> {
    match env(HELP_ENV).filter(|value| !value.is_empty()) {
        None => Ok(false),
        Some(value) => truth(&value).ok_or_else(|| CommandError::BadEnv {
            name: HELP_ENV,
            value: value.clone(),
            reason: "it is neither true nor false".to_owned(),
        }),
    }
}

/// A setting as it was given.
pub struct Given {
    /// The name of the flag, without dashes, or of the variable.
    pub name: &'static str,
    /// As it was written.
    pub value: String,
    is_flag: bool,
}

impl Given {
    /// The flag, else the variable if it is not empty.
    pub fn find(
        flag: Option<&String>,
        flag_name: &'static str,
        variable: &'static str,
        env: &impl Fn(&str) -> Option<String>,
    ) -> Option<Given> {
        let from_flag = flag.map(|value| Given { name: flag_name, value: value.clone(), is_flag: true });
        let from_env = || env(variable).filter(|value| !value.is_empty());
        from_flag.or_else(|| from_env().map(|value| Given { name: variable, value, is_flag: false }))
    }

    /// The error that says why the value is of no use.
    pub fn refuse(self, reason: &str) -> CommandError {
        let (value, reason) = (self.value, reason.to_owned());
        if self.is_flag {
            CommandError::BadFlag { flag: self.name, value, reason }
        } else {
            CommandError::BadEnv { name: self.name, value, reason }
        }
    }

    /// The name, and which of the two it is.
    pub fn shown(&self) -> String {
        if self.is_flag { format!("`--{}`", self.name) } else { format!("environment variable `{}`", self.name) }
    }
}

/// Reads a truth value as the original did: the words of Go's `strconv.ParseBool`.
pub fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(flags: &[(&str, &str)], env: &[(&str, &str)], expected: &str) {
        let flag = |name: &str| flags.iter().find(|(flag, _)| *flag == name).map(|(_, value)| (*value).to_owned());
        let args = GlobalArgs {
            endpoint: flag("endpoint"),
            request_timeout: flag("request-timeout"),
            debug: flag("debug").is_some(),
            ..GlobalArgs::default()
        };
        let lookup = |name: &str| env.iter().find(|(var, _)| *var == name).map(|(_, value)| (*value).to_owned());
        let got = match Settings::resolve(&args, lookup) {
            Ok(settings) => {
                format!(
                    "{}{} {:?}{}",
                    settings.endpoint,
                    if settings.endpoint_is_default { " (default)" } else { "" },
                    settings.request_timeout,
                    if settings.debug { " debug" } else { "" }
                ) + &settings.notes.iter().map(|note| format!("; {note}")).collect::<String>()
            }
            Err(err) => err.to_string(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn flags_win_over_variables_and_variables_over_defaults() {
        check(&[], &[], "unix:///var/run/fleet.sock (default) 10s");
        check(&[], &[("FLEETCTL_ENDPOINT", "")], "unix:///var/run/fleet.sock (default) 10s");
        check(&[], &[("FLEETCTL_ENDPOINT", "unix:///a")], "unix:///a 10s");
        check(&[("endpoint", "http://h:1")], &[("FLEETCTL_ENDPOINT", "unix:///a")], "http://h:1 10s");
        check(&[], &[("FLEETCTL_REQUEST_TIMEOUT", "2.5")], "unix:///var/run/fleet.sock (default) 2.5s");
        check(
            &[("request-timeout", "4")],
            &[("FLEETCTL_REQUEST_TIMEOUT", "x")],
            "unix:///var/run/fleet.sock (default) 4s",
        );
        check(
            &[("endpoint", "unix:///a,http://h:1")],
            &[],
            "unix:///a 10s; only the first of several endpoints is used: unix:///a",
        );
        check(&[("endpoint", "unix:///a,b")], &[], "unix:///a,b 10s");
        check(&[("debug", "")], &[], "unix:///var/run/fleet.sock (default) 10s debug");
        check(&[], &[("FLEETCTL_DEBUG", "1")], "unix:///var/run/fleet.sock (default) 10s debug");
        check(&[], &[("FLEETCTL_DEBUG", "False")], "unix:///var/run/fleet.sock (default) 10s");
    }

    #[test]
    fn nonsense_is_an_error() {
        let no_number = "it is no number of seconds greater than 0 and at most 100000000";
        check(&[("endpoint", "fleet.sock")], &[], "cannot use `fleet.sock` as the endpoint");
        check(&[], &[("FLEETCTL_ENDPOINT", "unix://var/run/x")], "cannot use `unix://var/run/x` as the endpoint");
        for bad in ["soon", "0", "-1", "nan", "inf", "1e9"] {
            check(
                &[],
                &[("FLEETCTL_REQUEST_TIMEOUT", bad)],
                &format!("environment variable `FLEETCTL_REQUEST_TIMEOUT` has the value `{bad}`: {no_number}"),
            );
        }
        check(&[("request-timeout", "0")], &[], &format!("`--request-timeout` has the value `0`: {no_number}"));
        check(
            &[],
            &[("FLEETCTL_DEBUG", "maybe")],
            "environment variable `FLEETCTL_DEBUG` has the value `maybe`: it is neither true nor false",
        );
    }
}
