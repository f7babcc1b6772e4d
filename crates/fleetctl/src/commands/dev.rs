//! `dev`: a cluster on this box, for as long as this command runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Instant;

use fleet_dev::{Cluster, ClusterSpec, ClusterStore, DevError, MachineSpec};

use crate::cli::{Dev, DevStore};
use crate::commands::dev_record::Record;
use crate::commands::machine::pair;
use crate::commands::waiting::Signals;
use crate::console::Console;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::render::table;
use crate::settings::ENDPOINT_ENV;
use crate::wait::{self, short_id};

/// Brings a cluster up, stays, takes it down.
pub async fn run(console: &Console, args: Dev) -> Result<Exit, CommandError> {
    let machines = machines(args.machines, &args.metadata)?;
    let fleetd = find_fleetd()?;
    // Before anything is started, so that a signal in the middle does not end this process and leave the rest.
    let mut signals = Signals::new()?;
    let begun = Instant::now();
    let n_machines = wait::n_machines(machines.len());
    console.talk(&format!("bringing up {n_machines} ..."));
    let store = match args.store {
        DevStore::Embedded => ClusterStore::Embedded,
        DevStore::Etcd => ClusterStore::Etcd,
    };
    let spec = ClusterSpec { machines, dir: args.keep.clone(), fleetd, store };
    let cluster = blocking("bring up the cluster", || Cluster::start(spec)).await?;
    let endpoint = cluster.endpoint();
    for machine in cluster.machines() {
        let spec = machine.spec();
        let metadata = table::metadata(&spec.metadata);
        console.talk(format!("  {}  {}  {}  {metadata}", spec.name, short_id(&spec.id), spec.address).trim_end());
    }
    let what = match cluster.etcd() {
        None => "and fleetd".to_owned(),
        Some(etcd) => format!("with a fleetd each, and etcd at {},", etcd.endpoint()),
    };
    console.talk(&format!("{n_machines} {what} are up after {:.1} s", begun.elapsed().as_secs_f64()));
    match cluster.fleetds() {
        [fleetd] => console.talk(&format!("fleetd's log: {}", fleetd.log().display())),
        several => {
            for fleetd in several {
                console.talk(&format!("a fleetd: {}, log: {}", fleetd.endpoint(), fleetd.log().display()));
            }
        }
    }
    // Only hints of other commands are the poorer without it.
    let record =
        Record::write(&endpoint).map_err(|err| console.debug(&format!("no record of this cluster: {err}"))).ok();
    let result = match args.command.split_first() {
        Some((program, arguments)) => run_command(program, arguments, &endpoint, &mut signals).await,
        None => {
            console.line(&format!("export {ENDPOINT_ENV}={endpoint}"))?;
            console.talk("use it from another shell with the line above; Ctrl-C takes all of it down");
            console.talk(&format!("{}: taking the cluster down ...", signals.next().await));
            Ok(Exit::Ok)
        }
    };
    drop(record);
    blocking("take the cluster down", || cluster.stop()).await?;
    match &args.keep {
        Some(folder) => console.talk(&format!("the cluster is down; its data is kept in {}", folder.display())),
        None => console.talk("the cluster is down and nothing is left of it"),
    }
    result
}

/// Runs a blocking function of fleet-dev beside the runtime.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, DevError> + Send + 'static,
) -> Result<T, CommandError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.expect("fleet-dev does not panic").map_err(|err| CommandError::Dev { doing, err })
}

/// Runs the user's command with the cluster as its endpoint, and with this fleetctl first in its PATH.
///
/// Ctrl-C reaches the command from the terminal, as it would without us; we only outlive it. SIGTERM is for us alone, so the command
/// is ended too.
async fn run_command(
    program: &str,
    arguments: &[String],
    endpoint: &str,
    signals: &mut Signals,
) -> Result<Exit, CommandError> {
    let cannot_run = |err| CommandError::Run { program: program.to_owned(), err };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env(ENDPOINT_ENV, endpoint).kill_on_drop(true);
    if let Some(path) = path_with_us() {
        command.env("PATH", path);
    }
    let mut child = command.spawn().map_err(cannot_run)?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(exit_of(status.map_err(cannot_run)?)),
            how = signals.next() => match how {
                crate::error::Interruption::Interrupt => (),
                crate::error::Interruption::Terminate => child.start_kill().map_err(cannot_run)?,
            },
        }
    }
}

fn path_with_us() -> Option<OsString> {
    let ours = std::env::current_exe().ok()?.parent()?.to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(ours).chain(std::env::split_paths(&path))).ok()
}

/// The command's exit code; for one that was killed 128 and the signal, as shells do.
fn exit_of(status: ExitStatus) -> Exit {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(Exit::Failed, Exit::Of)
}

/// `fleetd` beside this program, else in PATH.
fn find_fleetd() -> Result<PathBuf, CommandError> {
    let ours = std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = ours.iter().cloned().chain(std::env::split_paths(&path));
    let mut candidates = folders.map(|folder| folder.join("fleetd"));
    candidates
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| CommandError::NoFleetd { beside: ours.unwrap_or_default().display().to_string() })
}

/// The machines `m1` to `mN`, with the metadata of `--metadata m1:disk=ssd,zone=a`.
fn machines(n: u8, metadata: &[String]) -> Result<Vec<MachineSpec>, CommandError> {
    let mut machines: BTreeMap<String, MachineSpec> = BTreeMap::new();
    let numbered: Vec<MachineSpec> = (1..=n).map(MachineSpec::numbered).collect();
    let names: Vec<String> = numbered.iter().map(|machine| machine.name.clone()).collect();
    machines.extend(numbered.into_iter().map(|machine| (machine.name.clone(), machine)));
    for given in metadata {
        let bad = |reason: String| CommandError::BadFlag { flag: "metadata", value: given.clone(), reason };
        let Some((name, pairs)) = given.split_once(':') else {
            return Err(bad("write MACHINE:KEY=VALUE,..., such as `m1:disk=ssd`".to_owned()));
        };
        let Some(machine) = machines.get_mut(name) else {
            return Err(bad(format!("there is no machine `{name}`, only {}", names.join(", "))));
        };
        for one in pairs.split(',') {
            let (key, value) = pair(one).map_err(|err| bad(err.to_string()))?;
            machine.metadata.insert(key, value);
        }
    }
    Ok(names.iter().filter_map(|name| machines.remove(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(n: u8, metadata: &[&str], expected: &str) {
        let metadata: Vec<String> = metadata.iter().map(|text| (*text).to_owned()).collect();
        let got = match machines(n, &metadata) {
            Ok(machines) => {
                let show = |machine: &MachineSpec| format!("{}[{}]", machine.name, table::metadata(&machine.metadata));
                machines.iter().map(show).collect::<Vec<String>>().join(" ")
            }
            Err(err) => err.to_string(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn metadata_of_machines() {
        check(1, &[], "m1[]");
        check(
            11,
            &["m2:disk=ssd,zone=a", "m11:x=y=z", "m2:disk=hdd"],
            "m1[] m2[disk=hdd,zone=a] m3[] m4[] m5[] m6[] m7[] m8[] m9[] m10[] m11[x=y=z]",
        );
        check(2, &["m3:a=b"], "`--metadata` has the value `m3:a=b`: there is no machine `m3`, only m1, m2");
        check(2, &["a=b"], "`--metadata` has the value `a=b`: write MACHINE:KEY=VALUE,..., such as `m1:disk=ssd`");
        check(2, &["m1:a"], "`--metadata` has the value `m1:a`: `a` is no metadata: write KEY=VALUE");
    }

    #[test]
    fn exit_codes_of_commands() {
        assert_eq!(exit_of(ExitStatus::from_raw(0)).code(), 0);
        assert_eq!(exit_of(ExitStatus::from_raw(7 << 8)).code(), 7);
        assert_eq!(exit_of(ExitStatus::from_raw(15)).code(), 143);
    }
}
