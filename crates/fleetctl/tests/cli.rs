//! The command line as people see it: help, and what is said when there is no cluster. The real program is run.

use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};

/// Runs `fleetctl ARGS` in `folder` and shows exit code, stdout and stderr.
fn run(folder: &Path, args: &str, env: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetctl"));
    // Nothing of the tester's own surroundings may be seen: neither settings nor clusters that run, nor the terminal's width.
    command.env_clear().env("XDG_RUNTIME_DIR", folder).current_dir(folder).args(args.split_whitespace());
    command.envs(env.iter().copied());
    let output = command.output().expect("fleetctl runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let code = output.status.code().expect("it was not killed");
    format!("exit {code}\n--- stdout\n{}--- stderr\n{}", text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn check(args: &str, expected: &Expect) {
    check_env(args, &[], expected);
}

#[track_caller]
fn check_env(args: &str, env: &[(&str, &str)], expected: &Expect) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("good.service"), "[Service]\nExecStart=/bin/true\n").expect("a file");
    expected.assert_eq(&run(folder.path(), args, env));
}

#[test]
fn help_root() {
    check("help", &expect![""]);
}

#[test]
fn help_submit() {
    check("help submit", &expect![""]);
}

#[test]
fn help_load() {
    check("help load", &expect![""]);
}

#[test]
fn help_start() {
    check("help start", &expect![""]);
}

#[test]
fn help_stop() {
    check("help stop", &expect![""]);
}

#[test]
fn help_unload() {
    check("help unload", &expect![""]);
}

#[test]
fn help_restart() {
    check("help restart", &expect![""]);
}

#[test]
fn help_destroy() {
    check("help destroy", &expect![""]);
}

#[test]
fn help_cat() {
    check("help cat", &expect![""]);
}

#[test]
fn help_status() {
    check("help status", &expect![""]);
}

#[test]
fn help_journal() {
    check("help journal", &expect![""]);
}

#[test]
fn help_list_units() {
    check("help list-units", &expect![""]);
}

#[test]
fn help_list_unit_files() {
    check("help list-unit-files", &expect![""]);
}

#[test]
fn help_list_machines() {
    check("help list-machines", &expect![""]);
}

#[test]
fn help_machine() {
    check("help machine", &expect![""]);
}

#[test]
fn help_machine_set_metadata() {
    check("help machine set-metadata", &expect![""]);
}

#[test]
fn help_machine_remove_metadata() {
    check("help machine remove-metadata", &expect![""]);
}

#[test]
fn help_dev() {
    check("help dev", &expect![""]);
}

#[test]
fn help_version() {
    check("help version", &expect![""]);
}

#[test]
fn help_in_every_form() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = run(folder.path(), "help", &[]);
    for args in ["", "-h", "--help", "--h"] {
        assert_eq!(run(folder.path(), args, &[]), root, "fleetctl {args}");
    }
    let stop = run(folder.path(), "help stop", &[]);
    for args in ["stop -h", "stop --help", "-h stop", "stop --h x"] {
        let expected = if args.starts_with('-') { &root } else { &stop };
        assert_eq!(run(folder.path(), args, &[]), *expected, "fleetctl {args}");
    }
}

#[test]
fn version_needs_no_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let expected = format!("exit 0\n--- stdout\nfleetctl version {}\n--- stderr\n", env!("CARGO_PKG_VERSION"));
    for args in ["version", "--version", "-v", "--debug --version"] {
        assert_eq!(run(folder.path(), args, &[]), expected, "fleetctl {args}");
    }
}

#[test]
fn wrong_command_lines() {
    check("strat hello", &expect![""]);
    check("sta hello", &expect![""]);
    check("stop --nonsense hello", &expect![""]);
    check("start --block-attempts many hello", &expect![""]);
    check("start --timeout 0 hello", &expect![""]);
    check("start", &expect![""]);
    check("stop", &expect![""]);
    check("cat", &expect![""]);
    check("list-units --fields unit,nope", &expect![""]);
    check("list-machines --fields=", &expect![""]);
    check("machine set-metadata 4f1c disk", &expect![""]);
    check("dev --machines 0", &expect![""]);
    check("dev --metadata m9:a=b", &expect![""]);
}

#[test]
fn wrong_settings() {
    check("list-units --endpoint fleet.sock", &expect![""]);
    check("list-units --endpoint unix://var/run/fleet.sock", &expect![""]);
    check("list-units --request-timeout soon", &expect![""]);
    check_env("list-units", &[("FLEETCTL_DEBUG", "perhaps")], &expect![""]);
}

#[test]
fn no_fleetd() {
    check("start good --endpoint unix:///nowhere/fleet.sock", &expect![""]);
    check_env("list-machines", &[("FLEETCTL_ENDPOINT", "unix:///nowhere/fleet.sock")], &expect![""]);
}

#[test]
fn arguments_that_are_no_units() {
    check("start föö --endpoint unix:///nowhere/fleet.sock", &expect![""]);
    check("submit no/such/* --endpoint unix:///nowhere/fleet.sock", &expect![""]);
    check("submit zz* --endpoint unix:///nowhere/fleet.sock", &expect![""]);
}

/// Every flag of the original for these commands is still taken, in the original's forms.
#[test]
fn flags_of_the_original_are_known() {
    let folder = tempfile::tempdir().expect("a folder");
    for args in [
        "list-machines --full --no-legend --fields ip",
        "list-machines -l",
        "list-machines --l",
        "list-units --full --no-legend --fields unit,load",
        "list-units -l",
        "list-unit-files --full --no-legend --fields unit,tmachine",
        "load --no-block --block-attempts 3 --replace good",
        "start --no-block --block-attempts=3 --replace good",
        "start --block-attempts -1 good",
        "restart --block-attempts 3 good",
        "stop --no-block --block-attempts 3 good",
        "unload --no-block --block-attempts 3 good",
        "destroy --no-block --block-attempts 3 good",
        "submit --replace good",
        "journal --lines 3 --follow --output cat good",
        "journal -f good",
        "journal --f good",
        "--no-block stop good",
        "--fields ip list-machines",
        "list-m --request-timeout 2.5 --debug",
        "jour good",
        "su good",
        "un good",
        "stat good",
        "sto good",
    ] {
        let said = run(folder.path(), &format!("{args} --endpoint unix:///nowhere/fleet.sock"), &[]);
        assert!(said.starts_with("exit 1\n"), "fleetctl {args}\n{said}");
        assert!(said.contains("no answer from fleetd at unix:///nowhere/fleet.sock"), "fleetctl {args}\n{said}");
    }
}
