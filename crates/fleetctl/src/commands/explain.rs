//! `explain`: why a unit is where it is, or nowhere.

use crate::cli::{Explain, Format};
use crate::commands::session::Session;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names;
use crate::render::plan;

/// Carries it out.
pub async fn run(session: &Session<'_>, args: &Explain) -> Result<Exit, CommandError> {
    let name = names::unit_name(&args.unit)?;
    let doing = format!("explain {name}");
    let explanation = match session.call(&doing, session.client.explain(name.as_str())).await {
        Err(err) if err.exit() == Exit::NoSuchUnit => return Ok(session.report_unknown(name.as_str()).await),
        told => told?,
    };
    match args.output {
        Format::Json => session.json(&explanation)?,
        Format::Yaml => session.yaml(&explanation)?,
        Format::Name => explanation.on.iter().try_for_each(|id| session.console.line(id))?,
        Format::Text | Format::Wide => {
            let lines = plan::explanation(&explanation, args.output == Format::Wide);
            lines.iter().try_for_each(|line| session.console.line(line))?;
        }
    }
    Ok(Exit::Ok)
}
