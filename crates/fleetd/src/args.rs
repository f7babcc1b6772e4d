//! The command line: one flag for each configuration key, and `--config`. And `guard`, which only systemd types.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use crate::config::{KEYS, Role};

/// What was typed.
#[derive(Debug)]
pub struct Args {
    /// `--config PATH`.
    pub config: Option<PathBuf>,
    /// Key and value of each other flag.
    pub flags: Vec<(&'static str, String)>,
    /// `guard FOLDER`: not the daemon, but the guard that its machine's systemd runs beside it.
    pub guard: Option<PathBuf>,
    /// `__man FOLDER`: the manual page is written there, and that is all. For `cargo xtask man`.
    pub man: Option<PathBuf>,
}

/// Reads the command line. Wrong use ends the process with code 2, `--help` and `--version` with 0.
pub fn parse() -> Args {
    let matches = command().get_matches_from(two_dashes(std::env::args()));
    read(&matches)
}

/// Writes the manual page of `fleetd` into `folder`.
///
/// # Errors
/// What the file system said.
pub fn write_man_page(folder: &Path) -> io::Result<()> {
    let source = concat!("fleet ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command()).section("8").source(source).manual("fleet").generate_to(folder).map(drop)
}

fn command() -> Command {
    let config = Arg::new("config").long("config").value_name("PATH").help("configuration file");
    let keys = KEYS.iter().filter(|key| key.role == Role::Used).map(|key| {
        let help = match key.default {
            "" => key.help.to_owned(),
            default => format!("{} [default: {default}]", key.help),
        };
        Arg::new(key.name).long(key.name.replace('_', "-")).value_name("VALUE").help(help)
    });
    let folder = Arg::new("folder").required(true).value_name("FOLDER").help("where fleetd says for how long");
    let guard = Command::new("guard").hide(true).arg(folder).about(
        "Runs as long as this machine has its lease; systemd stops the units that are bound to it. Started by fleetd.",
    );
    let folder = Arg::new("folder").required(true).value_name("FOLDER").help("where to; it must be there");
    let man = Command::new("__man").hide(true).arg(folder).about("Writes the manual page of fleetd.");
    Command::new("fleetd")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The daemon of fleet. Every flag is also a key of the configuration file and a FLEET_... variable.")
        .after_help("Commands for people are in fleetctl.")
        .arg(config)
        .args(keys)
        .subcommand(guard)
        .subcommand(man)
        .disable_help_subcommand(true)
}

fn read(matches: &ArgMatches) -> Args {
    let value = |name: &str| matches.get_one::<String>(name).cloned();
    let keys = KEYS.iter().filter(|key| key.role == Role::Used);
    let folder_of = |name: &str| matches.subcommand_matches(name)?.get_one::<String>("folder").map(PathBuf::from);
    Args {
        guard: folder_of("guard"),
        man: folder_of("__man"),
        config: value("config").map(PathBuf::from),
        flags: keys.filter_map(|key| Some((key.name, value(key.name)?))).collect(),
    }
}

/// The original took `-config` for `--config` and the word `version` for `--version`; so do we.
fn two_dashes(args: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    args.enumerate().map(|(idx, arg)| {
        let long = arg.strip_prefix('-').filter(|rest| 1 < rest.len() && !rest.starts_with('-'));
        match long {
            Some(rest) => format!("--{rest}"),
            None if idx == 1 && arg == "version" => "--version".to_owned(),
            None => arg,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_in_both_spellings() {
        command().debug_assert();
        let line = ["fleetd", "-config", "/x", "--agent-ttl=10s", "-metadata", "a=b"].map(str::to_owned);
        let args = read(&command().get_matches_from(two_dashes(line.into_iter())));
        assert_eq!(args.config, Some("/x".into()));
        assert_eq!(args.flags, [("metadata", "a=b".to_owned()), ("agent_ttl", "10s".to_owned())]);
        let words = two_dashes(["fleetd", "version"].map(str::to_owned).into_iter());
        assert_eq!(words.collect::<Vec<_>>(), ["fleetd", "--version"]);
    }

    #[test]
    fn the_guard_is_asked_for_by_a_word() {
        let args = |line: &[&str]| read(&command().get_matches_from(line));
        assert_eq!(args(&["fleetd", "guard", "/run/x"]).guard, Some("/run/x".into()));
        assert_eq!(args(&["fleetd", "--agent-ttl=10s"]).guard, None);
        assert_eq!(args(&["fleetd", "__man", "/tmp/x"]).guard, None);
    }

    #[test]
    fn the_manual_page() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read(&command().get_matches_from(["fleetd", "__man", "/x"])).man, Some("/x".into()));
        write_man_page(folder.path()).expect("the page is written");
        let page = std::fs::read_to_string(folder.path().join("fleetd.8")).expect("the page");
        assert!(page.contains(".TH fleetd 8"), "{page}");
        assert!(page.contains(r"\-\-agent\-ttl"), "{page}");
        assert!(!page.contains("__man"), "{page}");
    }
}
