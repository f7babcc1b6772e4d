//! What can stand where the cursor is.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _};
use fleet_api::{Client, ClientError};

use crate::cli::{Cli, GlobalArgs};
use crate::flags;
use crate::names;
use crate::reach;
use crate::reach::args::ReachArgs;
use crate::render::table;
use crate::settings::Settings;
use crate::wait;

/// How long the cluster may take to say what it has; a person waits with a finger on the key.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// One word that can stand there.
#[derive(Debug)]
pub struct Candidate {
    /// The whole word.
    pub value: String,
    /// What it is, on one line; may be empty.
    pub about: String,
}

/// All that can stand for the last of `words`; none if that cannot be told.
pub fn of(words: &[String]) -> Vec<Candidate> {
    let Some((current, before)) = words.split_last() else { return Vec::new() };
    let cluster = Arc::new(Cluster { settings: settings(before) });
    let mut cli = with_short_commands(with_names(Cli::command(), &cluster));
    let before = before.iter().map(OsString::from).collect();
    let mut args = flags::as_parsed(&Cli::command(), before);
    args.push(current.into());
    let index = args.len() - 1;
    let found = clap_complete::engine::complete(&mut cli, args, index, None).unwrap_or_default();
    // Flags are for those who begin one: in front of an empty word they would hide the names.
    let wanted = |value: &str| current.starts_with('-') || !value.starts_with('-');
    let candidate = |one: CompletionCandidate| {
        let value = one.get_value().to_str().filter(|value| wanted(value))?.to_owned();
        let about = one.get_help().map(ToString::to_string).unwrap_or_default();
        Some(Candidate { value, about: about.lines().next().unwrap_or_default().to_owned() })
    };
    // What is hidden from the help is not for people.
    found.into_iter().filter(|one| !one.is_hide_set()).filter_map(candidate).collect()
}

/// The cluster that the line is for; `None` if nonsense is in the line or in the environment, or if it is behind a tunnel.
fn settings(words: &[String]) -> Option<Settings> {
    let ours = words.iter().take_while(|word| *word != "--");
    let next = ours.clone().skip(1).map(Some).chain([None]);
    let given = |flag: &str| {
        let values = ours.clone().zip(next.clone()).filter_map(|(word, next)| match word.strip_prefix(flag) {
            Some("") => next.cloned(),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        });
        values.last()
    };
    let (ca_file, cert_file, key_file) = (given("--ca-file"), given("--cert-file"), given("--key-file"));
    let reach = ReachArgs { ca_file, cert_file, key_file, tunnel: given("--tunnel"), ..ReachArgs::default() };
    let args = GlobalArgs { endpoint: given("--endpoint"), reach, ..GlobalArgs::default() };
    let settings = Settings::resolve(&args, |name| std::env::var(name).ok()).ok()?;
    // ssh may ask for a password, and takes its time: not while somebody types.
    settings.reach.tunnel.is_none().then_some(settings)
}

/// Lets the arguments that take units and machines be completed. They are known by the name that the help gives to the value, so
/// that a new command is completed without a word here.
fn with_names(command: Command, cluster: &Arc<Cluster>) -> Command {
    let reads_files = ["submit", "load", "start"].contains(&command.get_name());
    let completed = |arg: Arg| {
        let named = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        let cluster = Arc::clone(cluster);
        match named.as_deref() {
            Some("UNIT") => {
                arg.add(ArgValueCompleter::new(move |current: &OsStr| units_and_files(&cluster, current, reads_files)))
            }
            Some("ID") => arg.add(ArgValueCompleter::new(move |current: &OsStr| cluster.machines(current))),
            Some("TARGET") => arg.add(ArgValueCompleter::new(move |current: &OsStr| {
                let mut found = cluster.units(current);
                found.extend(cluster.machines(current));
                found
            })),
            Some(_) | None => arg,
        }
    };
    command.mut_args(completed).mut_subcommands(|one| with_names(one, cluster))
}

/// Lets a command be known by any beginning that no other command has, as the parser does; the engine does not.
fn with_short_commands(command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    let names: Vec<String> = names.into_iter().chain(["help".to_owned()]).collect();
    command.mut_subcommands(|one| {
        let own = one.get_name().to_owned();
        let begins = (1..own.len()).filter_map(|len| own.get(..len));
        let is_own = |begin: &&str| names.iter().filter(|name| name.starts_with(begin)).count() == 1;
        let begins: Vec<String> = begins.filter(is_own).map(str::to_owned).collect();
        with_short_commands(one.aliases(begins))
    })
}

/// Units of the cluster; and files, where files are read, or where a path has begun, for a path names a unit everywhere.
fn units_and_files(cluster: &Cluster, current: &OsStr, reads_files: bool) -> Vec<CompletionCandidate> {
    let is_path = current.to_string_lossy().contains('/');
    let mut found = if is_path { Vec::new() } else { cluster.units(current) };
    if is_path || reads_files {
        found.extend(PathCompleter::any().complete(current));
    }
    found
}

/// Where names come from.
struct Cluster {
    settings: Option<Settings>,
}

impl Cluster {
    fn units(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let Some(begin) = current.to_str().filter(|begin| !names::is_glob(begin)) else { return Vec::new() };
        let globs = [format!("{}*", names::escape(begin))];
        let Some(list) = self.ask(async |client| client.units(&globs).await) else { return Vec::new() };
        let units = list.units.into_iter().filter(|unit| wait::exists(unit) && unit.name.starts_with(begin));
        let candidate = |unit: fleet_api::v2::Unit| {
            let about = [Some(unit.current_state.as_str().to_owned()), unit.description];
            let about = about.into_iter().flatten().collect::<Vec<_>>().join(", ");
            CompletionCandidate::new(unit.name).help(Some(about.into()))
        };
        units.map(candidate).collect()
    }

    fn machines(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let Some(list) = self.ask(async |client| client.machines().await) else { return Vec::new() };
        let begin = current.to_string_lossy();
        let machines = list.machines.into_iter().filter(|machine| machine.id.starts_with(begin.as_ref()));
        let candidate = |machine: fleet_api::v2::Machine| {
            let metadata = table::metadata(&machine.metadata);
            let about = [machine.ip, Some(metadata).filter(|text| !text.is_empty())];
            let about = about.into_iter().flatten().collect::<Vec<_>>().join(" ");
            CompletionCandidate::new(machine.id).help(Some(about.into()))
        };
        machines.map(candidate).collect()
    }

    /// One question to fleetd. No answer in time and no answer at all are the same here: nothing is known.
    fn ask<T>(&self, question: impl AsyncFnOnce(Client) -> Result<T, ClientError>) -> Option<T> {
        let settings = self.settings.as_ref()?;
        let limit = settings.request_timeout.min(ANSWER_WITHIN);
        let client = reach::client(settings, limit, None).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(question(client)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let found: Vec<String> = of(&words).into_iter().map(|one| one.value).collect();
        assert_eq!(found.join(" "), expected, "{line}");
    }

    #[test]
    fn commands_and_flags() {
        check("fleetctl st", "start stop status");
        check("fleetctl machine un", "uncordon");
        check("fleetctl mach un", "uncordon");
        check("fleetctl list-m --f", "--full --fields");
        check("fleetctl status --output js", "json");
        check("fleetctl status --output=js", "--output=json");
        check("fleetctl --no-block dev --store e", "embedded etcd");
        check("fleetctl help list-u", "list-units list-unit-files");
        check("fleetctl completion ", "bash zsh fish");
        // Commands of the scripts are for nobody else.
        check("fleetctl __", "");
        check("fleetctl version ", "");
    }

    #[test]
    fn no_cluster_is_no_error() {
        check("fleetctl --endpoint unix:///nowhere/fleet.sock stop a", "");
        check("fleetctl --endpoint nonsense stop a", "");
        check("fleetctl stop --endpoint=unix:///nowhere/fleet.sock ", "");
    }

    #[test]
    fn the_cluster_that_the_line_names() {
        let endpoint = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            settings(&words).map(|settings| settings.endpoint.to_string())
        };
        assert_eq!(endpoint("f --endpoint unix:///a stop").as_deref(), Some("unix:///a"));
        assert_eq!(endpoint("f stop --endpoint=unix:///a x").as_deref(), Some("unix:///a"));
        assert_eq!(endpoint("f --endpoint unix:///b dev -- f --endpoint unix:///a").as_deref(), Some("unix:///b"));
        assert_eq!(endpoint("f --endpoint /a stop"), None);
    }
}
