//! `journal`: a unit's log lines, from the machine that has it.

use std::pin::pin;

use fleet_api::v2;
use futures_util::StreamExt as _;

use crate::cli::Journal;
use crate::commands::session::{Session, machine_of};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names;
use crate::render::table::typed_id;

/// Carries it out. Ctrl-C ends a followed journal the usual way: nothing here catches it.
pub async fn run(session: &Session<'_>, args: &Journal) -> Result<Exit, CommandError> {
    let name = names::unit_name(&args.unit)?;
    let unit = session.call(&format!("find {name}"), session.client.unit(name.as_str())).await?;
    let machines: Vec<&str> = unit.placements.iter().map(|placement| placement.machine.as_str()).collect();
    let machine = match (&args.machine, machines.as_slice()) {
        (Some(given), _) => machine_of(given, machines.iter().copied())?,
        (None, [machine]) => (*machine).to_owned(),
        (None, []) => {
            let (name, state) = (name.to_string(), unit.desired_state);
            return Err(CommandError::NotPlaced { name, what: "running", state });
        }
        (None, several) => {
            let machines = several.iter().map(|id| typed_id(id)).collect();
            return Err(CommandError::SeveralMachines { name: name.to_string(), machines });
        }
    };
    let query = v2::JournalQuery {
        machine: Some(machine),
        lines: Some(args.lines.min(v2::JOURNAL_LINES_MAX)),
        follow: args.follow,
        output: Some(args.output.clone()),
        ..v2::JournalQuery::default()
    };
    let doing = format!("read the journal of {name}");
    let mut pieces = session.open_stream(&doing, session.client.journal(name.as_str(), &query)).await?;
    let mut reader_gone = pin!(session.console.reader_gone());
    loop {
        tokio::select! {
            piece = pieces.next() => match piece {
                Some(piece) => session.console.bytes(&piece.map_err(|err| session.api_error(&doing, err))?)?,
                None => return Ok(Exit::Ok),
            },
            // A unit may say nothing for hours, and only a write would show that nobody reads any more.
            () = &mut reader_gone, if args.follow => return Ok(Exit::Ok),
        }
    }
}
