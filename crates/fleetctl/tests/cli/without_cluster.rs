//! What is said where no cluster is needed, or none is there.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;

use expect_test::expect;

use crate::{check, check_env, run};

/// The user who owns nothing.
const NOBODY: u32 = 65_534;

#[test]
fn version_needs_no_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let expected = format!("exit 0\n--- stdout\nfleetctl version {}\n--- stderr\n", env!("CARGO_PKG_VERSION"));
    for args in [
        "version",
        "--version",
        "-v",
        "--debug --version",
        "--version=true",
        "version whatever",
        "vers",
        "list-units --version",
        "--driver etcd version",
        "--endpoint nonsense version",
    ] {
        assert_eq!(run(folder.path(), args, &[]), expected, "fleetctl {args}");
    }
}

#[test]
fn wrong_command_lines() {
    check(
        "strat hello",
        expect![[r#"
            exit 2
            --- stdout
            --- stderr
            error: there is no command `strat`
            hint: did you mean `start`, `restart` or `status`?
        "#]],
    );
    check(
        "sta hello",
        expect![[r#"
            exit 2
            --- stdout
            --- stderr
            error: there is no command `sta`
            hint: several begin so: `start` and `status`
        "#]],
    );
    check(
        "stop --nonsense hello",
        expect![[r#"
            exit 2
            --- stdout
            --- stderr
            error: there is no flag `--nonsense` here
            hint: `fleetctl help stop` lists the flags
        "#]],
    );
    check(
        "start --block-attempts many hello",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: invalid value 'many' for '--block-attempts <N>': invalid digit found in string

        For more information, try '--help'.
    "#]],
    );
    check(
        "start --timeout 0 hello",
        expect![[r#"
            exit 2
            --- stdout
            --- stderr
            error: invalid value '0' for '--timeout <SECONDS>': it is no number of seconds greater than 0 and at most 100000000

            For more information, try '--help'.
        "#]],
    );
    check(
        "start",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: No units given
        hint: name at least one unit: `fleetctl start UNIT...`; see `fleetctl help start`
    "#]],
    );
    check(
        "stop",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: No units given
        hint: name at least one unit: `fleetctl stop UNIT...`; see `fleetctl help stop`
    "#]],
    );
    check(
        "cat",
        expect![[r#"
            exit 2
            --- stdout
            --- stderr
            error: the following required arguments were not provided:
              <UNIT>...

            Usage: fleetctl cat <UNIT>...

            For more information, try '--help'.
        "#]],
    );
    check(
        "list-units --fields unit,nope",
        expect![[r#"
            exit 2
            --- stdout
            --- stderr
            error: Invalid key in output format: "nope"
            hint: the columns of this list are unit, machine, active, sub, load, hash, result, desc
        "#]],
    );
    check(
        "list-machines --fields=",
        expect![[r#"
            exit 2
            --- stdout
            --- stderr
            error: Must define output format
            hint: the columns of this list are machine, ip, metadata, state, units, version
        "#]],
    );
    check(
        "machine set-metadata 4f1c disk",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: `disk` is no metadata: write KEY=VALUE
    "#]],
    );
    check(
        "dev --machines 0",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: invalid value '0' for '--machines <N>': 0 is not in 1..=200

        For more information, try '--help'.
    "#]],
    );
    check(
        "dev --metadata m9:a=b",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: `--metadata` has the value `m9:a=b`: there is no machine `m9`, only m1, m2, m3
    "#]],
    );
}

/// What people who know other tools type, and what is misspelt, is told with what to type here.
#[test]
fn habits() {
    let mut said = String::new();
    for line in [
        "machine list",
        "drain 4f1c",
        "destroi a",
        "zzz",
        "help isolate",
        "status -p MainPID a",
        "show -r a",
        "-H host status a",
        "status -M m1 a",
        "--user list-units",
        "journal -b a",
        "journal --grep=x a",
        "start -r a",
        "stop --no-blok a",
        "stop --known a",
        "machine drain -q x",
    ] {
        let told = crate::run(std::path::Path::new("/"), line, &[]);
        said += &format!(
            "$ fleetctl {line}\n{}",
            told.strip_prefix("exit 2\n--- stdout\n--- stderr\n").expect("a wrong line")
        );
    }
    expect![[r#"
        $ fleetctl machine list
        error: there is no command `machine list`
        hint: there are `set-metadata`, `remove-metadata`, `cordon`, `uncordon`, `drain` and `give-up`
        $ fleetctl drain 4f1c
        error: there is no command `drain`
        hint: `fleetctl machine drain ID`
        $ fleetctl destroi a
        error: there is no command `destroi`
        hint: did you mean `destroy`, `restore` or `restart`?
        $ fleetctl zzz
        error: there is no command `zzz`
        hint: `fleetctl help` lists the commands
        $ fleetctl help isolate
        error: there is no command `isolate`
        hint: `fleetctl help` lists the commands
        $ fleetctl status -p MainPID a
        error: there is no flag `-p` here
        hint: `fleetctl show -p NAMES UNIT`
        $ fleetctl show -r a
        error: there is no flag `-r` here
        hint: `fleetctl help show` lists the flags
        $ fleetctl -H host status a
        error: there is no flag `-H` here
        hint: `--endpoint URL` says which fleetd is asked; `--tunnel HOST` goes through that host by ssh
        $ fleetctl status -M m1 a
        error: there is no flag `-M` here
        hint: `--machine ID`, for commands that look at one machine; `fleetctl list-machines` shows the IDs
        $ fleetctl --user list-units
        error: there is no flag `--user` here
        hint: fleetd knows which systemd it drives; `--endpoint URL` says which fleetd is asked
        $ fleetctl journal -b a
        error: there is no flag `-b` here
        hint: say since when: `fleetctl journal --since yesterday UNIT`
        $ fleetctl journal --grep=x a
        error: there is no flag `--grep` here
        hint: `fleetctl journal -n all UNIT | grep PATTERN`
        $ fleetctl start -r a
        error: there is no flag `-r` here
        hint: `fleetctl help start` lists the flags
        $ fleetctl stop --no-blok a
        error: there is no flag `--no-blok` here
        hint: did you mean `--no-block`? `fleetctl help stop` lists the flags
        $ fleetctl stop --known a
        error: there is no flag `--known` here
        hint: `fleetctl help stop` lists the flags
        $ fleetctl machine drain -q x
        error: there is no flag `-q` here
        hint: `fleetctl help machine drain` lists the flags
    "#]]
    .assert_eq(&said);
}

/// A socket that may not be opened is not one at which nobody listens.
#[test]
fn sockets_that_are_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("fleet.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    let said = run(folder.path(), &format!("list-units --endpoint unix://{}", socket.display()), &[]);
    let said = said.replace(folder.path().to_str().expect("UTF-8"), "DIR");
    expect![[r#"
        exit 1
        --- stdout
        --- stderr
        error: cannot list the units
          cause: no answer from fleetd at unix://DIR/fleet.sock
          cause: Connection refused (os error 111)
        hint: see that fleetd runs there (`systemctl status fleetd`) and listens at unix://DIR/fleet.sock
    "#]]
    .assert_eq(&said);

    // Root may open everything, so the test is nobody then; nobody may not reach the program where it was built.
    let program = folder.path().join("fleetctl");
    std::fs::copy(env!("CARGO_BIN_EXE_fleetctl"), &program).expect("a copy");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a folder for all");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o000)).expect("a socket for nobody");
    let mut command = std::process::Command::new(program);
    command.env_clear().args(["list-units", "--endpoint"]).arg(format!("unix://{}", socket.display()));
    if std::fs::metadata("/proc/self").expect("proc").uid() == 0 {
        command.uid(NOBODY);
    }
    let output = command.output().expect("fleetctl runs");
    let said = String::from_utf8_lossy(&output.stderr).replace(folder.path().to_str().expect("UTF-8"), "DIR");
    expect![[r#"
        error: cannot list the units
          cause: no answer from fleetd at unix://DIR/fleet.sock
          cause: Permission denied (os error 13)
        hint: you may not open `DIR/fleet.sock`: try again as root (`sudo`), or as the user or in the group that it belongs to
    "#]].assert_eq(&said);
}

#[test]
fn wrong_settings() {
    check(
        "list-units --endpoint fleet.sock",
        expect![[r#"
            exit 2
            --- stdout
            --- stderr
            error: cannot use `fleet.sock` as the endpoint
              cause: endpoint `fleet.sock` has no scheme: write `unix:///path`, `http://host:port` or `https://host:port`
        "#]],
    );
    check(
        "list-units --endpoint unix://var/run/fleet.sock",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: cannot use `unix://var/run/fleet.sock` as the endpoint
          cause: endpoint `unix://var/run/fleet.sock` names a host, but a unix socket has a path: write `unix:///var/run/fleet.sock`
    "#]],
    );
    check(
        "list-units --request-timeout soon",
        expect![[r#"
            exit 2
            --- stdout
            --- stderr
            error: `--request-timeout` has the value `soon`: it is no number of seconds greater than 0 and at most 100000000
        "#]],
    );
    check_env(
        "list-units",
        &[("FLEETCTL_DEBUG", "perhaps")],
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: environment variable `FLEETCTL_DEBUG` has the value `perhaps`: it is neither true nor false
        hint: correct the variable, or remove it: `unset FLEETCTL_DEBUG`
    "#]],
    );
}

#[test]
fn no_fleetd() {
    check(
        "start good --endpoint unix:///nowhere/fleet.sock",
        expect![[r#"
            exit 1
            --- stdout
            --- stderr
            error: cannot look up the units
              cause: no answer from fleetd at unix:///nowhere/fleet.sock
              cause: No such file or directory (os error 2)
            hint: there is no socket `/nowhere/fleet.sock`: see that fleetd runs and listens there
        "#]],
    );
    check_env(
        "list-machines",
        &[("FLEETCTL_ENDPOINT", "unix:///nowhere/fleet.sock")],
        expect![[r#"
            exit 1
            --- stdout
            --- stderr
            error: cannot list the machines
              cause: no answer from fleetd at unix:///nowhere/fleet.sock
              cause: No such file or directory (os error 2)
            hint: there is no socket `/nowhere/fleet.sock`: see that fleetd runs and listens there
        "#]],
    );
}

#[test]
fn arguments_that_are_no_units() {
    check(
        "start föö --endpoint unix:///nowhere/fleet.sock",
        expect![[r#"
        exit 1
        --- stdout
        --- stderr
        error: `föö` names no unit
          cause: invalid character 'ö' in unit name `föö.service`
        hint: a unit name is a prefix and a type: `hello.service`, `hello@1.service`
    "#]],
    );
    check(
        "submit no/such/* --endpoint unix:///nowhere/fleet.sock",
        expect![[r#"
        exit 4
        --- stdout
        --- stderr
        error: nothing matches `no/such/*`
        hint: looked among the unit files on disk
    "#]],
    );
    check(
        "submit zz* --endpoint unix:///nowhere/fleet.sock",
        expect![[r#"
        exit 4
        --- stdout
        --- stderr
        error: nothing matches `zz*`
        hint: looked among the unit files here
    "#]],
    );
}

/// The original waited for ever, whatever it was told.
#[test]
fn a_fleetd_that_says_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("fleet.sock");
    let _listens = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let line = format!("list-units --request-timeout 0.2 --endpoint unix://{}", socket.display());
    expect![[r#"
        exit 1
        --- stdout
        --- stderr
        error: cannot list the units: no answer from fleetd within 0.2 s
        hint: fleetd is there and does not answer in time; more time is given by `--request-timeout`
    "#]]
    .assert_eq(&run(folder.path(), &line, &[]));
    let env = [("FLEETCTL_REQUEST_TIMEOUT", "0.3"), ("FLEETCTL_ENDPOINT", &*format!("unix://{}", socket.display()))];
    let said = run(folder.path(), "journal -f anything", &env);
    assert!(said.starts_with("exit 1\n") && said.contains("no answer from fleetd within 0.3 s"), "{said}");
}
