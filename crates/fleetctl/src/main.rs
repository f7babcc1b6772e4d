//! The command line of fleet.
//!
//! A command reads its arguments, asks the API, waits if it has to, and prints. What is decided is decided by pure functions:
//! what an argument means (`names`), which change to ask for (`create`), whether a unit is as asked for (`wait`), how things look
//! (`render`), how journals become one (`journal`). The rest (`commands`) only carries out.
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
mod journal;
mod man;
mod names;
mod render;
mod settings;
mod wait;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::cli::{Cli, Command};
use crate::console::Console;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::settings::Settings;

fn main() -> ExitCode {
    let args = flags::behind_their_command(&Cli::command(), std::env::args_os().collect());
    // Prints help, or what is wrong with the command line, and ends the process; the codes are 0 and 2, as in our table.
    let cli = Cli::parse_from(args);
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(err) => {
            if !err.is_silent() {
                Console::new(false).talk(&render::error::render(&err));
            }
            err.exit().into()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, CommandError> {
    let env = |name: &str| std::env::var(name).ok();
    let command = match cli.command {
        _ if cli.global.version => Command::Version,
        Some(command) => command,
        None => {
            let help = Cli::command().render_help();
            Console::new(false).bytes(help.ansi().to_string().as_bytes())?;
            return Ok(Exit::Ok);
        }
    };
    let command = match command {
        Command::Completion(args) => return completion::script(&args, &Console::new(false)),
        Command::Complete(args) => return completion::answer(&args, &Console::new(false)),
        Command::Man { folder } => {
            return man::write(&folder).map(|()| Exit::Ok).map_err(|err| CommandError::ManPages { folder, err });
        }
        command => command,
    };
    let settings = Settings::resolve(&cli.global, env)?;
    let console = Console::new(settings.debug);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Runtime)?;
    runtime.block_on(commands::run(command, settings, &console))
}
