//! The command line of fleet.
//!
//! A command reads its arguments, asks the API, waits if it has to, and prints. What is decided is decided by pure functions:
//! what an argument means (`names`), which change to ask for (`create`), whether a unit is as asked for (`wait`), how things look
//! (`render`), how journals become one (`journal`), what an import would change (`transfer`), how fleetd and machines are reached
//! (`reach`). The rest (`commands`) only carries out.
//!
//! Absent here: the store, systemd, and every decision about placement; all of it is behind the API.
//!
//! Reading order: `cli`, `names`, `create`, `wait`, then `commands`.

mod cli;
mod commands;
mod completion;
mod console;
mod create;
mod error;
mod exit;
#[cfg(test)]
mod fixture;
mod flags;
mod former;
mod habit;
mod journal;
mod man;
mod names;
mod reach;
mod render;
mod select;
mod settings;
mod transfer;
mod wait;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::{Cli, Command};
use crate::console::Console;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::settings::Settings;

fn main() -> ExitCode {
    match read_line().and_then(run) {
        Ok(exit) => exit.into(),
        Err(err) => {
            if !err.is_silent() {
                Console::new(false).talk(&render::error::render(&err));
            }
            err.exit().into()
        }
    }
}

/// Reads the command line. Prints help, or what is wrong with the line, and ends the process; the codes are 0 and 2, as in our
/// table.
fn read_line() -> Result<Cli, CommandError> {
    let parser = cli::parser();
    let mut args = flags::as_parsed(&parser, std::env::args_os().collect());
    if settings::help_is_asked_for(env)? {
        let at = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
        args.insert(at, "--help".into());
    }
    let matches = match parser.clone().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(err) => match habit::error(&parser, &err) {
            Some(err) => return Err(err),
            None => err.exit(),
        },
    };
    Ok(Cli::from_arg_matches(&matches).unwrap_or_else(|err| err.exit()))
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn run(cli: Cli) -> Result<Exit, CommandError> {
    let command = match cli.command {
        _ if cli.global.version => Command::Version { ignored: Vec::new() },
        Some(command) => command,
        None => {
            let help = Cli::command().render_help();
            Console::new(false).bytes(help.ansi().to_string().as_bytes())?;
            return Ok(Exit::Ok);
        }
    };
    let command = match command {
        // Whatever else is on the line or in the environment: these ask nobody.
        Command::Version { .. } => {
            Console::new(false).line(&format!("fleetctl version {}", env!("CARGO_PKG_VERSION")))?;
            return Ok(Exit::Ok);
        }
        Command::Verify { .. } => {
            former::verify(&Console::new(false));
            return Ok(Exit::Usage);
        }
        // On a gateway nothing is set for it, and what is set is not for it.
        Command::FdForward { socket } => return reach::fd_forward::run(&socket),
        Command::Completion(args) => return completion::script(&args, &Console::new(false)),
        Command::Complete(args) => return completion::answer(&args, &Console::new(false)),
        Command::Man { folder } => {
            return man::write(&folder).map(|()| Exit::Ok).map_err(|err| CommandError::ManPages { folder, err });
        }
        command => command,
    };
    let settings = Settings::resolve(&cli.global, env)?;
    let console = Console::new(settings.debug);
    let notes = former::notes(&cli.global.former, env)?;
    notes.iter().chain(&settings.notes).for_each(|note| console.talk(&format!("WARNING: {note}")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Runtime)?;
    runtime.block_on(commands::run(command, settings, &console))
}
