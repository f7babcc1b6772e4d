//! What ran where and when, as the machines' own systemds said while a test went on.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::field::{Field, Main, shown};

/// Between two questions to one machine.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks every machine all the time. Machines that are off when it begins are not asked.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Run>>>,
    begun: Instant,
}

/// One process of one unit, and how long it certainly was there: from the end of the first question to which it was the
/// answer to the beginning of the last. While its unit was active, and before and after that, are two of them.
#[derive(Clone, Debug)]
struct Run {
    machine: String,
    unit: String,
    pid: u32,
    active: bool,
    from: Instant,
    to: Instant,
}

/// What was seen.
#[derive(Debug)]
pub struct Samples {
    runs: Vec<Run>,
    begun: Instant,
    ended: Instant,
}

impl Sampler {
    #[track_caller]
    pub fn start(field: &Field, units: &[String]) -> Sampler {
        let stop = Arc::new(AtomicBool::new(false));
        let on = field.lab.machines().iter().filter(|machine| machine.is_on());
        let threads = on.map(|machine| {
            let (name, units, stop) = (machine.spec().name.clone(), units.to_vec(), Arc::clone(&stop));
            let enter = machine.enter().unwrap_or_else(|err| panic!("{err}"));
            thread::spawn(move || ask(&name, &enter, &units, &stop))
        });
        Sampler { threads: threads.collect(), stop, begun: Instant::now() }
    }

    pub fn stop(self) -> Samples {
        let ended = Instant::now();
        self.stop.store(true, Ordering::Relaxed);
        let runs = self.threads.into_iter().flat_map(|thread| thread.join().expect("a sampler panicked")).collect();
        Samples { runs, begun: self.begun, ended }
    }
}

fn ask(machine: &str, enter: &[String], units: &[String], stop: &AtomicBool) -> Vec<Run> {
    let mut runs: BTreeMap<(String, u32, bool), Run> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).arg("systemctl");
        let before = Instant::now();
        let there = shown(command, units);
        let after = Instant::now();
        for (unit, Main { pid, active }) in there {
            let new = Run { machine: machine.to_owned(), unit: unit.clone(), pid, active, from: after, to: before };
            runs.entry((unit, pid, active)).or_insert(new).to = before;
        }
        thread::sleep(PAUSE);
    }
    runs.into_values().collect()
}

impl Samples {
    /// Fails if there was a time at which no copy of the unit is known to have run, longer than `slack`: that is how far
    /// apart two questions to one machine may be, not what a unit may be away.
    #[track_caller]
    pub fn check_always_runs(&self, unit: &str, slack: Duration) {
        let mut runs: Vec<&Run> = self.runs.iter().filter(|run| run.unit == unit && run.active).collect();
        runs.sort_by_key(|run| run.from);
        let mut covered = self.begun;
        for run in runs {
            let gap = run.from.saturating_duration_since(covered);
            assert!(gap <= slack, "{unit} ran nowhere for {gap:?}: {self}");
            covered = covered.max(run.to);
        }
        let gap = self.ended.saturating_duration_since(covered);
        assert!(gap <= slack, "{unit} ran nowhere for the last {gap:?}: {self}");
    }

    /// Fails if two copies of the unit certainly ran at the same time, also one that was being stopped.
    #[track_caller]
    pub fn check_never_twice(&self, unit: &str) {
        let runs: Vec<&Run> = self.runs.iter().filter(|run| run.unit == unit).collect();
        assert_ne!(runs.len(), 0, "{unit} was seen: {self}");
        for (idx, one) in runs.iter().enumerate() {
            for other in &runs[idx + 1..] {
                let is_same = (&one.machine, one.pid) == (&other.machine, other.pid);
                let apart = is_same || one.to < other.from || other.to < one.from;
                assert!(
                    apart,
                    "{unit} ran twice, as {} on {} and as {} on {}: {self}",
                    one.pid, one.machine, other.pid, other.machine
                );
            }
        }
    }
}

impl std::fmt::Display for Samples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |at: Instant| at.saturating_duration_since(self.begun).as_millis();
        writeln!(f, "seen in {} ms:", ms(self.ended))?;
        let mut runs = self.runs.clone();
        runs.sort_by_key(|run| (run.unit.clone(), run.from));
        for Run { machine, unit, pid, active, from, to } in runs {
            let how = if active { "active" } else { "not active" };
            writeln!(f, "  {unit} on {machine} as {pid}, {how}, from {} to {} ms", ms(from), ms(to))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of `u`, each `machine from to` in ms of 1000.
    fn samples(runs: &[(&str, u64, u64)]) -> Samples {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let run = |(idx, (machine, from, to)): (usize, &(&str, u64, u64))| Run {
            machine: (*machine).to_owned(),
            unit: "u".to_owned(),
            pid: u32::try_from(idx).expect("few"),
            active: true,
            from: at(*from),
            to: at(*to),
        };
        Samples { runs: runs.iter().enumerate().map(run).collect(), begun, ended: at(1_000) }
    }

    #[test]
    fn the_judge_bites() {
        let gap = |runs: &[(&str, u64, u64)]| {
            let samples = samples(runs);
            std::panic::catch_unwind(|| samples.check_always_runs("u", Duration::from_millis(100))).is_err()
        };
        assert!(!gap(&[("m1", 50, 600), ("m2", 500, 950)]));
        assert!(gap(&[("m1", 50, 300), ("m2", 500, 950)]), "a hole in between");
        assert!(gap(&[("m1", 200, 950)]), "at the beginning");
        assert!(gap(&[("m1", 50, 850)]), "at the end");
        assert!(gap(&[]), "never");
        let twice = |runs: &[(&str, u64, u64)]| {
            let samples = samples(runs);
            std::panic::catch_unwind(|| samples.check_never_twice("u")).is_err()
        };
        assert!(!twice(&[("m1", 50, 400), ("m2", 500, 950)]));
        assert!(twice(&[("m1", 50, 600), ("m2", 500, 950)]));
        assert!(twice(&[("m2", 500, 950), ("m1", 50, 600)]), "in any order");
        assert!(twice(&[]), "never seen");

        let stopping = |pid| {
            let mut samples = samples(&[("m1", 50, 400), ("m1", 350, 600), ("m2", 550, 950)]);
            (samples.runs[1].pid, samples.runs[1].active) = (pid, false);
            samples
        };
        let twice = |samples: Samples| std::panic::catch_unwind(|| samples.check_never_twice("u")).is_err();
        assert!(twice(stopping(0)), "the first was not gone when the second came");
        let gap = stopping(0);
        let gap = std::panic::catch_unwind(|| gap.check_always_runs("u", Duration::from_millis(100)));
        assert!(gap.is_err(), "one that is being stopped does not count as running");
    }
}
