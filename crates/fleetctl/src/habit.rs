//! Commands and flags that people know from systemctl, journalctl, docker or kubectl and that are called otherwise here, or are not
//! needed; and those that are misspelt.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::CommandError;

/// How many commands are named where one was misspelt.
const SIMILAR_MAX: usize = 3;

/// How many characters a flag has to have in common with the parser's guess at its begin: `--` and two letters.
const SAME_BEGIN: usize = 4;

/// The error for a line that the parser refused, if more can be said of it than the parser says.
pub fn error(cli: &clap::Command, err: &clap::Error) -> Option<CommandError> {
    let usage = err.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    let unknown = err.get(ContextKind::InvalidSubcommand).filter(|_| err.kind() == ErrorKind::InvalidSubcommand);
    if let Some(ContextValue::String(given)) = unknown {
        let machine = cli.find_subcommand("machine").filter(|_| usage.contains("fleetctl machine"));
        let similar = match err.get(ContextKind::SuggestedSubcommand) {
            Some(ContextValue::Strings(names)) => names.as_slice(),
            _ => &[],
        };
        let hint = match machine {
            Some(machine) => meant(machine, given, similar),
            None => hint(given).map_or_else(|| meant(cli, given, similar), str::to_owned),
        };
        let parent = if machine.is_some() { "machine " } else { "" };
        return Some(CommandError::NoCommand { given: format!("{parent}{given}"), hint });
    }
    if err.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(given)) = err.get(ContextKind::InvalidArg) else { return None };
    let flag = given.split('=').next().unwrap_or_default();
    let words = usage.split_whitespace().skip_while(|word| *word != "fleetctl").skip(1);
    let command: Vec<&str> =
        words.take_while(|word| word.starts_with(|first: char| first.is_ascii_lowercase())).collect();
    let command = command.join(" ");
    let known = FLAGS.iter().find(|(flags, of, _)| flags.contains(&flag) && of.is_none_or(|of| of == command));
    let hint = known.map_or_else(|| meant_flag(&command, flag, err), |(_, _, hint)| (*hint).to_owned());
    Some(CommandError::NoFlag { given: flag.to_owned(), hint })
}

/// What a flag that `command` does not have may have been meant to be.
fn meant_flag(command: &str, flag: &str, err: &clap::Error) -> String {
    let help = format!("`{}` lists the flags", ["fleetctl help", command].join(" ").trim_end());
    match err.get(ContextKind::SuggestedArg) {
        // The parser guesses wildly: `--known-hosts-file` for `--now`.
        Some(ContextValue::String(similar))
            if flag.get(..SAME_BEGIN).is_some_and(|begin| similar.starts_with(begin)) =>
        {
            format!("did you mean `{similar}`? {help}")
        }
        _ => help,
    }
}

/// What a word that is no command below `parent` may have been meant to be. `similar` is the parser's guess, the best at the end; it
/// has short forms among the names.
fn meant(parent: &clap::Command, given: &str, similar: &[String]) -> String {
    let names: Vec<&str> =
        parent.get_subcommands().filter(|one| !one.is_hide_set()).map(clap::Command::get_name).collect();
    let list = |names: &[&str], or: &str| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        match names.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} {or} {last}", others.join(", ")),
            None => String::new(),
        }
    };
    let begun: Vec<&str> = names.iter().copied().filter(|name| name.starts_with(given)).collect();
    if !begun.is_empty() {
        return format!("several begin so: {}", list(&begun, "and"));
    }
    let guessed: Vec<&str> = similar
        .iter()
        .rev()
        .filter_map(|name| names.iter().copied().find(|one| one == name))
        .take(SIMILAR_MAX)
        .collect();
    match (&guessed[..], parent.get_name()) {
        ([], "machine") => format!("there are {}", list(&names, "and")),
        ([], _) => "`fleetctl help` lists the commands".to_owned(),
        (guessed, _) => format!("did you mean {}?", list(guessed, "or")),
    }
}

/// What to type instead, or why there is nothing to type.
fn hint(word: &str) -> Option<&'static str> {
    WORDS.iter().find(|(words, _)| words.contains(&word)).map(|(_, hint)| *hint)
}

/// Flags of others, of which command (any, if there is none), and what to do here.
const FLAGS: [(&[&str], Option<&str>, &str); 9] = [
    (
        &["-H", "--host"],
        None,
        "`--endpoint URL` says which fleetd is asked; `--tunnel HOST` goes through that host by ssh",
    ),
    (&["-M"], None, "`--machine ID`, for commands that look at one machine; `fleetctl list-machines` shows the IDs"),
    (
        &["--user", "--system"],
        None,
        "fleetd knows which systemd it drives; `--endpoint URL` says which fleetd is asked",
    ),
    (
        &["-p", "--priority"],
        Some("journal"),
        "`fleetctl journal -o json UNIT` has the PRIORITY of each line, which is 6 unless a program says it",
    ),
    (&["-p", "--property"], None, "`fleetctl show -p NAMES UNIT`"),
    (&["-b", "--boot"], Some("journal"), "say since when: `fleetctl journal --since yesterday UNIT`"),
    (&["-r", "--reverse"], Some("journal"), "the newest line is the last: `fleetctl journal UNIT | tac`"),
    (&["-g", "--grep"], Some("journal"), "`fleetctl journal -n all UNIT | grep PATTERN`"),
    (
        &["-k", "--dmesg"],
        Some("journal"),
        "a kernel's messages are its machine's: `fleetctl ssh MACHINE journalctl -k`",
    ),
];

/// Words of others, and ours.
const WORDS: [(&[&str], &str); 21] = [
    (
        &["enable", "reenable", "preset", "link"],
        "what is started is kept running, also after a reboot: `fleetctl start UNIT`",
    ),
    (&["disable"], "`fleetctl unload UNIT` stops a unit for good; `fleetctl destroy UNIT` forgets it"),
    (&["mask", "unmask"], "a unit that is unloaded is not started by anything: `fleetctl unload UNIT`"),
    (&["daemon-reload", "daemon-reexec"], "it is not needed: fleetd has systemd read what it changes"),
    (
        &["edit", "set-property", "revert"],
        "change the file and give it again: `fleetctl cat UNIT > UNIT`, then `fleetctl start --replace ./UNIT`",
    ),
    (
        &["describe", "inspect", "get"],
        "`fleetctl status -o yaml UNIT` shows all that fleet knows of a unit, `fleetctl status UNIT` and `fleetctl show UNIT` what \
         systemd does",
    ),
    (
        &["try-restart", "reload-or-restart", "try-reload-or-restart", "condrestart", "force-reload"],
        "`fleetctl restart UNIT` restarts a unit where it is",
    ),
    (&["is-enabled", "get-default"], "`fleetctl list-unit-files UNIT` shows in DSTATE what is wanted of a unit"),
    (&["is-system-running", "system-status"], "`fleetctl status` shows the cluster at a glance"),
    (&["log", "logs", "journalctl", "tail"], "`fleetctl journal UNIT`, with `-f` to follow"),
    (
        &["ps", "ls", "units", "list", "top"],
        "`fleetctl list-units`, or `fleetctl list-unit-files` for what is not on a machine",
    ),
    (&["nodes", "hosts", "machines", "node"], "`fleetctl list-machines`"),
    (&["cordon"], "`fleetctl machine cordon ID`"),
    (&["uncordon"], "`fleetctl machine uncordon ID`"),
    (&["drain"], "`fleetctl machine drain ID`"),
    (&["list-timers"], "`fleetctl list-units -t timer`"),
    (&["list-sockets"], "`fleetctl list-units -t socket`"),
    (&["list-paths"], "`fleetctl list-units -t path`"),
    (&["list-dependencies", "list-jobs"], "`fleetctl status UNIT` shows what a unit waits for"),
    (&["create", "add", "apply", "run", "up"], "`fleetctl start FILE`, or `fleetctl submit FILE` without starting it"),
    (&["delete", "remove", "rm", "down"], "`fleetctl destroy UNIT`"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, parser};

    #[test]
    fn words_of_others_are_not_ours_and_what_is_said_of_them_is() {
        let ours: Vec<String> = parser().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let mut seen = std::collections::BTreeSet::new();
        for (words, hint) in WORDS {
            for word in words {
                assert!(!ours.iter().any(|name| name == word), "{word}");
                assert!(seen.insert(word), "{word} is there twice");
            }
            for typed in hint.split('`').skip(1).step_by(2).filter_map(|text| text.strip_prefix("fleetctl ")) {
                let line = typed.replace('>', "").replace("./", "");
                let words = std::iter::once("fleetctl").chain(line.split_whitespace().filter(|word| *word != "UNIT>"));
                // `cat UNIT > UNIT` is read as two units, which `cat` takes.
                let read = <Cli as clap::Parser>::try_parse_from(words);
                assert!(read.is_ok(), "{typed}: {read:?}");
            }
        }
        assert_eq!(hint("list-timers"), Some("`fleetctl list-units -t timer`"));
        assert_eq!(hint("start"), None);
    }
}
