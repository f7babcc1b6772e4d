//! Command lines of the original: each that it took is still taken, in all the forms that its parser knew.

use expect_test::expect;

use crate::{check, check_env, run};

/// Lines that ask fleetd for something: `.` stands for a unit that has a file.
///
/// Source: the flags and short forms of the last release, and the form of flags in those before 2016.
const TAKEN: [&str; 87] = [
    "list-machines",
    "list-machines --full --no-legend --fields ip",
    "list-machines --full=true --no-legend=false --fields=machine,metadata,ip",
    "list-machines -l",
    "list-machines --l",
    "list-units",
    "list-units --full --no-legend --fields unit,load",
    "list-units --fields=unit,machine,active,sub,load,hash,unit",
    "list-units -l",
    "list-units --l",
    "list-unit-files",
    "list-unit-files --full --no-legend --fields unit,tmachine",
    "list-unit-files --fields=unit,hash,dstate,state,target,desc,global,tmachine",
    "submit .",
    "submit --replace .",
    "submit --replace=true .",
    "submit --sign=false .",
    "load .",
    "load --no-block --block-attempts 3 --replace .",
    "start .",
    "start . .",
    "start --no-block --block-attempts=3 --replace .",
    "start . --block-attempts -1",
    "restart .",
    "restart --block-attempts 3 .",
    "stop .",
    "stop --no-block --block-attempts 3 .",
    "unload .",
    "unload --no-block --block-attempts 3 .",
    "destroy .",
    "destroy --no-block --block-attempts 3 .",
    "cat .",
    "cat -- .",
    "status .",
    "status . .",
    "status --ssh-port 2222 .",
    "journal .",
    "journal --lines 3 --follow --output cat .",
    "journal --lines=3 --follow=false --output=json .",
    "journal --sudo --ssh-port=22 .",
    "journal -f .",
    "journal --f .",
    // One dash before long names, as before 2016.
    "list-units -full -no-legend",
    "list-machines -fields=machine,ip",
    "start -no-block -block-attempts=3 .",
    "journal -follow -lines=3 .",
    "-debug -request-timeout=2 list-unit-files",
    // Global flags stand before and after the command.
    "--debug --request-timeout 2.5 list-machines",
    "list-machines --debug=false --request-timeout=0.5",
    "list-machines --driver API",
    "list-machines --driver=API --experimental-api --etcd-key-prefix=/_coreos.com/fleet/",
    "list-machines --experimental-api=false",
    "list-machines --key-file /x --cert-file /x --ca-file /x",
    "list-machines --etcd-keyfile=/x --etcd-certfile=/x --etcd-cafile=/x",
    "list-machines --known-hosts-file ~/.fleetctl/known_hosts --strict-host-key-checking=false",
    "list-machines --strict-host-key-checking --ssh-timeout=2.5 --ssh-username core",
    // So do a command's own.
    "--no-block stop .",
    "--no-block=true stop .",
    "--fields ip list-machines",
    // Every short form that meant one command.
    "c .",
    "ca .",
    "d .",
    "de .",
    "dest .",
    "j .",
    "jour .",
    "list-m",
    "list-machine",
    "list-unit-",
    "list-unit-f",
    "list-units",
    "lo .",
    "loa .",
    "r .",
    "re .",
    "res .",
    "rest .",
    "resta .",
    "star .",
    "stat .",
    "sto .",
    "su .",
    "sub .",
    "u .",
    "un .",
    "unl .",
    "unloa .",
];

#[test]
fn every_line_of_the_original_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("good.service"), "[Service]\nExecStart=/bin/true\n").expect("a file");
    for args in TAKEN {
        let args = args.replace(" .", " good");
        // In front, for behind `--` there are only units.
        let line = format!("--endpoint unix:///nowhere/fleet.sock {args}");
        let said = run(folder.path(), &line, &[]);
        assert!(said.starts_with("exit 1\n"), "fleetctl {line}\n{said}");
        assert!(said.contains("no answer from fleetd at unix:///nowhere/fleet.sock"), "fleetctl {line}\n{said}");
    }
}

#[test]
fn what_has_no_meaning_any_more_gets_a_word() {
    let nowhere = "--endpoint unix:///nowhere/fleet.sock,http://127.0.0.1:1";
    check(
        &format!("journal --sudo --ssh-port 22 --etcd-key-prefix /x --experimental-api=false {nowhere} good"),
        expect![[r#"
            exit 1
            --- stdout
            --- stderr
            WARNING: `--etcd-key-prefix` has no effect: fleetd's own configuration says where its state is kept
            WARNING: `--experimental-api` has no effect: there is only the API
            WARNING: only the first of several endpoints is used: unix:///nowhere/fleet.sock
            WARNING: `--ssh-port` has no effect: fleetd is asked, and no ssh is needed
            WARNING: `--sudo` has no effect: fleetd reads the journal of its machine itself
            error: cannot look up the units
              cause: no answer from fleetd at unix:///nowhere/fleet.sock
              cause: No such file or directory (os error 2)
            hint: there is no socket `/nowhere/fleet.sock`: see that fleetd runs and listens there
        "#]],
    );
    check(
        "list-units --driver etcd",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: `--driver` has the value `etcd`: fleetctl asks fleetd, and fleetd alone reads etcd: leave it out, and say with `--endpoint` where a fleetd is
    "#]],
    );
    check_env(
        "list-units",
        &[("FLEETCTL_DRIVER", "registry")],
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: environment variable `FLEETCTL_DRIVER` has the value `registry`: unrecognized driver: there is only `API`
        hint: correct the variable, or remove it: `unset FLEETCTL_DRIVER`
    "#]],
    );
    check(
        "submit --sign good",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: units cannot be signed: the signed/verified units feature is DEPRECATED and cannot be used
        hint: leave `--sign` out
    "#]],
    );
    check(
        "verify good",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        Command "verify" is deprecated, DEPRECATED - No longer works
        WARNING: The signed/verified units feature is DEPRECATED and cannot be used.
    "#]],
    );
    check(
        "veri",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        Command "verify" is deprecated, DEPRECATED - No longer works
        WARNING: The signed/verified units feature is DEPRECATED and cannot be used.
    "#]],
    );
    check(
        "list-units --endpoint http://127.63.255.254:4001",
        expect![[r#"
        exit 1
        --- stdout
        --- stderr
        error: cannot list the units
          cause: no answer from fleetd at http://127.63.255.254:4001
          cause: Connection refused (os error 111)
        hint: that is etcd's port: fleetctl asks fleetd, and fleetd alone reads etcd; say where a fleetd is
    "#]],
    );
}

/// The variable of `--help`, which the original's parser made by itself.
#[test]
fn help_by_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let wanted = [("FLEETCTL_HELP", "1")];
    assert_eq!(run(folder.path(), "stop good", &wanted), run(folder.path(), "help stop", &[]));
    assert_eq!(run(folder.path(), "dev -- true", &wanted), run(folder.path(), "help dev", &[]));
    assert!(run(folder.path(), "stop", &[("FLEETCTL_HELP", "0")]).starts_with("exit 2\n"));
    check_env(
        "stop good",
        &[("FLEETCTL_HELP", "please")],
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: environment variable `FLEETCTL_HELP` has the value `please`: it is neither true nor false
        hint: correct the variable, or remove it: `unset FLEETCTL_HELP`
    "#]],
    );
}

/// Variables are of global flags only.
#[test]
fn flags_of_commands_have_no_variable() {
    let folder = tempfile::tempdir().expect("a folder");
    let env = [("FLEETCTL_NO_BLOCK", "nonsense"), ("FLEETCTL_FULL", "nonsense"), ("FLEETCTL_VERSION", "1")];
    assert!(run(folder.path(), "stop", &env).contains("error: No units given"));
}

/// Commands that other tools have.
#[test]
fn other_words_for_what_we_do() {
    check(
        "enable good",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: there is no command `enable`
        hint: what is started is kept running, also after a reboot: `fleetctl start UNIT`
    "#]],
    );
    check(
        "logs -f good",
        expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: there is no command `logs`
        hint: `fleetctl journal UNIT`, with `-f` to follow
    "#]],
    );
    check(
        "machine enable",
        expect![[r#"
            exit 2
            --- stdout
            --- stderr
            error: there is no command `machine enable`
            hint: there are `set-metadata`, `remove-metadata`, `cordon`, `uncordon`, `drain` and `give-up`
        "#]],
    );
}
