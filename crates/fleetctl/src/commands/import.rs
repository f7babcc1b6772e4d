//! `import`: units from a directory, a dump, or another cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use fleet_api::{ClientV1, Endpoint, v2};
use serde::Serialize;

use crate::cli::Format;
use crate::commands::create::{accepted, change};
use crate::commands::list;
use crate::commands::session::Session;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::render::layout::Table;
use crate::transfer::offer::{self, Offer};
use crate::transfer::plan::{self, Action, Planned, Wish};
use crate::wait;

/// `import`.
#[derive(Debug, Args)]
#[command(after_help = HELP, group(clap::ArgGroup::new("where").required(true).args(["source", "from"])))]
pub struct ImportArgs {
    /// An exported directory, one of plain unit files, or a dump
    #[arg(value_name = "SOURCE")]
    pub source: Option<PathBuf>,
    /// Another cluster, ours or the original's, by its API v1: `http://HOST:PORT` or `unix:///PATH`
    #[arg(long, value_name = "URL")]
    pub from: Option<String>,
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Let imported files take the place of different ones in the cluster
    #[arg(long)]
    pub replace: bool,
    /// Import the files and take no unit anywhere yet; the same import without this does that later
    #[arg(long)]
    pub inactive: bool,
    /// Leave out what cannot be imported; without this, nothing is changed then
    #[arg(long)]
    pub skip_refused: bool,
    /// How to print
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub output: Format,
}

const HELP: &str = "\
The table shows what is done with each unit, and what will be different from where it comes from. Mistakes in [X-Fleet] that the original \
ignored mean what they meant there.

A dump is what the original's fleetctl prints:
  fleetctl list-unit-files > dump
  for unit in $(fleetctl list-unit-files --no-legend --fields unit); do fleetctl cat $unit; done >> dump

Units that still run in the other cluster run twice from then on: stop them there between an import with `--inactive` and one without.";

/// Changes in one request, so that none takes long.
const CHANGES_AT_ONCE: usize = 500;

/// Bytes of unit files in one request: a part of what fleetd takes by default.
const BYTES_AT_ONCE: usize = 8 << 20;

/// Imports.
pub async fn run(session: &Session<'_>, args: &ImportArgs) -> Result<Exit, CommandError> {
    let offers = offers(session, args).await?;
    let list = session.call("list the units", session.client.units(&[])).await?;
    let known: BTreeMap<String, v2::Unit> =
        list.units.into_iter().filter(wait::exists).map(|unit| (unit.name.clone(), unit)).collect();
    let planned = plan::plan(offers, &known, Wish { replace: args.replace, inactive: args.inactive });
    let n_refused = planned.iter().filter(|planned| planned.action == Action::Refuse).count();
    let stops = 0 < n_refused && !args.skip_refused;
    show(session, args, &planned, stops)?;
    if stops {
        return Err(CommandError::ImportRefused { n: n_refused, of: planned.len() });
    }
    let mut exit = Exit::Ok;
    if !args.dry_run {
        for request in requests(planned.iter().filter_map(|planned| planned.change.clone())) {
            for result in change(session, request).await?.results {
                if let Err(err) = accepted(result) {
                    exit = exit.and(session.report(&err));
                }
            }
        }
    }
    session.console.talk(&summary(&planned, args.dry_run));
    Ok(if 0 < n_refused { exit.and(Exit::Failed) } else { exit })
}

async fn offers(session: &Session<'_>, args: &ImportArgs) -> Result<Vec<Offer>, CommandError> {
    match (&args.source, &args.from) {
        (Some(path), _) => offer::at(path),
        (None, from) => {
            let given = from.clone().unwrap_or_default();
            let endpoint: Endpoint = given.parse().map_err(|err| CommandError::Endpoint { given, err })?;
            let doing = format!("read the units of {endpoint}");
            let failed = |err| CommandError::Api { doing: doing.clone(), err, hint: None };
            let other = ClientV1::new(endpoint, session.settings.request_timeout).map_err(failed)?;
            Ok(other.units().await.map_err(failed)?.into_iter().map(offer::from_v1).collect())
        }
    }
}

/// What is done: a line for each unit and note, or all of it for programs.
fn show(session: &Session<'_>, args: &ImportArgs, planned: &[Planned], stops: bool) -> Result<(), CommandError> {
    #[derive(Serialize)]
    struct Shown<'p> {
        /// Whether anything was asked of the cluster.
        carried_out: bool,
        units: &'p [Planned],
    }
    let shown = Shown { carried_out: !stops && !args.dry_run, units: planned };
    if list::structured(session, args.output, &shown, planned.iter().map(|planned| planned.name.as_str()))? {
        return Ok(());
    }
    let mut rows = Vec::new();
    for Planned { name, action, desired_state, notes, .. } in planned {
        let state = desired_state.map_or("-", v2::State::as_str);
        let none = [String::from("-")];
        for note in if notes.is_empty() { &none[..] } else { notes } {
            rows.push([name, action.as_str(), state, note].map(str::to_owned).to_vec());
        }
    }
    list::print(session, true, true, &Table { columns: vec!["unit", "action", "dstate", "note"], rows })
}

/// Cuts changes into requests that fleetd takes at once.
fn requests(changes: impl Iterator<Item = v2::Change>) -> Vec<Vec<v2::Change>> {
    let mut requests: Vec<Vec<v2::Change>> = Vec::new();
    let mut n_bytes = 0;
    for change in changes {
        let len = change.text.as_ref().map_or(0, String::len);
        match requests.last_mut() {
            Some(last) if last.len() < CHANGES_AT_ONCE && n_bytes + len <= BYTES_AT_ONCE => {
                last.push(change);
                n_bytes += len;
            }
            _ => {
                requests.push(vec![change]);
                n_bytes = len;
            }
        }
    }
    requests
}

fn summary(planned: &[Planned], dry_run: bool) -> String {
    let n = |action| planned.iter().filter(|planned| planned.action == action).count();
    let (done, refused) = match dry_run {
        true => ("would be", "would be left out"),
        false => ("were", "were left out"),
    };
    let parts = [
        (n(Action::Create), format!("{done} created")),
        (n(Action::Replace), format!("{done} replaced")),
        (n(Action::Set), format!("{done} given their desired state")),
        (n(Action::None), "are as wanted already".to_owned()),
        (n(Action::Refuse), refused.to_owned()),
    ];
    let said: Vec<String> = parts.iter().filter(|(n, _)| 0 < *n).map(|(n, what)| format!("{n} {what}")).collect();
    match said.is_empty() {
        true => "there is no unit to import".to_owned(),
        false => format!("of {} units {}", planned.len(), said.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_bounded() {
        let change = |len: usize| v2::Change { text: Some("x".repeat(len)), ..v2::Change::default() };
        let sizes = |changes: Vec<v2::Change>| requests(changes.into_iter()).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(Vec::new()), [0; 0]);
        assert_eq!(sizes(vec![change(1); CHANGES_AT_ONCE + 1]), [CHANGES_AT_ONCE, 1]);
        assert_eq!(sizes(vec![change(BYTES_AT_ONCE / 2); 5]), [2, 2, 1]);
        assert_eq!(sizes(vec![change(BYTES_AT_ONCE + 1); 2]), [1, 1], "each alone, as it has to be");
    }
}
