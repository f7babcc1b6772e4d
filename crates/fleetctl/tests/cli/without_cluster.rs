//! What is said where no cluster is needed, or none is there.

use expect_test::expect;

use crate::{check, check_env, run};

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
        error: unrecognized subcommand 'strat'

          tip: some similar subcommands exist: 'status', 'restart', 'start'

        Usage: fleetctl [OPTIONS] [COMMAND]

        For more information, try '--help'.
    "#]],
    );
    check(
        "sta hello",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: unrecognized subcommand 'sta'

          tip: some similar subcommands exist: 'stop', 'list-machines', 'restart', 'status', 'start'

        Usage: fleetctl [OPTIONS] [COMMAND]

        For more information, try '--help'.
    "#]],
    );
    check(
        "stop --nonsense hello",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: unexpected argument '--nonsense' found

          tip: to pass '--nonsense' as a value, use '-- --nonsense'

        Usage: fleetctl stop [OPTIONS] [UNIT]...

        For more information, try '--help'.
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
