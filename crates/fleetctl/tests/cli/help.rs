//! The help of every command, to the byte.

use expect_test::{Expect, expect};

use crate::run;

/// Compares the help of one command. The global options, which are in each, are compared once, in the help of all.
#[track_caller]
fn check(topic: &str, expected: Expect) {
    let folder = tempfile::tempdir().expect("a folder");
    let said = run(folder.path(), &format!("help {topic}"), &[]);
    let text = said.strip_prefix("exit 0\n--- stdout\n").and_then(|said| said.strip_suffix("--- stderr\n"));
    let text = text.unwrap_or_else(|| panic!("help goes to stdout and succeeds:\n{said}"));
    if topic.is_empty() {
        return expected.assert_eq(text);
    }
    let (ours, global) = text.split_once(GLOBAL_OPTIONS).expect("every help has the global options");
    let after = global.split_once("\n\n").map(|(_, after)| format!("\n{after}")).unwrap_or_default();
    expected.assert_eq(&format!("{ours}{GLOBAL_OPTIONS} ...\n{after}"));
}

const GLOBAL_OPTIONS: &str = "Global options:";

#[test]
fn root() {
    check(
        "",
        expect![[r#"
            Runs systemd units on a cluster of machines.

            fleetctl gives ordinary unit files to fleetd, which decides on which machine each runs, hands it to
            that machine's systemd and keeps it so when machines come and go.

            A unit may be named with or without its suffix (`hello` is `hello.service`) and by a path to its
            file. A command may be shortened to any beginning that no other command has.

            Usage: fleetctl [OPTIONS] [COMMAND]

            Commands:
              submit           Give unit files to the cluster without placing them
              load             Place units on machines without starting them
              start            Start units and wait until systemd says that they run
              stop             Stop units; they stay on their machines
              unload           Stop units and take them from their machines; they stay in the cluster
              restart          Restart units where they are
              destroy          Stop units, take them from their machines and forget them
              cat              Print a unit's file
              status           Say how units are: systemctl's status, or why a unit waits; without a unit: the
                               cluster at a glance
              journal          Print the journals of units, on all their machines
              list-units       List units as their machines' systemds see them
              list-unit-files  List the units that the cluster knows
              list-machines    List the machines: which are there, lost, cordoned or drained
              machine          Change metadata of a machine, or whether and what it is to run
              dev              Bring up a cluster on this box: machines with a real systemd each, and a fleetd
              completion       Print the script with which a shell completes command lines, also with names from
                               the cluster
              version          Print the version of fleetctl
              help             Print this message or the help of the given subcommand(s)

            Global options:
              -h, --help                       Print help
              -v, --version                    Print the version
                  --endpoint <URL>             Where fleetd is: `unix:///PATH` or `http://HOST:PORT` [default:
                                               unix:///var/run/fleet.sock] [env: FLEETCTL_ENDPOINT]
                  --request-timeout <SECONDS>  How long one request may take; waiting for units is not counted
                                               [default: 10] [env: FLEETCTL_REQUEST_TIMEOUT]
                  --debug                      Say on stderr what is asked of fleetd [env: FLEETCTL_DEBUG]

            Exit codes:
              0    done
              1    something failed, was refused, or took longer than allowed
              2    the command line or an environment variable is wrong; nothing was done
              3    status: the unit is not running (systemctl's code)
              4    no such unit (systemctl's code)
              130  ended by Ctrl-C while waiting; the desired state stays
              143  ended by SIGTERM while waiting; the desired state stays
        "#]],
    );
}

#[test]
fn submit() {
    check(
        "submit",
        expect![[r#"
        Give unit files to the cluster without placing them

        Usage: fleetctl submit [OPTIONS] [UNIT]...

        Arguments:
          [UNIT]...  Unit names, unit files, directories of them, or quoted globs

        Options:
              --replace  Let a local file take the place of a different one in the cluster
              --lenient  Take mistakes in `[X-Fleet]` that the original fleet ignored for warnings

        Global options: ...

        A unit is looked for in the cluster, then as a file, then as an instance of a template in the
        cluster, then of a template file in the same directory. A symbolic link gives a unit its own name
        and the content of the file that it leads to. `DIR/` and quoted globs stand for the unit files
        there; `load` and `start` pass over templates among them. A quoted glob without a match on disk is
        matched with the units in the cluster.
    "#]],
    );
}

#[test]
fn load() {
    check(
        "load",
        expect![[r#"
        Place units on machines without starting them

        Usage: fleetctl load [OPTIONS] [UNIT]...

        Arguments:
          [UNIT]...  Unit names, unit files, directories of them, or quoted globs

        Options:
              --replace             Let a local file take the place of a different one in the cluster
              --lenient             Take mistakes in `[X-Fleet]` that the original fleet ignored for
                                    warnings
              --no-block            Do not wait
              --block-attempts <N>  Wait for N rounds of 2 seconds; 0 or less is without limit
              --timeout <SECONDS>   Wait for at most this long

        Global options: ...

        A unit is looked for in the cluster, then as a file, then as an instance of a template in the
        cluster, then of a template file in the same directory. A symbolic link gives a unit its own name
        and the content of the file that it leads to. `DIR/` and quoted globs stand for the unit files
        there; `load` and `start` pass over templates among them. A quoted glob without a match on disk is
        matched with the units in the cluster.
    "#]],
    );
}

#[test]
fn start() {
    check(
        "start",
        expect![[r#"
        Start units and wait until systemd says that they run

        Usage: fleetctl start [OPTIONS] [UNIT]...

        Arguments:
          [UNIT]...  Unit names, unit files, directories of them, or quoted globs

        Options:
              --replace             Let a local file take the place of a different one in the cluster
              --lenient             Take mistakes in `[X-Fleet]` that the original fleet ignored for
                                    warnings
              --no-block            Do not wait
              --block-attempts <N>  Wait for N rounds of 2 seconds; 0 or less is without limit
              --timeout <SECONDS>   Wait for at most this long

        Global options: ...

        A unit is looked for in the cluster, then as a file, then as an instance of a template in the
        cluster, then of a template file in the same directory. A symbolic link gives a unit its own name
        and the content of the file that it leads to. `DIR/` and quoted globs stand for the unit files
        there; `load` and `start` pass over templates among them. A quoted glob without a match on disk is
        matched with the units in the cluster.
    "#]],
    );
}

#[test]
fn stop() {
    check(
        "stop",
        expect![[r#"
        Stop units; they stay on their machines

        Usage: fleetctl stop [OPTIONS] [UNIT]...

        Arguments:
          [UNIT]...  Unit names or quoted globs

        Options:
              --no-block            Do not wait
              --block-attempts <N>  Wait for N rounds of 2 seconds; 0 or less is without limit
              --timeout <SECONDS>   Wait for at most this long

        Global options: ...

        A quoted glob is matched with the units in the cluster; `DIR/` and a glob with a path stand for the
        units whose files are there.
    "#]],
    );
}

#[test]
fn unload() {
    check(
        "unload",
        expect![[r#"
        Stop units and take them from their machines; they stay in the cluster

        Usage: fleetctl unload [OPTIONS] [UNIT]...

        Arguments:
          [UNIT]...  Unit names or quoted globs

        Options:
              --no-block            Do not wait
              --block-attempts <N>  Wait for N rounds of 2 seconds; 0 or less is without limit
              --timeout <SECONDS>   Wait for at most this long

        Global options: ...

        A quoted glob is matched with the units in the cluster; `DIR/` and a glob with a path stand for the
        units whose files are there.
    "#]],
    );
}

#[test]
fn restart() {
    check(
        "restart",
        expect![[r#"
        Restart units where they are

        Usage: fleetctl restart [OPTIONS] [UNIT]...

        Arguments:
          [UNIT]...  Unit names or quoted globs

        Options:
              --no-block            Do not wait
              --block-attempts <N>  Wait for N rounds of 2 seconds; 0 or less is without limit
              --timeout <SECONDS>   Wait for at most this long

        Global options: ...

        A quoted glob is matched with the units in the cluster; `DIR/` and a glob with a path stand for the
        units whose files are there.
    "#]],
    );
}

#[test]
fn destroy() {
    check(
        "destroy",
        expect![[r#"
        Stop units, take them from their machines and forget them

        Usage: fleetctl destroy [OPTIONS] [UNIT]...

        Arguments:
          [UNIT]...  Unit names or quoted globs

        Options:
              --no-block            Do not wait
              --block-attempts <N>  Wait for N rounds of 2 seconds; 0 or less is without limit
              --timeout <SECONDS>   Wait for at most this long

        Global options: ...

        A quoted glob is matched with the units in the cluster; `DIR/` and a glob with a path stand for the
        units whose files are there.
    "#]],
    );
}

#[test]
fn cat() {
    check(
        "cat",
        expect![[r#"
        Print a unit's file

        Usage: fleetctl cat [OPTIONS] <UNIT>

        Arguments:
          <UNIT>  The unit

        Options:
              --canonical  Print the form that fleet hashes and systemd reads, without comments

        Global options: ...
    "#]],
    );
}

#[test]
fn status() {
    check(
        "status",
        expect![[r#"
        Say how units are: systemctl's status, or why a unit waits; without a unit: the cluster at a glance

        Usage: fleetctl status [OPTIONS] [UNIT]...

        Arguments:
          [UNIT]...  Unit names or quoted globs

        Options:
              --machine <ID>     Only on this machine: its ID or the beginning of it
          -o, --output <FORMAT>  How to print [default: text] [possible values: text, json]

        Global options: ...

        A quoted glob is matched with the units in the cluster; `DIR/` and a glob with a path stand for the
        units whose files are there.
    "#]],
    );
}

#[test]
fn journal() {
    check(
        "journal",
        expect![[r#"
            Print the journals of units, on all their machines

            Usage: fleetctl journal [OPTIONS] <UNIT>...

            Arguments:
              <UNIT>...  Unit names or quoted globs; the lines of all are put in the order of time

            Options:
              -n, --lines <N>      How many of the last lines [default: 10]
              -f, --follow         Go on with new lines as they come
              -o, --output <MODE>  journalctl's output mode; of several units or machines `short`, `cat` or
                                   `json` [default: short]
                  --machine <ID>   Only on this machine: its ID or the beginning of it

            Global options: ...
        "#]],
    );
}

#[test]
fn list_units() {
    check(
        "list-units",
        expect![[r#"
        List units as their machines' systemds see them

        Usage: fleetctl list-units [OPTIONS] [UNIT]...

        Arguments:
          [UNIT]...  Only these: unit names or quoted globs

        Options:
          -l, --full             Do not shorten machine IDs and hashes
              --no-legend        Leave out the header line
              --fields <FIELDS>  The columns, separated by commas
          -o, --output <FORMAT>  How to print [default: text] [possible values: text, json]

        Global options: ...

        Columns: unit, machine, active, sub, load, hash.
    "#]],
    );
}

#[test]
fn list_unit_files() {
    check(
        "list-unit-files",
        expect![[r#"
        List the units that the cluster knows

        Usage: fleetctl list-unit-files [OPTIONS] [UNIT]...

        Arguments:
          [UNIT]...  Only these: unit names or quoted globs

        Options:
          -l, --full             Do not shorten machine IDs and hashes
              --no-legend        Leave out the header line
              --fields <FIELDS>  The columns, separated by commas
          -o, --output <FORMAT>  How to print [default: text] [possible values: text, json]

        Global options: ...

        Columns: unit, hash, dstate, state, target, desc, global.
    "#]],
    );
}

#[test]
fn list_machines() {
    check(
        "list-machines",
        expect![[r#"
            List the machines: which are there, lost, cordoned or drained

            Usage: fleetctl list-machines [OPTIONS]

            Options:
              -l, --full             Do not shorten machine IDs and hashes
                  --no-legend        Leave out the header line
                  --fields <FIELDS>  The columns, separated by commas
              -o, --output <FORMAT>  How to print [default: text] [possible values: text, json]

            Global options: ...

            Columns: machine, ip, metadata, state, units.
        "#]],
    );
}

#[test]
fn machine() {
    check(
        "machine",
        expect![[r#"
            Change metadata of a machine, or whether and what it is to run

            Usage: fleetctl machine [OPTIONS] <COMMAND>

            Commands:
              set-metadata     Set metadata of a machine; units that wait for it are placed at once
              remove-metadata  Remove metadata of a machine
              cordon           Place nothing new on a machine; what is there stays. Ends a drain
              uncordon         Let a machine that is cordoned or drained take units again
              drain            Move away what may move, and place nothing new on the machine; wait until that is
                               done
              give-up          Say that a machine that is lost is off and does not come back: its units are
                               placed elsewhere at once
              help             Print this message or the help of the given subcommand(s)

            Global options: ...
        "#]],
    );
}

#[test]
fn machine_set_metadata() {
    check(
        "machine set-metadata",
        expect![[r#"
            Set metadata of a machine; units that wait for it are placed at once

            Usage: fleetctl machine set-metadata [OPTIONS] <ID> <KEY=VALUE>...

            Arguments:
              <ID>            The machine: its ID or the beginning of it, or its address
              <KEY=VALUE>...  What to set

            Global options: ...
        "#]],
    );
}

#[test]
fn machine_remove_metadata() {
    check(
        "machine remove-metadata",
        expect![[r#"
            Remove metadata of a machine

            Usage: fleetctl machine remove-metadata [OPTIONS] <ID> <KEY>...

            Arguments:
              <ID>      The machine: its ID or the beginning of it, or its address
              <KEY>...  What to remove

            Global options: ...
        "#]],
    );
}

#[test]
fn dev() {
    check(
        "dev",
        expect![[r#"
            Bring up a cluster on this box: machines with a real systemd each, and a fleetd

            Usage: fleetctl dev [OPTIONS] [-- <COMMAND>...]

            Arguments:
              [COMMAND]...  Run this with FLEETCTL_ENDPOINT set, then take all down and end with its exit code

            Options:
                  --machines <N>
                      How many machines [default: 3]
                  --metadata <MACHINE:KEY=VALUE,...>
                      Metadata of a machine: `m1:disk=ssd,zone=a`; may be given several times
                  --store <STORE>
                      Where the cluster's memory is: in a file, with one fleetd, or in an etcd, with a fleetd
                      for each machine [default: embedded] [possible values: embedded, etcd]
                  --keep <DIR>
                      Keep the data in this directory and use what is there

            Global options: ...
        "#]],
    );
}

#[test]
fn what_operators_do_with_machines() {
    check(
        "machine cordon",
        expect![[r#"
        Place nothing new on a machine; what is there stays. Ends a drain

        Usage: fleetctl machine cordon [OPTIONS] <ID>

        Arguments:
          <ID>  The machine: its ID or the beginning of it, or its address

        Global options: ...
    "#]],
    );
    check(
        "machine drain",
        expect![[r#"
        Move away what may move, and place nothing new on the machine; wait until that is done

        Usage: fleetctl machine drain [OPTIONS] <ID>

        Arguments:
          <ID>  The machine: its ID or the beginning of it, or its address

        Options:
              --max <N>            How many units may be on their way at once [default: 4]
              --no-block           Do not wait
              --timeout <SECONDS>  Wait for at most this long

        Global options: ...

        A unit runs on here until it is up on its new machine; one with WhenIsolated=stop is stopped first.
        Global units stay. What no other machine can take stays and runs on, and the exit code is 1; it goes
        as soon as one can take it. `machine uncordon` ends the drain.
    "#]],
    );
    check(
        "machine give-up",
        expect![[r#"
        Say that a machine that is lost is off and does not come back: its units are placed elsewhere at
        once

        Usage: fleetctl machine give-up [OPTIONS] <ID>

        Arguments:
          <ID>  The machine: its ID or the beginning of it, or its address

        Global options: ...

        If the machine runs after all, its units may run twice until it is back, also those with
        WhenIsolated=stop. It is no longer given up when it is back.
    "#]],
    );
}

#[test]
fn version() {
    check(
        "version",
        expect![[r#"
        Print the version of fleetctl

        Usage: fleetctl version [OPTIONS]

        Global options: ...
    "#]],
    );
}

#[test]
fn in_every_form() {
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
fn completion() {
    check(
        "completion",
        expect![[r#"
        Print the script with which a shell completes command lines, also with names from the cluster

        Usage: fleetctl completion [OPTIONS] <SHELL>

        Arguments:
          <SHELL>  The shell [possible values: bash, zsh, fish]

        Global options: ...

        For the shell that runs:
          bash  source <(fleetctl completion bash)
          zsh   source <(fleetctl completion zsh)
          fish  fleetctl completion fish | source

        For every shell to come, put that line into ~/.bashrc, ~/.zshrc (behind compinit) or
        ~/.config/fish/config.fish. Names of units and machines are asked of the cluster that the line being
        typed or the environment names, for at most a second.
    "#]],
    );
}
