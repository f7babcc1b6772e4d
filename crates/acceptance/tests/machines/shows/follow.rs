//! What is followed while the network drops everything in silence: no connection is ended by that.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use fleet_api::v2;

use crate::field::{AGENT_TTL, Field, FieldSpec, WAIT_LIMIT};
use crate::smoke::{ELSEWHERE, GRACE};

/// Until a connection counts as dead, and for a busy box.
const NOTICED: Duration = Duration::from_secs(v2::SILENCE_LIMIT_S + 5);

/// Prints lines that tell of which unit and machine they are, with a number each.
const TICKER: &str = "[Service]\n\
    ExecStart=/bin/bash -c 'n=0; while :; do n=$$((n + 1)); echo \"%n %H $$n\"; sleep 0.1; done'\n";

const TICKS: [&str; 3] = ["tick@1.service", "tick@2.service", "tick@3.service"];

/// A line that is typed at `m1` and goes on: what it prints, and what it says on stderr.
struct Running {
    child: Child,
    lines: Receiver<String>,
    /// The numbers of the lines by unit and machine, as they came.
    numbers: BTreeMap<(String, String), Vec<u64>>,
}

impl Running {
    #[track_caller]
    fn new(field: &Field, line: &str) -> Running {
        let mut command = field.machine("m1").command("sh").unwrap_or_else(|err| panic!("{err}"));
        // Words and data in one stream: the order of both is seen.
        command.args(["-c", &format!("exec fleetctl {line} 2>&1")]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("nsenter is there");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Running { child, lines, numbers: BTreeMap::new() }
    }

    /// Reads on until something is said or printed that `is` it.
    #[track_caller]
    fn until(&mut self, what: &str, mut is: impl FnMut(&str, &BTreeMap<(String, String), Vec<u64>>) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let left = WAIT_LIMIT.saturating_sub(begun.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("{what}: not within {WAIT_LIMIT:?}") };
            if let [unit, machine, number] = line.split(' ').collect::<Vec<_>>()[..]
                && let Ok(number) = number.parse()
            {
                self.numbers.entry((unit.to_owned(), machine.to_owned())).or_default().push(number);
            }
            if is(&line, &self.numbers) {
                return line;
            }
        }
    }

    #[track_caller]
    fn says(&mut self, what: &str) -> String {
        self.until(what, |line, _| line.contains(what))
    }

    /// Reads on until each of these units has so many lines more, wherever it is.
    #[track_caller]
    fn more_of(&mut self, units: &[&str], n_lines: usize) {
        let n_of = |unit: &str, numbers: &BTreeMap<(String, String), Vec<u64>>| -> usize {
            numbers.iter().filter(|((name, _), _)| name == unit).map(|(_, numbers)| numbers.len()).sum()
        };
        let goal: Vec<usize> = units.iter().map(|unit| n_of(unit, &self.numbers) + n_lines).collect();
        self.until("more lines", |_, numbers| units.iter().zip(&goal).all(|(unit, goal)| *goal <= n_of(unit, numbers)));
    }

    /// No line is missing and none is there twice.
    #[track_caller]
    fn is_whole(&self) {
        for (source, numbers) in &self.numbers {
            let gap = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
            assert!(gap.is_none(), "{source:?}: {gap:?} in {numbers:?}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already; what it has started ends with its machine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three machines whose `fleetd` reach each other, with a ticker on each.
#[track_caller]
fn three_tickers(agent_ttl: Duration) -> Field {
    let config = format!("agent_ttl = {}s\n", agent_ttl.as_secs());
    let field = FieldSpec { config, ..FieldSpec::new(3) }.start();
    for machine in ["m1", "m2", "m3"] {
        let folder = "/etc/systemd/system/fleetd.socket.d";
        let text = "[Socket]\\nListenStream=0.0.0.0:49153\\n";
        field.ok(machine, &format!("mkdir -p {folder} && printf '{text}' >{folder}/port.conf"));
        field.ok(
            machine,
            "systemctl daemon-reload && systemctl stop fleetd.socket fleetd && systemctl start fleetd.socket fleetd",
        );
    }
    field.write("m1", "tick@.service", TICKER);
    field.ok("m1", &format!("fleetctl start {}", TICKS.join(" ")));
    field
}

#[test]
fn a_journal_is_followed_across_a_short_cut() {
    let mut field = three_tickers(Duration::from_secs(60));
    // Between two fleetd, and between fleetctl and its fleetd.
    let mut here = Running::new(&field, "journal -f -n 0 -o cat 'tick@*'");
    let mut there = Running::new(&field, "--endpoint http://10.77.0.13:49153 journal -f -n 0 -o cat 'tick@*'");
    let mut units = Running::new(&field, "--endpoint http://10.77.0.13:49153 list-units --watch --fields=unit,active");
    let mut machines =
        Running::new(&field, "--endpoint http://10.77.0.13:49153 list-machines --watch --fields=ip,state");
    here.more_of(&TICKS, 10);
    there.more_of(&TICKS, 10);
    units.says(TICKS[2]);
    machines.says("10.77.0.13");
    let begun = Instant::now();
    field.lab.partition(&[&["m3"]]).expect("cut off");
    here.says("lost the journal of ");
    there.says("nothing came for 15 s");
    units.says("lost fleetd; trying to reach it again");
    machines.says("lost fleetd; trying to reach it again");
    let took = begun.elapsed();
    field.lab.heal().expect("healed");
    assert!(took < NOTICED, "after {took:?}");
    let behind = |running: &mut Running| {
        running.says("goes on");
        running.more_of(&TICKS, 10);
        running.is_whole();
    };
    behind(&mut here);
    behind(&mut there);
    field.ok("m1", "fleetctl machine cordon 10.77.0.13");
    field.ok("m1", "fleetctl destroy tick@3");
    units.says("gone");
    machines.says("cordoned");
}

#[test]
fn a_journal_is_followed_to_another_machine_when_its_own_is_cut_off() {
    let mut field = three_tickers(AGENT_TTL);
    let lost = TICKS.into_iter().find(|unit| field.machine_of(unit) == "m3").expect("one of three");
    let mut here = Running::new(&field, "journal -f -n 0 -o cat 'tick@*'");
    here.more_of(&TICKS, 10);
    let begun = Instant::now();
    field.lab.partition(&[&["m3"]]).expect("cut off");
    here.says("lost the journal of ");
    let moved = here.says(&format!("{lost} moved from "));
    let took = begun.elapsed();
    assert!(took < AGENT_TTL + GRACE + ELSEWHERE + NOTICED, "after {took:?}");
    here.more_of(&[lost], 10);
    field.lab.heal().expect("healed");
    field.wait("it runs once", WAIT_LIMIT, || field.running(lost).len() == 1);
    let to = field.machine_of(lost);
    here.more_of(&TICKS, 10);
    here.is_whole();
    assert_eq!(here.numbers[&(lost.to_owned(), to)][0], 1, "{moved}");
}
