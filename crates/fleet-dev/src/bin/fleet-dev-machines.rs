//! Machines without a cluster, for trying things by hand and for the tests: `fleet-dev-machines DIR N`.
//!
//! Prints one line per machine when all are up (name, process id of its systemd, how to run a command there, socket),
//! then one line with how long that took, and takes all down when its standard input ends.
#![expect(clippy::print_stdout, reason = "this is the program's output")]

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Instant;

use fleet_dev::{Machine, MachineSpec};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, n] = args.as_slice() else {
        return Err("usage: fleet-dev-machines DIR N".into());
    };
    let n: u8 = n.parse().map_err(|err| format!("`{n}` is not a number of machines: {err}"))?;

    let before = Instant::now();
    let machines = Machine::start_all((1..=n).map(MachineSpec::numbered).collect(), Path::new(dir))?;
    let took = before.elapsed();
    for machine in &machines {
        let pid = machine.leader_pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        println!("{}\t{pid}\t{}\t{}", machine.spec().name, machine.enter().join(" "), machine.socket().display());
    }
    println!("up after {} ms", took.as_millis());
    io::copy(&mut io::stdin(), &mut io::sink())?;

    let before = Instant::now();
    Machine::stop_all(machines)?;
    println!("down after {} ms", before.elapsed().as_millis());
    Ok(())
}
