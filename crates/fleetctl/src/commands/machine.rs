//! `machine set-metadata` and `machine remove-metadata`.

use std::collections::BTreeMap;

use fleet_api::v2;

use crate::cli::MachineCommand;
use crate::commands::session::{Session, machine_of};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::render::table;
use crate::wait::short_id;

/// Carries one of them out.
pub async fn run(session: &Session<'_>, command: MachineCommand) -> Result<Exit, CommandError> {
    let (given, patch) = match command {
        MachineCommand::SetMetadata { machine, pairs } => {
            let set = pairs.iter().map(|given| pair(given)).collect::<Result<BTreeMap<_, _>, _>>()?;
            (machine, v2::MetadataPatch { set, remove: Vec::new() })
        }
        MachineCommand::RemoveMetadata { machine, keys } => {
            (machine, v2::MetadataPatch { set: BTreeMap::new(), remove: keys })
        }
    };
    let before = session.call("list the machines", session.client.machines()).await?;
    let id = machine_of(&given, before.machines.iter().map(|machine| machine.id.as_str()))?;
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

/// `KEY=VALUE`; a value may have `=` in it. What characters are allowed is for the API to say.
pub fn pair(given: &str) -> Result<(String, String), CommandError> {
    match given.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(CommandError::BadPair { given: given.to_owned() }),
    }
}
