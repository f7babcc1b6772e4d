//! `cat`: unit files.

use crate::cli::Cat;
use crate::commands::session::Session;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names::{self, Argument, Purpose};

/// Carries it out: all files that there are, also behind one that there is not.
pub async fn run(session: &Session<'_>, args: &Cat) -> Result<Exit, CommandError> {
    let (mut names, mut exit) = (Vec::new(), Exit::Ok);
    let (arguments, errors) = names::arguments(&args.units, Purpose::Existing);
    exit = exit.and(session.report_all(&errors));
    if let [Argument::Unit { name, .. }] = &arguments[..] {
        names.push(name.to_string());
    } else {
        let known = session.lookup(&arguments).await?;
        let (selected, errors) = names::units_of(&arguments, &known);
        let errors = session.with_similar(errors).await;
        exit = exit.and(session.report_all(&errors));
        names.extend(selected.iter().map(|one| one.unit.name.clone()));
    }
    let n_files = names.len();
    for (idx, name) in names.iter().enumerate() {
        let doing = format!("print the file of {name}");
        let file = match session.call(&doing, session.client.unit_file(name)).await {
            Ok(file) => file,
            Err(err) if err.exit() == Exit::NoSuchUnit => {
                exit = exit.and(session.report_unknown(name).await);
                continue;
            }
            Err(err) => {
                exit = exit.and(session.report(&err));
                continue;
            }
        };
        let mut text = if args.canonical { file.canonical } else { file.text };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        if 1 < n_files {
            let gap = if idx == 0 { "" } else { "\n" };
            text = format!("{gap}# {name}\n{text}");
        }
        session.console.bytes(text.as_bytes())?;
    }
    Ok(exit)
}
