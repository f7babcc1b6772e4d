//! The help of every command, to the byte. The texts are `help/COMMAND.txt`; `UPDATE_EXPECT=1` writes them, also those of new
//! commands.

use std::collections::BTreeSet;
use std::path::Path;

use expect_test::expect_file;

use crate::run;

/// What a topic's help says; it goes to stdout and succeeds.
#[track_caller]
fn help(args: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let said = run(folder.path(), args, &[]);
    let text = said.strip_prefix("exit 0\n--- stdout\n").and_then(|said| said.strip_suffix("--- stderr\n"));
    text.unwrap_or_else(|| panic!("fleetctl {args}\n{said}")).to_owned()
}

/// The commands that a help lists, without `help` itself.
fn listed(text: &str) -> Vec<String> {
    let section = text.split_once("\nCommands:\n").and_then(|(_, rest)| rest.split_once("\n\n"));
    let lines = section.map(|(lines, _)| lines).unwrap_or_default().lines();
    // A line that is set in further goes on with what the line before it says.
    let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// All topics: `""` is the root, `machine cordon` a command of a command.
fn topics() -> Vec<String> {
    let mut topics = vec![String::new()];
    let mut at = 0;
    while let Some(topic) = topics.get(at).cloned() {
        let below = listed(&help(&format!("help {topic}")));
        topics.extend(below.iter().map(|name| format!("{topic} {name}").trim().to_owned()));
        at += 1;
    }
    topics
}

fn file_of(topic: &str) -> String {
    if topic.is_empty() { "fleetctl.txt".to_owned() } else { format!("{}.txt", topic.replace(' ', "-")) }
}

#[test]
fn every_help_is_as_its_file_says() {
    let topics = topics();
    for topic in &topics {
        let text = help(&format!("help {topic}"));
        expect_file![format!("help/{}", file_of(topic))].assert_eq(&text);
    }
    let wanted: BTreeSet<String> = topics.iter().map(|topic| file_of(topic)).collect();
    let folder = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help")).expect("the texts");
    let there: BTreeSet<String> =
        folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    assert_eq!(there, wanted, "each command has one text, and each text one command");
}

/// In the original all three are the same to the byte.
#[test]
fn every_way_to_ask_for_help_gives_the_same() {
    for topic in topics() {
        let text = help(&format!("help {topic}"));
        for flag in ["-h", "--help", "--h"] {
            assert_eq!(help(&format!("{topic} {flag}")), text, "{topic} {flag}");
        }
    }
    assert_eq!(help(""), help("help"));
}
