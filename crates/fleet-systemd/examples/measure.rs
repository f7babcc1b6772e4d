//! How long starting units takes through the unit manager, against the floor, on one machine of `fleet-dev`.
//!
//! `cargo run --release -p fleet-systemd --example measure -- 1 100 1000`

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use fleet_core::model::{Generation, TargetState};
use fleet_core::unit::{UnitHash, UnitName};
use fleet_dev::{Machine, MachineSpec};
use fleet_systemd::dbus::{Address, DbusManager, Dirs};
use fleet_systemd::floor::{bench_floor, bench_floor_stop};
use fleet_systemd::{JobResult, Receipt, UnitManager, Verb, WriteFile};
use futures_util::future::join_all;

/// How often each number of units is started each way.
const ROUNDS: usize = 3;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "printing is what this is for")]
async fn main() -> Result<(), Box<dyn Error>> {
    let sizes: Vec<usize> = std::env::args().skip(1).map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    let dir = tempfile::tempdir()?;
    let machine = Machine::start(MachineSpec::numbered(1), dir.path())?;
    let (socket, units) = (machine.socket().to_owned(), machine.unit_directory().to_owned());
    let dirs = Dirs { units_directory: machine.run_directory().join("fleet/units"), unit_directory: units.clone() };
    let manager = DbusManager::connect(Address::Socket(socket.clone()), dirs).await?;
    println!("{:>6} {:>12} {:>12} {:>8}", "units", "floor ms", "manager ms", "ratio");
    for size in sizes {
        let (mut floors, mut ours) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // In turns, and other units each time, so that neither finds the other's warm.
            floors.push(floor(&socket, &units, size, round)?);
            ours.push(through(&manager, size, round).await?);
        }
        let (floor_ms, our_ms) = (median(floors), median(ours));
        println!("{size:>6} {floor_ms:>12.1} {our_ms:>12.1} {:>8.3}", our_ms / floor_ms);
    }
    let idle = idle_cpu().await?;
    println!("CPU time of this process in 10 idle seconds: {idle:?}");
    drop(manager);
    machine.stop()?;
    Ok(())
}

fn text(seconds: usize) -> String {
    format!("[Service]\nExecStart=/bin/sleep {seconds}\n")
}

fn floor(socket: &Path, units: &Path, size: usize, round: usize) -> Result<Duration, Box<dyn Error>> {
    let files: Vec<(String, String)> =
        (0..size).map(|n| (format!("floor{round}-{n}.service"), text(100_000))).collect();
    let run = bench_floor(socket, units, &files)?;
    if !run.not_done.is_empty() {
        return Err(format!("not done: {:?}", run.not_done).into());
    }
    bench_floor_stop(socket, units, &files.into_iter().map(|(name, _)| name).collect::<Vec<_>>())?;
    Ok(run.elapsed)
}

async fn through(manager: &DbusManager, size: usize, round: usize) -> Result<Duration, Box<dyn Error>> {
    let names: Vec<UnitName> =
        (0..size).map(|n| format!("ours{round}-{n}.service").parse()).collect::<Result<_, _>>()?;
    let text = text(100_000);
    let receipt = Receipt {
        hash: UnitHash::of_canonical(&text),
        generation: Generation(1),
        restarts: 0,
        reached: TargetState::Launched,
        guard: None,
    };
    let files: Vec<WriteFile> = names
        .iter()
        .map(|name| WriteFile { name: name.clone(), text: text.clone(), receipt: receipt.clone() })
        .collect();
    let begin = Instant::now();
    manager.write(&files).await?;
    run_all(manager, &names, Verb::Start).await?;
    let elapsed = begin.elapsed();
    run_all(manager, &names, Verb::Stop).await?;
    for removed in manager.remove(&names).await? {
        removed?;
    }
    Ok(elapsed)
}

async fn run_all(manager: &DbusManager, names: &[UnitName], verb: Verb) -> Result<(), Box<dyn Error>> {
    for result in join_all(names.iter().map(|name| manager.run(name, verb))).await {
        if result? != JobResult::Done {
            return Err(format!("a {verb:?} was not done").into());
        }
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

/// The CPU time that this process uses while nothing happens.
async fn idle_cpu() -> Result<Duration, Box<dyn Error>> {
    let used = || -> Result<Duration, Box<dyn Error>> {
        // The first number of schedstat: nanoseconds on a CPU, for each thread.
        let mut total = Duration::ZERO;
        for thread in std::fs::read_dir("/proc/self/task")? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            let ns = text.split(' ').next().ok_or("an empty schedstat")?.parse()?;
            total += Duration::from_nanos(ns);
        }
        Ok(total)
    };
    let before = used()?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    Ok(used()?.saturating_sub(before))
}
