//! `journal`: of several units on several machines, also while machines come and go.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::desk::Desk;
use crate::judge::runs_on;
use crate::world::{WAIT_LIMIT, World, program};

/// How soon most lines must be on the screen. What a test's box does beside it makes single ones later.
const PROMPT: Duration = Duration::from_millis(200);

/// Five units on three machines.
const UNITS: [&str; 5] = ["tick@1.service", "tick@2.service", "tick@3.service", "tick@4.service", "tick@5.service"];

/// Prints lines: the unit's number, the line's number, and when it was printed.
const TICKS: &str = "n=0; while :; do n=$((n + 1)); echo \"$1 $n $EPOCHREALTIME\"; sleep 0.1; done\n";

/// A followed journal, with what it has printed so far.
struct Followed {
    child: Child,
    lines: Receiver<Line>,
    said: Receiver<String>,
    /// The numbers of the lines of each unit, as they came.
    numbers: BTreeMap<String, Vec<u64>>,
}

/// One line, as it was seen.
struct Line {
    /// When journald got it, in seconds since the epoch: the order in which lines are to come.
    at_s: f64,
    unit: String,
    number: u64,
    /// How long it was on its way.
    took: Duration,
}

impl Line {
    /// Reads `1763836547.123456 m1 tick@1.service bash[7]: 1 17 1763836547.123400`.
    fn read(text: &str) -> Option<Line> {
        let mut words = text.split(' ');
        let at_s = words.next()?.parse().ok()?;
        let unit = words.nth(1)?.to_owned();
        let number = words.nth(2)?.parse().ok()?;
        let printed: f64 = words.next()?.parse().ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
        Some(Line { at_s, unit, number, took: Duration::from_secs_f64((now - printed).max(0.0)) })
    }
}

fn lines_of<T: Send + 'static>(from: impl Read + Send + 'static, read: fn(&str) -> Option<T>) -> Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if let Some(line) = read(&line)
                && sender.send(line).is_err()
            {
                break;
            }
        }
    });
    receiver
}

impl Followed {
    fn new(endpoint: &str, units: &[&str]) -> Followed {
        let mut command = Command::new(program("fleetctl"));
        command.args(["journal", "-f", "-n", "0", "-o", "short-unix"]).args(units).env("FLEETCTL_ENDPOINT", endpoint);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("fleetctl starts");
        let (stdout, stderr) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let said = lines_of(stderr, |line| Some(line.to_owned()));
        Followed { child, lines: lines_of(stdout, Line::read), said, numbers: BTreeMap::new() }
    }

    #[track_caller]
    fn next(&mut self) -> Line {
        let line = self.lines.recv_timeout(WAIT_LIMIT).expect("a line in time");
        self.numbers.entry(line.unit.clone()).or_default().push(line.number);
        line
    }

    /// Reads on until each of these units has printed so many lines more.
    #[track_caller]
    fn more_of(&mut self, units: &[&str], n_lines: usize) -> Vec<Line> {
        let (mut seen, mut lines) = (BTreeMap::<String, usize>::new(), Vec::new());
        let begun = Instant::now();
        while units.iter().any(|unit| seen.get(*unit).copied().unwrap_or(0) < n_lines) {
            assert!(begun.elapsed() < WAIT_LIMIT, "not all of {units:?} go on: {seen:?}");
            let line = self.next();
            *seen.entry(line.unit.clone()).or_default() += 1;
            lines.push(line);
        }
        lines
    }

    #[track_caller]
    fn says(&self, what: &str) -> String {
        let said = self.said.recv_timeout(WAIT_LIMIT).expect("a word in time");
        assert!(said.contains(what), "{said}");
        said
    }

    /// No line is missing and none is there twice.
    #[track_caller]
    fn is_whole(&self) {
        for (unit, numbers) in &self.numbers {
            let expected: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
            assert_eq!(*numbers, expected, "{unit}");
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(desk: &Desk) {
    let script = desk.write("ticks", TICKS);
    desk.write("tick@.service", &format!("[Service]\nExecStart=/bin/bash {} %i\n", script.display()));
    desk.ok("fleetctl start tick@1 tick@2 tick@3 tick@4 tick@5");
}

#[test]
fn lines_come_at_once_and_in_order_and_a_machine_that_is_cut_off_does_not_stop_the_others() {
    let mut world = World::on_etcd(3);
    let desk = world.desk();
    start(&desk);
    let (third, others): (Vec<&str>, Vec<&str>) = UNITS.into_iter().partition(|unit| runs_on(&world, unit) == ["m3"]);
    assert!(!third.is_empty() && !others.is_empty(), "five units on three machines");
    let endpoint = world.endpoint();
    let mut followed = Followed::new(&endpoint, &["tick@*"]);
    followed.more_of(&UNITS, 1);

    let lines = followed.more_of(&UNITS, 20);
    let mut took: Vec<Duration> = lines.iter().map(|line| line.took).collect();
    took.sort();
    let (usual, longest) = (took[took.len() / 2], took[took.len() - 1]);
    let n_late = lines.windows(2).filter(|pair| pair[1].at_s < pair[0].at_s).count();
    let seen = format!("{} lines: usual {usual:?}, longest {longest:?}, {n_late} out of order", lines.len());
    assert!(usual < PROMPT, "{seen}");
    assert!(20 * n_late <= lines.len(), "{seen}");

    world.cluster().fleetds_mut()[2].kill().expect("killed");
    followed.says("lost the journal of 2c829abe.../");
    followed.more_of(&others, 10);
    world.cluster().fleetds_mut()[2].start().expect("it starts");
    let last = |followed: &Followed, unit: &str| followed.numbers[unit].last().copied().expect("a line");
    let before: Vec<u64> = third.iter().map(|unit| last(&followed, unit)).collect();
    while followed.said.recv_timeout(WAIT_LIMIT).expect("a word in time").contains("lost the journal of 2c829abe.../") {
    }
    followed.more_of(&UNITS, 10);
    assert!(third.iter().zip(before).all(|(unit, before)| before + 10 <= last(&followed, unit)));
    followed.is_whole();

    // The one that is asked: all go on when it is back.
    world.cluster().fleetds_mut()[0].kill().expect("killed");
    followed.says("lost the journal of ");
    world.cluster().fleetds_mut()[0].start().expect("it starts");
    followed.more_of(&UNITS, 15);
    followed.is_whole();
    desk.ok("fleetctl destroy 'tick@*'");
}

#[test]
fn times_and_modes() {
    let world = World::new(2);
    let desk = world.desk();
    desk.write(
        "said@.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/bash -c 'echo %i one; echo %i two; sleep 1'\n",
    );
    desk.ok("fleetctl start said@a said@b");
    // With a time all lines of it; with a number the last of them.
    let all = desk.ok("fleetctl journal --since=-1h -o cat said@a");
    assert!(all.contains("a one\na two\n"), "{all}");
    assert_eq!(
        desk.ok("fleetctl journal --since yesterday -n 1 -o cat said@a"),
        all.lines().last().expect("a line").to_owned() + "\n"
    );
    assert_eq!(desk.ok("fleetctl journal --until yesterday said@a said@b"), "");
    assert_eq!(desk.ok("fleetctl journal -n all -o cat said@a"), all);
    let both = desk.ok("fleetctl journal -S '1 hour ago' -U now -o cat said@a said@b");
    for line in ["a one", "a two", "b one", "b two"] {
        assert!(both.lines().any(|said| said == line), "{line}: {both}");
    }
    let refused = desk.fails(1, "fleetctl journal --since someday said@a");
    assert!(refused.stderr.contains("Failed to parse timestamp: someday"), "{refused}");
    desk.fails(2, "fleetctl journal --until now -f said@a");

    // What we print ourselves looks like what journalctl prints. (Its JSON has the fields in another order each time.)
    for mode in [
        "short",
        "short-precise",
        "short-full",
        "short-iso",
        "short-iso-precise",
        "short-unix",
        "short-monotonic",
        "cat",
    ] {
        let theirs = desk.ok(&format!("fleetctl journal -n 3 -o {mode} said@a"));
        let ours = desk.ok(&format!("fleetctl journal --since=-1h -n 3 -o {mode} said@a"));
        assert_eq!(ours, theirs, "{mode}");
    }
    desk.ok("fleetctl destroy 'said@*'");
}
