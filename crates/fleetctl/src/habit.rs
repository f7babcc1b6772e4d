//! Commands that people know from systemctl, docker or kubectl and that are called otherwise here, or are not needed.

/// What to type instead, or why there is nothing to type.
pub fn hint(word: &str) -> Option<&'static str> {
    WORDS.iter().find(|(words, _)| words.contains(&word)).map(|(_, hint)| *hint)
}

/// Words of others, and ours.
const WORDS: [(&[&str], &str); 20] = [
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
        &["show", "describe", "inspect", "get"],
        "`fleetctl status -o yaml UNIT` shows all that fleet knows of a unit, `fleetctl status UNIT` what systemd does",
    ),
    (&["reset-failed"], "nothing is to be reset: `fleetctl start UNIT` starts a failed unit again"),
    (
        &["reload", "try-restart", "reload-or-restart", "try-reload-or-restart", "condrestart", "force-reload"],
        "`fleetctl restart UNIT` restarts a unit where it is",
    ),
    (
        &["kill"],
        "`fleetctl stop UNIT` stops a unit; `fleetctl list-units UNIT` shows the machine, whose `systemctl kill` sends signals",
    ),
    (&["is-enabled", "get-default"], "`fleetctl list-unit-files UNIT` shows in DSTATE what is wanted of a unit"),
    (&["is-system-running", "system-status"], "`fleetctl status` shows the cluster at a glance"),
    (&["log", "logs", "journalctl", "tail"], "`fleetctl journal UNIT`, with `-f` to follow"),
    (
        &["ps", "ls", "units", "list", "top"],
        "`fleetctl list-units`, or `fleetctl list-unit-files` for what is not on a machine",
    ),
    (&["nodes", "hosts", "machines", "node"], "`fleetctl list-machines`"),
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
