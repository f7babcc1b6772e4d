//! A followed journal, and units that print lines with numbers, so that a missing or a second one is seen.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::desk::Desk;
use crate::world::{WAIT_LIMIT, program};

/// Prints lines: the unit, the line's number, and when it was printed. The last one, when it is stopped, has the number 0.
const TICKS: &str = "trap 'echo \"$1 0 $EPOCHREALTIME\"; exit' TERM
n=0; while :; do n=$((n + 1)); echo \"$1 $n $EPOCHREALTIME\"; sleep 0.1; done\n";

/// Writes the template of units that print lines.
pub fn write_ticks(desk: &Desk) {
    let script = desk.write("ticks", TICKS);
    desk.write("tick@.service", &format!("[Service]\nExecStart=/bin/bash {} %n\n", script.display()));
}

/// A followed journal, with what it has printed so far.
pub struct Followed {
    child: Child,
    lines: Receiver<Line>,
    pub said: Receiver<String>,
    /// The numbers of the lines of each unit on each machine, as they came.
    numbers: BTreeMap<(String, String), Vec<u64>>,
    /// When the last of them was printed, by unit and machine, and what came behind it although it was printed earlier.
    printed: BTreeMap<(String, String), f64>,
    old: Vec<String>,
}

/// One line, as it was seen.
pub struct Line {
    /// When journald got it, in seconds since the epoch: the order in which lines are to come.
    pub at_s: f64,
    machine: String,
    pub unit: String,
    pub number: u64,
    printed_s: f64,
    /// How long it was on its way.
    pub took: Duration,
}

impl Line {
    /// Reads `1763836547.123456 m1 tick@1.service bash[7]: tick@1.service 17 1763836547.123400`, also without the unit in front.
    fn read(text: &str) -> Option<Line> {
        let (head, message) = text.split_once("]: ")?;
        let (mut head, mut words) = (head.split(' '), message.split(' '));
        let (at_s, machine) = (head.next()?.parse().ok()?, head.next()?.to_owned());
        let (unit, number) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        let printed_s: f64 = words.next()?.parse().ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
        let took = Duration::from_secs_f64((now - printed_s).max(0.0));
        Some(Line { at_s, machine, unit, number, printed_s, took })
    }
}

/// What a program prints, line by line as it comes; a line that `read` does not understand is passed over.
pub fn lines_of<T: Send + 'static>(from: impl Read + Send + 'static, read: fn(&str) -> Option<T>) -> Receiver<T> {
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
    /// `units` as they are typed, separated by spaces.
    pub fn new(endpoint: &str, units: &str) -> Followed {
        let mut command = Command::new(program("fleetctl"));
        command
            .args(["journal", "-f", "-n", "0", "-o", "short-unix"])
            .args(units.split(' '))
            .env("FLEETCTL_ENDPOINT", endpoint);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("fleetctl starts");
        let (stdout, stderr) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let said = lines_of(stderr, |line| Some(line.to_owned()));
        Followed {
            child,
            lines: lines_of(stdout, Line::read),
            said,
            numbers: BTreeMap::new(),
            printed: BTreeMap::new(),
            old: Vec::new(),
        }
    }

    #[track_caller]
    fn next(&mut self) -> Line {
        let line = self.lines.recv_timeout(WAIT_LIMIT).expect("a line in time");
        let source = (line.unit.clone(), line.machine.clone());
        let before = self.printed.insert(source.clone(), line.printed_s);
        if before.is_some_and(|before| line.printed_s <= before) {
            self.old.push(format!("{source:?}: {}", line.number));
        }
        self.numbers.entry(source).or_default().push(line.number);
        line
    }

    /// Reads on until each of these units has printed so many lines more.
    #[track_caller]
    pub fn more_of(&mut self, units: &[&str], n_lines: usize) -> Vec<Line> {
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
    pub fn says(&self, what: &str) -> String {
        let said = self.said.recv_timeout(WAIT_LIMIT).expect("a word in time");
        assert!(said.contains(what), "{said}");
        said
    }

    /// No line is missing and none is there twice: each number is behind the one before, and behind the last word of a run the next begins.
    #[track_caller]
    pub fn is_whole(&self) {
        assert!(self.old.is_empty(), "old ones come again: {:?}", self.old);
        for ((unit, machine), numbers) in &self.numbers {
            let follows = |pair: &[u64]| pair[1] == pair[0] + 1 || pair[1] == 0;
            let gaps: Vec<&[u64]> = numbers.windows(2).filter(|pair| !follows(pair)).collect();
            assert!(gaps.is_empty(), "{unit} on {machine}: {gaps:?} in {numbers:?}");
        }
    }

    /// The numbers of one unit's lines on one machine, as they came.
    pub fn on(&self, unit: &str, machine: &str) -> &[u64] {
        self.numbers.get(&(unit.to_owned(), machine.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Reads on until a unit has begun and ended so often before our eyes.
    #[track_caller]
    pub fn until_begun_and_ended(&mut self, unit: &str, wanted: (usize, usize)) {
        let begun = Instant::now();
        loop {
            let of_unit = self.numbers.iter().filter(|((name, _), _)| name == unit);
            let numbers: Vec<u64> = of_unit.flat_map(|(_, numbers)| numbers.clone()).collect();
            let count = |wanted: u64| numbers.iter().filter(|number| **number == wanted).count();
            let seen = (count(1), count(0));
            if seen == wanted {
                return;
            }
            assert!(begun.elapsed() < WAIT_LIMIT, "{unit}: {seen:?} and not {wanted:?}");
            self.next();
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
