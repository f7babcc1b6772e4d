//! Forms of flags that the original took and the parser does not: `fleetctl --no-block stop hello`, `--full=true`, `-full`.
//!
//! The parser wants a command's flags behind the command. They are moved there, so that both orders work, as the original's help
//! promised. It wants no value behind a switch, and two dashes before a long name: releases before 2016 took one as well.

use std::collections::VecDeque;
use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use crate::settings::truth;

/// The same arguments in the forms that the parser takes.
pub fn as_parsed(cli: &Command, args: Vec<OsString>) -> Vec<OsString> {
    without_truth_values(cli, behind_their_command(cli, with_two_dashes(cli, args)))
}

/// The same arguments, with `-long` as `--long` where that is a flag.
fn with_two_dashes(cli: &Command, args: Vec<OsString>) -> Vec<OsString> {
    let n_ours = n_ours(cli, &args);
    let read = |(idx, arg): (usize, OsString)| {
        let name = arg.to_str().filter(|_| idx < n_ours).and_then(|text| text.strip_prefix('-'));
        // One letter is a short name, and may be the alias of a long one.
        let is_long = |name: &&str| {
            1 < name.split('=').next().map_or(0, str::len)
                && !name.starts_with('-')
                && is_known(cli, &format!("--{name}"))
        };
        match name.filter(is_long) {
            Some(name) => format!("--{name}").into(),
            None => arg,
        }
    };
    args.into_iter().enumerate().map(read).collect()
}

fn is_known(command: &Command, flag: &str) -> bool {
    find(command, flag).is_some() || command.get_subcommands().any(|below| is_known(below, flag))
}

/// The same arguments, with `--switch=true` as `--switch`, and without `--switch=false`. What is not ours is left as it is.
fn without_truth_values(cli: &Command, args: Vec<OsString>) -> Vec<OsString> {
    let n_ours = n_ours(cli, &args);
    let read = |(idx, arg): (usize, OsString)| {
        let switch = arg.to_str().filter(|_| idx < n_ours).and_then(|text| text.split_once('='));
        let switch = switch.filter(|(name, _)| name.starts_with("--") && is_switch(cli, name));
        match switch.map(|(name, value)| (name.to_owned(), truth(value))) {
            Some((name, Some(true))) => Some(name.into()),
            Some((_, Some(false))) => None,
            // Nonsense is for the parser to complain about.
            Some((_, None)) | None => Some(arg),
        }
    };
    args.into_iter().enumerate().filter_map(read).collect()
}

/// How many arguments are ours: those before `--`, and of `ssh` those before the first word, behind which another machine's command
/// stands.
fn n_ours(cli: &Command, args: &[OsString]) -> usize {
    let n_before = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    let command = first_word(args, 1, |flag| find(cli, flag));
    match args.get(command).and_then(|word| word.to_str()) {
        // Nothing else begins so.
        Some("ss" | "ssh") => {
            let ssh = cli.find_subcommand("ssh");
            let known = |flag: &str| ssh.and_then(|ssh| find(ssh, flag)).or_else(|| find(cli, flag));
            n_before.min(first_word(args, command + 1, known))
        }
        _ => n_before,
    }
}

/// The place of the first argument from `begin` on that is neither a flag nor the value of one.
fn first_word<'a>(args: &[OsString], begin: usize, known: impl Fn(&str) -> Option<&'a Arg>) -> usize {
    let mut at = begin;
    while let Some(text) = args.get(at).and_then(|arg| arg.to_str()).filter(|text| is_flag(text)) {
        // A long one may have a single dash here.
        let long = format!("-{text}");
        let name = if text.starts_with("--") || known(&long).is_none() { text } else { &long };
        let has_value_behind = known(name).is_some_and(takes_value) && !carries_value(name);
        at += if has_value_behind { 2 } else { 1 };
    }
    at
}

fn is_switch(command: &Command, flag: &str) -> bool {
    let here = find(command, flag);
    // `--help` is a switch too, and gone when it is not wanted.
    here.is_some_and(|arg| matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Help))
        || command.get_subcommands().any(|below| is_switch(below, flag))
}

/// The same arguments, with flags that only commands know moved from before the first word to behind it.
///
/// What is not understood is left where it is, for the parser to complain about.
fn behind_their_command(cli: &Command, args: Vec<OsString>) -> Vec<OsString> {
    let mut rest: VecDeque<OsString> = args.into();
    let mut front: Vec<OsString> = rest.pop_front().into_iter().collect();
    let mut moved = Vec::new();
    while let Some(text) = rest.front().and_then(|arg| arg.to_str()).filter(|text| is_flag(text)).map(str::to_owned) {
        let (list, takes_value) = match (find(cli, &text), find_in_commands(cli, &text)) {
            (Some(arg), _) => (&mut front, takes_value(arg)),
            (None, Some(arg)) => (&mut moved, takes_value(arg)),
            (None, None) => (&mut front, false),
        };
        list.extend(rest.pop_front());
        if takes_value && !carries_value(&text) {
            list.extend(rest.pop_front());
        }
    }
    // As with systemctl, where no command is meant to be `list-units`.
    let lists = cli.find_subcommand("list-units");
    let is_of_list = |arg: &OsString| {
        let flag = arg.to_str().filter(|text| is_flag(text));
        flag.is_none_or(|flag| lists.is_some_and(|lists| find(lists, flag).is_some()))
    };
    if rest.is_empty() && !moved.is_empty() && moved.iter().all(is_of_list) {
        front.push("list-units".into());
    }
    front.extend(rest.pop_front());
    front.into_iter().chain(moved).chain(rest).collect()
}

/// `--flag=value` and `-n5` carry their value along.
fn carries_value(text: &str) -> bool {
    if text.starts_with("--") { text.contains('=') } else { 2 < text.len() }
}

fn is_flag(text: &str) -> bool {
    text.starts_with('-') && text != "-" && text != "--"
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) && !arg.is_require_equals_set()
}

fn find<'a>(command: &'a Command, flag: &str) -> Option<&'a Arg> {
    let named = |arg: &&Arg| match flag.strip_prefix("--") {
        Some(long) => {
            let name = long.split_once('=').map_or(long, |(name, _)| name);
            arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
        }
        None => arg.get_short().is_some_and(|short| flag[1..].starts_with(short)),
    };
    command.get_arguments().find(named)
}

fn find_in_commands<'a>(cli: &'a Command, flag: &str) -> Option<&'a Arg> {
    cli.get_subcommands().find_map(|command| find(command, flag))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[track_caller]
    fn check(given: &str, expected: &str) {
        let args = given.split(' ').map(OsString::from).collect();
        let got = as_parsed(&Cli::command(), args);
        let got: Vec<&str> = got.iter().filter_map(|arg| arg.to_str()).collect();
        assert_eq!(got.join(" "), expected);
    }

    #[test]
    fn flags_before_the_command() {
        check("fleetctl", "fleetctl");
        check("fleetctl stop a", "fleetctl stop a");
        check("fleetctl --no-block stop a", "fleetctl stop --no-block a");
        check("fleetctl --fields ip list-machines", "fleetctl list-machines --fields ip");
        check("fleetctl --fields=ip -l list-machines", "fleetctl list-machines --fields=ip -l");
        check("fleetctl --debug --no-block stop a", "fleetctl --debug stop --no-block a");
        check("fleetctl --endpoint unix:///x --no-block stop a", "fleetctl --endpoint unix:///x stop --no-block a");
        check("fleetctl -n 5 journal a", "fleetctl journal -n 5 a");
        check("fleetctl -n5 journal a", "fleetctl journal -n5 a");
        check("fleetctl -h", "fleetctl -h");
        check("fleetctl --nonsense stop", "fleetctl --nonsense stop");
        check("fleetctl --no-block", "fleetctl --no-block");
        check("fleetctl --failed", "fleetctl list-units --failed");
        check("fleetctl --debug --state failed -l", "fleetctl --debug list-units --state failed -l");
        check("fleetctl --failed --no-block", "fleetctl --failed --no-block");
        check("fleetctl dev -- sh -c x", "fleetctl dev -- sh -c x");
        check("fleetctl --version", "fleetctl --version");
    }

    #[test]
    fn long_names_with_one_dash() {
        check(
            "fleetctl list-units -full -no-legend -fields=unit",
            "fleetctl list-units --full --no-legend --fields=unit",
        );
        check(
            "fleetctl -endpoint unix:///x stop -block-attempts 3 a",
            "fleetctl --endpoint unix:///x stop --block-attempts 3 a",
        );
        check(
            "fleetctl journal -follow -lines=5 -n5 -f -o cat a",
            "fleetctl journal --follow --lines=5 -n5 -f -o cat a",
        );
        check("fleetctl list-units -lw -h", "fleetctl list-units -lw -h");
        check("fleetctl dev -- find -type f", "fleetctl dev -- find -type f");
        check("fleetctl ssh -debug=true a find -type f -full=true", "fleetctl ssh --debug a find -type f -full=true");
        check("fleetctl list-units -no-block=false -debug=false", "fleetctl list-units");
    }

    #[test]
    fn switches_with_a_value() {
        check("fleetctl list-units --full=true --no-legend=false", "fleetctl list-units --full");
        check("fleetctl --no-block=true stop a", "fleetctl stop --no-block a");
        check("fleetctl --debug=1 --version=false list-units", "fleetctl --debug list-units");
        check("fleetctl list-units --full=perhaps", "fleetctl list-units --full=perhaps");
        check("fleetctl list-units --fields=true", "fleetctl list-units --fields=true");
        check("fleetctl dev -- x --full=true", "fleetctl dev -- x --full=true");
        check("fleetctl machine drain --no-block=true x", "fleetctl machine drain --no-block x");
        check(
            "fleetctl ssh -A=1 --forward-agent=true a ls --full=true",
            "fleetctl ssh -A=1 --forward-agent a ls --full=true",
        );
        check(
            "fleetctl -endpoint unix:///x ssh -machine 10 ls -full",
            "fleetctl --endpoint unix:///x ssh --machine 10 ls -full",
        );
        check("fleetctl --debug=true ssh -m 10 ls --full=false", "fleetctl --debug ssh -m 10 ls --full=false");
        check(
            "fleetctl --strict-host-key-checking ssh --unit=a ls --all=0 -- --full=1",
            "fleetctl --strict-host-key-checking ssh --unit=a ls --all=0 -- --full=1",
        );
    }
}
