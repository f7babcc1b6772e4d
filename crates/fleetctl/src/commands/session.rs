//! What every command that talks to fleetd has at hand.

use std::collections::BTreeMap;
use std::future::Future;

use fleet_api::{Client, ClientError, Endpoint, Exchange, v2};
use serde::Serialize;

use crate::commands::dev_record;
use crate::console::Console;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names::{self, Argument};
use crate::reach;
use crate::reach::tunnel::Tunnel;
use crate::render;
use crate::settings::{ENDPOINT_ENV, Settings};
use crate::wait;

/// Where etcd listens by default, today and in the original's time.
const ETCDS_PORTS: [&str; 2] = [":2379", ":4001"];

/// A client, and where to print.
pub struct Session<'a> {
    /// The way to fleetd.
    pub client: Client,
    /// What the client goes through, if anything.
    pub tunnel: Option<Tunnel>,
    /// Where to print.
    pub console: &'a Console,
    /// What was said on the command line and in the environment.
    pub settings: Settings,
}

impl<'a> Session<'a> {
    /// Sets a client up, and the tunnel that it goes through. fleetd is asked nothing yet.
    pub async fn open(settings: Settings, console: &'a Console) -> Result<Session<'a>, CommandError> {
        let reach = &settings.reach;
        let tunnel = match &reach.tunnel {
            Some(gateway) => Some(Tunnel::open(&reach.ssh, gateway, &settings.endpoint, console).await?),
            None => None,
        };
        let client = observed(reach::client(&settings, settings.request_timeout, tunnel.as_ref())?, console);
        Ok(Session { client, tunnel, console, settings })
    }

    /// Ends it.
    pub async fn close(self) {
        let Session { client, tunnel, .. } = self;
        drop(client);
        if let Some(tunnel) = tunnel {
            tunnel.close().await;
        }
    }

    /// Waits for one answer. `doing` completes the sentence "cannot ...".
    pub async fn call<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, CommandError> {
        call.await.map_err(|err| self.api_error(doing, err))
    }

    /// The same for calls whose answer is a stream: only the begin of it must come within the request's limit.
    pub async fn open_stream<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, CommandError> {
        match tokio::time::timeout(self.settings.request_timeout, self.call(doing, call)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.no_answer(doing)),
        }
    }

    /// The error for a call that failed, with what can be done about it.
    pub fn api_error(&self, doing: &str, err: ClientError) -> CommandError {
        if err.is_timeout() {
            return self.no_answer(doing);
        }
        let hint = match &err {
            _ if self.is_at_etcds_port() => Some(
                "that is etcd's port: fleetctl asks fleetd, and fleetd alone reads etcd; say where a fleetd is"
                    .to_owned(),
            ),
            ClientError::Unreachable { .. } => match err.tls_trouble() {
                Some(trouble) => reach::tls::hint(trouble, &self.settings.endpoint, &self.settings.reach.tls),
                None => Some(self.unreachable_hint(&err)),
            },
            ClientError::Setup { .. }
            | ClientError::Tls { .. }
            | ClientError::Silent { .. }
            | ClientError::Problem(_)
            | ClientError::Refused { .. }
            | ClientError::Garbled { .. } => None,
        };
        CommandError::Api { doing: doing.to_owned(), err, hint }
    }

    /// The original could read etcd itself, and scripts may still point there.
    fn is_at_etcds_port(&self) -> bool {
        let Endpoint::Http(url) = &self.settings.endpoint else { return false };
        ETCDS_PORTS.iter().any(|port| url.ends_with(port))
    }

    fn no_answer(&self, doing: &str) -> CommandError {
        CommandError::NoAnswer { doing: doing.to_owned(), seconds: self.settings.request_timeout.as_secs_f64() }
    }

    fn unreachable_hint(&self, err: &ClientError) -> String {
        if let Some(gateway) = &self.settings.reach.tunnel {
            return reach::tunnel::hint(gateway, &self.settings.endpoint);
        }
        if let (Endpoint::Unix(path), true) = (&self.settings.endpoint, is_forbidden(err)) {
            let socket = path.display();
            return format!(
                "you may not open `{socket}`: try again as root (`sudo`), or as the user or in the group that it belongs to"
            );
        }
        let running = dev_record::running();
        match (&self.settings.endpoint, running.first()) {
            (_, Some(endpoint)) if *endpoint != self.settings.endpoint.to_string() => {
                format!("a cluster of `fleetctl dev` is running: `export {ENDPOINT_ENV}={endpoint}`")
            }
            (Endpoint::Unix(path), _) if !path.exists() => {
                let socket = path.display();
                if self.settings.endpoint_is_default {
                    format!(
                        "there is no socket `{socket}`: start fleetd, or bring up a cluster here with `fleetctl dev`, or \
                         say where fleetd is with `--endpoint` or {ENDPOINT_ENV}"
                    )
                } else {
                    format!("there is no socket `{socket}`: see that fleetd runs and listens there")
                }
            }
            (endpoint, _) => {
                format!("see that fleetd runs there (`systemctl status fleetd`) and listens at {endpoint}")
            }
        }
    }

    /// Prints an error and gives its exit code.
    pub fn report(&self, err: &CommandError) -> Exit {
        if !err.is_silent() {
            self.console.talk(&render::error::render(err));
        }
        err.exit()
    }

    /// Prints all of `errors` and gives the exit code for them together.
    pub fn report_all(&self, errors: &[CommandError]) -> Exit {
        errors.iter().fold(Exit::Ok, |exit, err| exit.and(self.report(err)))
    }

    /// The units that `arguments` may mean, by name, also templates of instances; without those that are only still leaving.
    pub async fn lookup(&self, arguments: &[Argument]) -> Result<BTreeMap<String, v2::Unit>, CommandError> {
        // Without a glob the API lists all units, and nothing shall mean nothing.
        if arguments.is_empty() {
            return Ok(BTreeMap::new());
        }
        let globs = names::lookup_globs(arguments).unwrap_or_default();
        let list = self.call("look up the units", self.client.units(&globs)).await?;
        let known = list.units.into_iter().filter(wait::exists);
        Ok(known.map(|unit| (unit.name.clone(), unit)).collect())
    }

    /// Completes errors about units that do not exist with those whose names begin in the same way. Costs a question only if there are
    /// such errors; one that gets no answer adds nothing.
    pub async fn with_similar(&self, mut errors: Vec<CommandError>) -> Vec<CommandError> {
        for err in &mut errors {
            let (CommandError::UnknownUnit { name, similar } | CommandError::FoundNowhere { name, similar, .. }) = err
            else {
                continue;
            };
            let begin = stem(name);
            let globs = [format!("{}*", names::escape(begin))];
            let Ok(list) = self.client.units(&globs).await else { break };
            similar.extend(list.units.into_iter().filter(wait::exists).map(|unit| unit.name));
            // Other instances of the same template, and other types, first.
            similar.sort_by_key(|other| stem(other) != begin);
        }
        errors
    }

    /// Says that there is no such unit, and gives the exit code.
    pub async fn report_unknown(&self, name: &str) -> Exit {
        let unknown = CommandError::UnknownUnit { name: name.to_owned(), similar: Vec::new() };
        self.report_all(&self.with_similar(vec![unknown]).await)
    }

    /// One value as YAML. Several that come one after the other are a stream of documents.
    pub fn yaml(&self, value: &impl Serialize) -> Result<(), CommandError> {
        let text = serde_saphyr::to_string(value).map_err(|err| CommandError::Yaml(Box::new(err)))?;
        Ok(self.console.bytes(text.as_bytes())?)
    }

    /// One value as JSON.
    pub fn json(&self, value: &impl Serialize) -> Result<(), CommandError> {
        let text = serde_json::to_string_pretty(value).map_err(CommandError::Json)?;
        Ok(self.console.line(&text)?)
    }
}

/// What stands before the type and the instance of a name.
fn stem(name: &str) -> &str {
    let (stem, _) = name.rsplit_once('.').unwrap_or((name, ""));
    stem.split_once('@').map_or(stem, |(stem, _)| stem)
}

/// The client, which says each request if that is asked for: with the ID that it has in fleetd's log.
fn observed(client: Client, console: &Console) -> Client {
    let Some(say) = console.debugger() else { return client };
    client.observed(move |exchange| {
        let Exchange { method, path, status, request, took } = exchange;
        let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let id = request.as_ref().map(|id| format!(", request {id}")).unwrap_or_default();
        say(&format!("{method} {path}: {status} after {took:?}{id}"));
    })
}

/// Whether the system has forbidden the connection.
fn is_forbidden(err: &ClientError) -> bool {
    let causes = std::iter::successors(std::error::Error::source(err), |err| err.source());
    causes
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied)
}

/// The ID of the machine that `given` means: an ID, the beginning of one, or an address that one machine alone has.
pub fn machine_among(given: &str, machines: &[v2::Machine]) -> Result<String, CommandError> {
    let mut at_address = machines.iter().filter(|machine| machine.ip.as_deref() == Some(given));
    match (at_address.next(), at_address.next()) {
        (Some(machine), None) => Ok(machine.id.clone()),
        _ => machine_of(given, machines.iter().map(|machine| machine.id.as_str())),
    }
}

/// The ID that `given`, a machine ID or the beginning of one, means among `machines`.
pub fn machine_of<'a>(given: &str, machines: impl Iterator<Item = &'a str> + Clone) -> Result<String, CommandError> {
    let matching: Vec<&str> = machines.clone().filter(|id| id.starts_with(given)).collect();
    match matching.as_slice() {
        [id] => Ok((*id).to_owned()),
        several if several.contains(&given) => Ok(given.to_owned()),
        [] => {
            let known = machines.map(render::table::typed_id).collect();
            Err(CommandError::NoMachine { given: given.to_owned(), known })
        }
        several => {
            let machines = several.iter().map(|id| (*id).to_owned()).collect();
            Err(CommandError::AmbiguousMachine { given: given.to_owned(), machines })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn machines_by_their_address() {
        let machine = |id: &str, ip: &str| v2::Machine { ip: Some(ip.to_owned()), ..fixture::machine(id) };
        let machines = [machine("10", "10.0.0.1"), machine("4f1c", "10.0.0.2"), machine("abc", "10.0.0.2")];
        let check = |given: &str, expected: &str| {
            let got = machine_among(given, &machines).unwrap_or_else(|err| err.to_string());
            assert_eq!(got, expected, "{given}");
        };
        check("10.0.0.1", "10");
        check("10", "10");
        check("4f", "4f1c");
        check("10.0.0.2", "no machine `10.0.0.2`");
        check("10.0.0.3", "no machine `10.0.0.3`");
    }

    #[test]
    fn begins_of_names() {
        let names = ["apache.service", "apache@1.service", "apache@.service", "a.b.socket", "plain"];
        assert_eq!(names.map(stem), ["apache", "apache", "apache", "a.b", "plain"]);
    }

    #[test]
    fn machines_by_the_beginning_of_their_id() {
        let ids = ["4f1c2a7d00", "4f1c9999", "abc", "abcd"];
        let check = |given: &str, expected: &str| {
            let got = machine_of(given, ids.iter().copied()).unwrap_or_else(|err| err.to_string());
            assert_eq!(got, expected, "{given}");
        };
        check("4f1c2a7d", "4f1c2a7d00");
        check("4f1c", "`4f1c` fits 2 machines");
        check("abc", "abc");
        check("ab", "`ab` fits 2 machines");
        check("x", "no machine `x`");
        check("", "`` fits 4 machines");
    }
}
