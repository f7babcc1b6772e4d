//! `cat`: a unit's file.

use crate::cli::Cat;
use crate::commands::session::Session;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names;

/// Carries it out.
pub async fn run(session: &Session<'_>, args: &Cat) -> Result<Exit, CommandError> {
    let name = names::unit_name(&args.unit)?;
    let doing = format!("print the file of {name}");
    let file = session.call(&doing, session.client.unit_file(name.as_str())).await?;
    let text = if args.canonical { file.canonical } else { file.text };
    session.console.bytes(text.as_bytes())?;
    if !text.ends_with('\n') {
        session.console.bytes(b"\n")?;
    }
    Ok(Exit::Ok)
}
