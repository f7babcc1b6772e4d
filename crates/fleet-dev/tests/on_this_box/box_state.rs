//! Looks at the box itself, not at the library: what of a machine is there, and what is left of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// All traces that the machine with the systemd `leader` has on the box.
#[derive(Debug)]
pub struct Traces {
    /// The cgroups that were made for it, one per hierarchy.
    cgroups: BTreeSet<PathBuf>,
    /// Its processes: number, and the tick at which it started.
    processes: BTreeMap<u32, u64>,
}

impl Traces {
    pub fn of(leader: u32) -> Traces {
        let text = fs::read_to_string(format!("/proc/{leader}/cgroup")).expect("the leader is a process");
        // The path of the cell within the hierarchies: up to and with the name that is ours.
        let cell = |line: &str| {
            let path = line.splitn(3, ':').nth(2)?;
            let (before, after) = path.split_once("fleet-dev-")?;
            let name = after.split('/').next()?;
            Some(format!("{}fleet-dev-{name}", before.trim_start_matches('/')))
        };
        let cells: BTreeSet<String> = text.lines().filter_map(cell).collect();
        assert_eq!(cells.len(), 1, "the leader is in one cell: {text}");
        let cgroups: BTreeSet<PathBuf> = cgroup_roots()
            .into_iter()
            .flat_map(|root| cells.iter().map(move |cell| root.join(cell)))
            .filter(|path| path.is_dir())
            .collect();
        let mut processes = BTreeMap::new();
        for path in &cgroups {
            for pid in pids_below(path) {
                if let Some(start) = start_of(pid) {
                    processes.insert(pid, start);
                }
            }
        }
        assert!(processes.contains_key(&leader), "the leader is in its own cgroup: {processes:?}");
        Traces { cgroups, processes }
    }

    pub fn process_count(&self) -> usize {
        self.processes.len()
    }

    /// What of it still exists, as text; empty when nothing does.
    pub fn left(&self) -> Vec<String> {
        let cgroups = self.cgroups.iter().filter(|path| path.exists()).map(|path| path.display().to_string());
        let alive = self.processes.iter().filter(|(pid, start)| start_of(**pid) == Some(**start));
        cgroups.chain(alive.map(|(pid, _)| format!("process {pid}"))).collect()
    }
}

/// What on the box speaks of `dir`: mounts and processes (wardens have the folder among their arguments).
pub fn users_of(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().expect("test folders have plain names");
    let mut found = Vec::new();
    for pid in all_pids() {
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let (command_line, mounts) = (read("cmdline"), read("mountinfo"));
        let command_line = String::from_utf8_lossy(&command_line).replace('\0', " ");
        if pid != std::process::id() && command_line.contains(dir) {
            found.push(format!("process {pid}: {command_line}"));
        }
        if String::from_utf8_lossy(&mounts).contains(dir) {
            found.push(format!("mount in the namespace of process {pid}"));
        }
    }
    found
}

/// The wardens of the process `owner`: its children that run the warden's script.
pub fn wardens_of(owner: u32) -> Vec<u32> {
    let is_warden = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        status.lines().any(|line| line == format!("PPid:\t{owner}"))
            && command_line.split(|byte| *byte == 0).any(|arg| arg == b"fleet-dev-warden")
    };
    all_pids().filter(is_warden).collect()
}

/// Runs the command and returns what it printed; it must succeed.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}\n{stdout}{stderr}", output.status);
    stdout.trim_end().to_owned()
}

/// Reads lines of a following command until one has `text`; the command is ended by coreutils' `timeout` after 30 s.
#[track_caller]
pub fn wait_for_line(mut command: Command, text: &str) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the program starts");
    let lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
    let mut seen = Vec::new();
    let found = lines.map_while(Result::ok).any(|line| {
        let found = line.contains(text);
        seen.push(line);
        found
    });
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    assert!(found, "no line with `{text}` in {seen:#?}");
}

fn cgroup_roots() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let cgroup = |line: &&str| line.contains(" - cgroup");
    mounts.lines().filter(cgroup).filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

fn pids_below(cgroup: &Path) -> Vec<u32> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            pids.extend(pids_below(&entry.path()));
        }
    }
    pids
}

fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// When a process that is alive started, in ticks; a zombie is not alive.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields[0] != "Z").then(|| fields[19].parse().expect("field 22 of stat is a number"))
}
