//! The commands: each asks the API, waits if it has to, and prints through the console.

pub mod backup;
mod cat;
mod create;
mod dev;
mod dev_record;
mod drain;
pub mod exec;
mod existing;
mod explain;
pub mod export;
pub mod import;
mod is;
mod journal;
mod list;
mod machine;
mod overview;
mod session;
mod show;
mod ssh;
mod status;
mod tell;
mod waiting;
mod watching;

use fleet_api::v2;

use crate::cli::{Command, Journal, Status};
use crate::console::Console;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::settings::Settings;

use session::Session;

/// Carries out one command.
///
/// # Errors
/// What ended the command as a whole. What failed for single units has been reported already, and is in the exit code.
pub async fn run(command: Command, settings: Settings, console: &Console) -> Result<Exit, CommandError> {
    match command {
        Command::Dev(args) => dev::run(console, args).await,
        command => {
            let is_exec = matches!(command, Command::Exec(_));
            let session = match Session::open(settings, console).await {
                Err(err) if is_exec => return exec::failed(console, err),
                opened => opened?,
            };
            let done = with_cluster(command, &session).await;
            session.close().await;
            done
        }
    }
}

async fn with_cluster(command: Command, session: &Session<'_>) -> Result<Exit, CommandError> {
    if let Command::Status(Status { way, .. }) | Command::Journal(Journal { way, .. }) = &command {
        way.notes().into_iter().for_each(|note| session.console.talk(&format!("WARNING: {note}")));
    }
    match command {
        Command::Submit(args) => create::submit(session, &args).await,
        Command::Load(args) => create::load(session, &args).await,
        Command::Start(args) => create::start(session, &args).await,
        Command::Stop(args) => existing::run(session, existing::Verb::Stop, &args.units, args.block).await,
        Command::Unload(args) => existing::run(session, existing::Verb::Unload, &args.units, args.block).await,
        Command::Restart(args) => existing::run(session, existing::Verb::Restart, &args.units, args.block).await,
        Command::Destroy(args) => existing::run(session, existing::Verb::Destroy, &args.units, args.block).await,
        Command::Cat(args) => cat::run(session, &args).await,
        Command::Status(args) if args.units.is_empty() => overview::run(session, &args).await,
        Command::Status(args) => status::run(session, &args).await,
        Command::Show(args) => show::run(session, &args).await,
        Command::Kill(args) => tell::run(session, &tell::Word::kill(&args), &args.told).await,
        Command::Reload(args) => tell::run(session, &tell::Word::plain(v2::Act::Reload), &args.told).await,
        Command::ResetFailed(args) => tell::run(session, &tell::Word::plain(v2::Act::ResetFailed), &args.told).await,
        Command::Explain(args) => explain::run(session, &args).await,
        Command::IsActive(args) => is::run(session, is::Question::Active, &args).await,
        Command::IsFailed(args) => is::run(session, is::Question::Failed, &args).await,
        Command::Journal(args) => journal::run(session, &args).await,
        Command::Exec(args) => exec::run(session, &args).await,
        Command::Ssh(args) => ssh::run(session, &args).await,
        Command::ListUnits(args) => list::units(session, &args).await,
        Command::ListUnitFiles(args) => list::unit_files(session, &args).await,
        Command::ListMachines(args) => list::machines(session, &args).await,
        Command::Machine { command } => machine::run(session, command).await,
        Command::Export(args) => export::run(session, &args).await,
        Command::Import(args) => import::run(session, &args).await,
        Command::Backup(args) => backup::backup(session, &args).await,
        Command::Restore(args) => backup::restore(session, &args).await,
        Command::Dev(_) => unreachable!("it needs no cluster and was carried out by `run`"),
        Command::Version { .. }
        | Command::Verify { .. }
        | Command::FdForward { .. }
        | Command::Completion(_)
        | Command::Complete(_)
        | Command::Man { .. } => {
            unreachable!("these need no settings and were carried out by `main`")
        }
    }
}
