//! `packaging/fleet.conf` shows every key that an operator may want, with the default that is in force.

use std::collections::BTreeMap;
use std::process::Command;

/// Keys for several machines on one box, which `fleetctl dev` writes and no operator of a real host needs.
const ONE_BOX: [&str; 4] = ["systemd_user", "systemd_socket", "unit_directory", "machines_file"];

/// Flags that are no keys.
const NO_KEYS: [&str; 3] = ["config", "help", "version"];

/// The keys that `fleetd --help` lists, with their defaults where it says them.
fn keys_of_help() -> BTreeMap<String, Option<String>> {
    let output = Command::new(env!("CARGO_BIN_EXE_fleetd")).arg("--help").output().expect("fleetd runs");
    let help = String::from_utf8(output.stdout).expect("text");
    // Texts are wrapped: a flag's own goes on until the next one.
    let flags = help.split("--").skip(1).map(|flag| flag.split_whitespace().collect::<Vec<_>>().join(" "));
    let key = |flag: String| {
        let name = flag.split([' ', ',']).next()?.replace('-', "_");
        let default = flag.split_once("[default: ").and_then(|(_, rest)| rest.split_once(']'));
        (!NO_KEYS.contains(&name.as_str())).then(|| (name, default.map(|(default, _)| default.to_owned())))
    };
    flags.filter_map(key).collect()
}

/// The keys that the sample shows, behind `# `, with their values.
fn keys_of_sample() -> BTreeMap<String, String> {
    let sample = include_str!("../../../packaging/fleet.conf");
    let key = |line: &str| {
        let (key, value) = line.strip_prefix("# ")?.split_once(" =")?;
        (!key.contains(' ')).then(|| (key.to_owned(), value.trim().to_owned()))
    };
    sample.lines().filter_map(key).collect()
}

#[test]
fn the_sample_shows_every_key() {
    let (help, sample) = (keys_of_help(), keys_of_sample());
    assert!(10 < help.len(), "{help:?}");
    let missing: Vec<&String> =
        help.keys().filter(|key| !sample.contains_key(*key) && !ONE_BOX.contains(&key.as_str())).collect();
    let unknown: Vec<&String> = sample.keys().filter(|key| !help.contains_key(*key)).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not in the sample {missing:?}; no keys of fleetd {unknown:?}");
}

#[test]
fn the_sample_shows_the_defaults() {
    let sample = keys_of_sample();
    let said = keys_of_help().into_iter().filter_map(|(key, default)| Some((key, default?)));
    let wrong: Vec<_> = said.filter(|(key, default)| sample.get(key).is_some_and(|shown| shown != default)).collect();
    assert!(wrong.is_empty(), "fleetd's defaults are {wrong:?}");
}
