//! A cluster's files, the life of its `fleetd`, and what is left.
//!
//! The program here is a stand-in of a few lines: these tests are about what fleet-dev does for any `fleetd`. The real
//! one is tested where it is built.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use fleet_dev::{Cluster, ClusterSpec, ClusterStore, DevError, MachineSpec};
use serde::Deserialize;

use crate::box_state::{Traces, output, users_of};

/// Says on what it was started and that it is ready, and ends when asked.
const STANDS_IN: &str = "echo \"started with $*\"\nsystemd-notify --ready\nexec sleep infinity\n";

fn program(dir: &Path, script: &str) -> PathBuf {
    let path = dir.join("stand-in");
    fs::write(&path, format!("#!/bin/sh\n{script}")).expect("our folder");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our file");
    path
}

fn specs(n: u8) -> Vec<MachineSpec> {
    let metadata = |n: u8| BTreeMap::from([("disk".to_owned(), if n == 1 { "ssd" } else { "hdd" }.to_owned())]);
    (1..=n).map(|n| MachineSpec { metadata: metadata(n), ..MachineSpec::numbered(n) }).collect()
}

/// `machines.toml` as `fleetd` must be able to read it, written down a second time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachinesFile {
    machine: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    name: String,
    public_ip: String,
    systemd_socket: PathBuf,
    unit_directory: PathBuf,
    enter: Vec<String>,
    systemd_user: bool,
    metadata: BTreeMap<String, String>,
}

#[test]
fn the_files_lead_to_the_machines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fleetd = program(folder.path(), STANDS_IN);
    let cluster = Cluster::start(ClusterSpec { machines: specs(2), dir: None, fleetd, store: ClusterStore::Embedded })
        .expect("the cluster starts");
    let dir = cluster.dir().to_owned();

    let text = fs::read_to_string(dir.join("machines.toml")).expect("the machines file");
    let file: MachinesFile = toml::from_str(&text).unwrap_or_else(|err| panic!("{err}\n{text}"));
    assert_eq!(file.machine.len(), 2);
    for (entry, spec) in file.machine.iter().zip(specs(2)) {
        assert_eq!((&entry.id, &entry.name, &entry.metadata), (&spec.id, &spec.name, &spec.metadata));
        assert_eq!(entry.public_ip, spec.address.to_string());
        UnixStream::connect(&entry.systemd_socket).expect("systemd takes connections there");
        assert!(entry.systemd_user);
        fs::write(entry.unit_directory.join("x.service"), "[Service]\nExecStart=/bin/true\n").expect("it is there");
        let mut command = Command::new(&entry.enter[0]);
        command.args(&entry.enter[1..]).args(["systemctl", "--user", "show", "x", "--property=LoadState", "--value"]);
        assert_eq!(output(&mut command), "loaded");
    }

    let dir = dir.display();
    assert_eq!(
        fs::read_to_string(cluster.fleetd_config()).expect("the configuration"),
        format!(
            "# Written by fleet-dev.\nmachines_file = {dir}/machines.toml\nstore = embedded\n\
             store_path = {dir}/store.redb\nlisten = unix://{dir}/fleet.sock\n\
             advertise = unix://{dir}/fleet.sock\n"
        )
    );
    assert_eq!(cluster.endpoint(), format!("unix://{dir}/fleet.sock"));
    let log = fs::read_to_string(cluster.fleetd_log()).expect("the log");
    assert_eq!(log, format!("started with --config {dir}/fleet.conf\n"));
    cluster.stop().expect("the cluster stops");
}

#[test]
fn fleetd_comes_and_goes_and_machines_stay() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fleetd = program(folder.path(), STANDS_IN);
    let spec = ClusterSpec { machines: specs(1), dir: None, fleetd, store: ClusterStore::Embedded };
    let mut cluster = Cluster::start(spec).expect("the cluster starts");
    let leader = cluster.machines()[0].leader_pid();
    let first = cluster.fleetd_pid().expect("fleetd runs");
    let first = Traces::of(first);

    cluster.restart_fleetd().expect("it starts again");
    assert_eq!(first.left(), [""; 0]);
    let second = Traces::of(cluster.fleetd_pid().expect("fleetd runs"));
    cluster.kill_fleetd().expect("it can be killed");
    assert_eq!(second.left(), [""; 0]);
    assert_eq!(cluster.fleetd_pid(), None);
    cluster.start_fleetd().expect("it starts again");
    let third = Traces::of(cluster.fleetd_pid().expect("fleetd runs"));
    assert_eq!(cluster.machines()[0].leader_pid(), leader);

    cluster.machine("m1").and_then(|machine| machine.kill()).expect("m1 can be killed");
    assert!(matches!(cluster.machine("m9"), Err(DevError::NoMachine { .. })));
    let dir = cluster.dir().to_owned();
    cluster.stop().expect("the cluster stops, also with a machine off");
    assert_eq!(third.left(), [""; 0]);
    assert!(!dir.exists(), "a temporary folder is removed");
    assert_eq!(users_of(&dir), [""; 0]);
}

#[test]
fn a_folder_that_was_named_is_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fleetd = program(folder.path(), STANDS_IN);
    let dir = folder.path().join("kept");
    for round in ["first", "second"] {
        let spec = ClusterSpec {
            machines: specs(1),
            dir: Some(dir.clone()),
            fleetd: fleetd.clone(),
            store: ClusterStore::Embedded,
        };
        let cluster = Cluster::start(spec).expect("the cluster starts");
        let mut shell = cluster.machines()[0].command("sh");
        let said = output(shell.args(["-c", "cat $HOME/file 2>/dev/null || echo new; echo old > $HOME/file"]));
        assert_eq!(said, if round == "first" { "new" } else { "old" });
        match round {
            "first" => cluster.stop().expect("the cluster stops"),
            _ => drop(cluster),
        }
        let names = fs::read_dir(&dir).expect("the folder is kept").flatten();
        let mut names: Vec<_> = names.map(|entry| entry.file_name().into_string().expect("plain names")).collect();
        names.sort();
        assert_eq!(names, ["fleet.conf", "fleetd.log", "m1", "machines.toml"]);
        let home: Vec<_> = fs::read_dir(dir.join("m1")).expect("m1's folder").flatten().collect();
        assert_eq!(home.len(), 1, "only the home folder lasts: {home:?}");
        assert_eq!(users_of(&dir), [""; 0]);
    }
}

#[test]
fn a_fleetd_that_fails_is_quoted_and_nothing_is_left() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let failed = |script: &str| {
        let dir = folder.path().join("cluster");
        let fleetd = program(folder.path(), script);
        let spec = ClusterSpec { machines: specs(1), dir: Some(dir.clone()), fleetd, store: ClusterStore::Embedded };
        let err = Cluster::start(spec).expect_err("this fleetd cannot start").to_string();
        assert_eq!(users_of(&dir), [""; 0]);
        err
    };
    let err = failed("echo 'error: no such store `x`' >&2\nexit 3\n");
    assert!(err.contains("stand-in` did not become ready: it ended with exit status: 3"), "{err}");
    assert!(err.ends_with("its own words:\n  error: no such store `x`"), "{err}");

    let spec = |machines| ClusterSpec {
        machines,
        dir: None,
        fleetd: PathBuf::from("/does/not/exist"),
        store: ClusterStore::Embedded,
    };
    let err = Cluster::start(spec(specs(1))).expect_err("there is no fleetd").to_string();
    assert!(err.contains("`/does/not/exist` did not become ready"), "{err}");
    let twins = vec![MachineSpec::numbered(1), MachineSpec::numbered(1)];
    let err = Cluster::start(spec(twins)).expect_err("two machines are one").to_string();
    assert_eq!(err, "two machines have the same name `m1`: give each its own");
}
