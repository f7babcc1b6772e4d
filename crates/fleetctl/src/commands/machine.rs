//! `machine`: metadata, `cordon`, `uncordon` and `give-up`; `drain` has a file of its own.

use std::collections::BTreeMap;

use fleet_api::v2;

use crate::cli::MachineCommand;
use crate::commands::drain;
use crate::commands::session::{Session, machine_among};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::render::table;
use crate::wait::short_id;

/// Carries one of them out.
pub async fn run(session: &Session<'_>, command: MachineCommand) -> Result<Exit, CommandError> {
    match command {
        MachineCommand::SetMetadata { machine, pairs } => {
            let set = pairs.iter().map(|given| pair(given)).collect::<Result<BTreeMap<_, _>, _>>()?;
            metadata(session, &machine, v2::MetadataPatch { set, remove: Vec::new() }).await
        }
        MachineCommand::RemoveMetadata { machine, keys } => {
            metadata(session, &machine, v2::MetadataPatch { set: BTreeMap::new(), remove: keys }).await
        }
        MachineCommand::Cordon { machine } => {
            let id = find(session, &machine).await?;
            session.call(&format!("cordon {}", short_id(&id)), session.client.cordon(&id)).await?;
            session.console.talk(&format!("{} is cordoned: nothing new is placed on it", short_id(&id)));
            Ok(Exit::Ok)
        }
        MachineCommand::Uncordon { machine } => {
            let id = find(session, &machine).await?;
            session.call(&format!("uncordon {}", short_id(&id)), session.client.uncordon(&id)).await?;
            session.console.talk(&format!("{} takes units again", short_id(&id)));
            Ok(Exit::Ok)
        }
        MachineCommand::GiveUp { machine } => {
            let id = find(session, &machine).await?;
            session.call(&format!("give {} up", short_id(&id)), session.client.give_up(&id)).await?;
            let short = short_id(&id);
            session.console.talk(&format!("{short} is given up: what it had is placed elsewhere, until it is back"));
            Ok(Exit::Ok)
        }
        MachineCommand::Drain(args) => drain::run(session, &args).await,
    }
}

async fn metadata(session: &Session<'_>, given: &str, patch: v2::MetadataPatch) -> Result<Exit, CommandError> {
    let id = find(session, given).await?;
    let doing = format!("change the metadata of {}", short_id(&id));
    session.call(&doing, session.client.patch_metadata(&id, &patch)).await?;
    let after = session.call("list the machines", session.client.machines()).await?;
    if let Some(machine) = after.machines.iter().find(|machine| machine.id == id) {
        let metadata = table::metadata(&machine.metadata);
        let shown = if metadata.is_empty() { "none" } else { &metadata };
        session.console.talk(&format!("metadata of {}: {shown}", short_id(&id)));
    }
    Ok(Exit::Ok)
}

/// The whole ID of the machine that was meant.
pub async fn find(session: &Session<'_>, given: &str) -> Result<String, CommandError> {
    let list = session.call("list the machines", session.client.machines()).await?;
    machine_among(given, &list.machines)
}

/// `KEY=VALUE`; a value may have `=` in it. What characters are allowed is for the API to say.
pub fn pair(given: &str) -> Result<(String, String), CommandError> {
    match given.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(CommandError::BadPair { given: given.to_owned() }),
    }
}
