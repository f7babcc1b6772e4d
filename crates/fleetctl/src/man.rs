//! The manual pages: one for fleetctl and one for each of its commands, from the declaration of the command line.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::cli::Cli;

/// Writes the pages into `folder`.
///
/// # Errors
/// What the file system said.
pub fn write(folder: &Path) -> io::Result<()> {
    // `help` needs no page of its own, nor one for each command that it explains.
    let mut cli = Cli::command().disable_help_subcommand(true);
    // The name of a page and what `man -k` prints is one line.
    if let Some(about) = cli.get_about().map(ToString::to_string) {
        let first = about.lines().next().unwrap_or_default().trim_end_matches('.').to_owned();
        cli = cli.about(first).long_about(about);
    }
    cli.build();
    write_all(&cli, folder)
}

fn write_all(command: &Command, folder: &Path) -> io::Result<()> {
    let source = concat!("fleet ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(source).manual("fleet").generate_to(folder)?;
    command.get_subcommands().filter(|one| !one.is_hide_set()).try_for_each(|one| write_all(one, folder))
}
