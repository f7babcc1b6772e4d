//! What a command that waits says meanwhile: decided here, printed by the shell.

use std::collections::{BTreeMap, BTreeSet};

use crate::wait::Why;

/// For how long nothing is said. Most commands are done by then.
pub const QUIET_MS: u64 = 500;

/// Least time between two counts of many units, where lines stay on the screen or in a log.
pub const COUNT_EVERY_MS: u64 = 5_000;

/// More units than this are counted and not named one by one.
pub const LINES_MAX: usize = 10;

/// How many units of a group are named.
pub const NAMES_MAX: usize = 3;

/// Remembers what was said, so that nothing is said twice.
#[derive(Debug, Default)]
pub struct Spoken {
    sentences: BTreeSet<String>,
    counted_at_ms: Option<u64>,
    advised: bool,
}

impl Spoken {
    /// The lines that are worth saying `now_ms` milliseconds after the wait began: only what has changed since the last call.
    pub fn lines(&mut self, pending: &BTreeMap<String, Why>, n_total: usize, now_ms: u64) -> Vec<String> {
        if now_ms < QUIET_MS {
            return Vec::new();
        }
        let (stuck, busy) = split(pending);
        let mut sentences = stuck_sentences(&stuck);
        let mut count = None;
        if busy.len() <= LINES_MAX {
            sentences.extend(busy.iter().map(|(name, why)| why.sentence(name)));
        } else if self.counted_at_ms.is_none_or(|at_ms| at_ms + COUNT_EVERY_MS <= now_ms) {
            self.counted_at_ms = Some(now_ms);
            count = Some(count_sentence(&busy, n_total));
        }
        sentences = self.news(sentences);
        sentences.extend(self.advice(&stuck));
        sentences.extend(count);
        sentences
    }

    /// Of those lines the ones that stay on a screen above [`status_line`], which is cut at the screen's end: why units are on no machine.
    pub fn lines_on_screen(&mut self, pending: &BTreeMap<String, Why>, now_ms: u64) -> Vec<String> {
        if now_ms < QUIET_MS {
            return Vec::new();
        }
        let (stuck, _) = split(pending);
        let mut sentences = self.news(stuck_sentences(&stuck));
        sentences.extend(self.advice(&stuck));
        sentences
    }

    /// Those that were not said the last time.
    fn news(&mut self, mut sentences: Vec<String>) -> Vec<String> {
        let sentences_now: BTreeSet<String> = sentences.iter().cloned().collect();
        sentences.retain(|sentence| !self.sentences.contains(sentence));
        self.sentences = sentences_now;
        sentences
    }

    /// How it goes on with units that no machine can take, once.
    fn advice(&mut self, stuck: &BTreeMap<&str, Vec<&str>>) -> Option<String> {
        let names: Vec<&str> = stuck.values().flatten().copied().collect();
        if names.is_empty() || self.advised {
            return None;
        }
        self.advised = true;
        let (they_are, unit) = match &names[..] {
            [name] => ("it is", *name),
            _ => ("they are", "UNIT"),
        };
        Some(format!(
            "{they_are} placed as soon as one can; Ctrl-C ends only the waiting, and `fleetctl explain {unit}` says what each machine says"
        ))
    }
}

/// One line for a screen on which it is rewritten all the time, beside a count: what the first unit is at that is on its way.
pub fn status_line(pending: &BTreeMap<String, Why>) -> String {
    let (stuck, busy) = split(pending);
    match busy.first() {
        Some((name, why)) => why.sentence(name),
        None if stuck.is_empty() => String::new(),
        None => "waiting for a machine".to_owned(),
    }
}

type Busy<'a> = Vec<(&'a String, &'a Why)>;

/// Units without a machine, by the reasons, and the rest.
fn split(pending: &BTreeMap<String, Why>) -> (BTreeMap<&str, Vec<&str>>, Busy<'_>) {
    let (mut stuck, mut busy) = (BTreeMap::<&str, Vec<&str>>::new(), Vec::new());
    for (name, why) in pending {
        match why {
            Why::NoMachine(summary) => stuck.entry(summary).or_default().push(name),
            other => busy.push((name, other)),
        }
    }
    (stuck, busy)
}

fn stuck_sentences(stuck: &BTreeMap<&str, Vec<&str>>) -> Vec<String> {
    stuck.iter().map(|(summary, names)| stuck_sentence(summary, names)).collect()
}

fn stuck_sentence(summary: &str, names: &[&str]) -> String {
    match names {
        [name] => Why::NoMachine(summary.to_owned()).sentence(name),
        names => format!("{} units ({}): no machine can take them: {summary}", names.len(), some_of(names, NAMES_MAX)),
    }
}

fn count_sentence(busy: &[(&String, &Why)], n_total: usize) -> String {
    let first = busy.first().map(|(name, why)| format!("; {name}: {why}")).unwrap_or_default();
    format!("waiting for {} of {n_total} units{first}", busy.len())
}

/// At most `n_max` names, and how many there are besides.
pub fn some_of(names: &[&str], n_max: usize) -> String {
    let shown = names[..names.len().min(n_max)].join(", ");
    match names.len().saturating_sub(n_max) {
        0 => shown,
        n_more => format!("{shown} and {n_more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doing(sub: &str) -> Why {
        Why::Doing { machine: "4f1c2a7d00".to_owned(), active: "activating".to_owned(), sub: sub.to_owned() }
    }

    fn pending(list: &[(&str, Why)]) -> BTreeMap<String, Why> {
        list.iter().map(|(name, why)| ((*name).to_owned(), why.clone())).collect()
    }

    #[test]
    fn quick_ones_are_silent_and_only_changes_are_said() {
        let mut spoken = Spoken::default();
        let one = pending(&[("a.service", doing("start-pre"))]);
        assert_eq!(spoken.lines(&one, 1, QUIET_MS - 1), Vec::<String>::new());
        assert_eq!(spoken.lines(&one, 1, QUIET_MS), ["waiting for a.service: activating (start-pre) on 4f1c2a7d..."]);
        assert_eq!(spoken.lines(&one, 1, QUIET_MS + 1), Vec::<String>::new());
        let two = pending(&[("a.service", doing("start")), ("b.service", Why::NoMachine("no machine".to_owned()))]);
        assert_eq!(
            spoken.lines(&two, 2, QUIET_MS + 2),
            [
                "b.service: no machine can take it: no machine",
                "waiting for a.service: activating (start) on 4f1c2a7d...",
                "it is placed as soon as one can; Ctrl-C ends only the waiting, and `fleetctl explain b.service` says what each machine says"
            ]
        );
        // Back to what was said before the last time is news again.
        assert_eq!(
            spoken.lines(&one, 2, QUIET_MS + 3),
            ["waiting for a.service: activating (start-pre) on 4f1c2a7d..."]
        );
    }

    #[test]
    fn many_are_counted_and_the_stuck_are_grouped() {
        let mut spoken = Spoken::default();
        let mut many: BTreeMap<String, Why> = (0..40).map(|n| (format!("w{n:02}.service"), doing("start"))).collect();
        many.extend((0..5).map(|n| (format!("x{n}.service"), Why::NoMachine("2 machines: lack disk=ssd".to_owned()))));
        assert_eq!(
            spoken.lines(&many, 300, QUIET_MS),
            [
                "5 units (x0.service, x1.service, x2.service and 2 more): no machine can take them: 2 machines: lack disk=ssd",
                "they are placed as soon as one can; Ctrl-C ends only the waiting, and `fleetctl explain UNIT` says what each machine says",
                "waiting for 40 of 300 units; w00.service: activating (start) on 4f1c2a7d..."
            ]
        );
        many.remove("w00.service");
        assert_eq!(spoken.lines(&many, 300, QUIET_MS + COUNT_EVERY_MS - 1), Vec::<String>::new());
        assert_eq!(
            spoken.lines(&many, 300, QUIET_MS + COUNT_EVERY_MS),
            ["waiting for 39 of 300 units; w01.service: activating (start) on 4f1c2a7d..."]
        );
    }

    #[test]
    fn one_line_for_a_terminal() {
        assert_eq!(status_line(&BTreeMap::new()), "");
        let two = pending(&[("a.service", doing("start-pre")), ("b.service", Why::NotPlaced)]);
        assert_eq!(status_line(&two), "waiting for a.service: activating (start-pre) on 4f1c2a7d...");
        // What is long and has to be read stays, and is not cut at the end of the screen.
        let stuck = ("a.service", Why::NoMachine("3 machines: lack disk=ssd".to_owned()));
        let (alone, beside) = (pending(std::slice::from_ref(&stuck)), pending(&[stuck, ("b.service", doing("start"))]));
        assert_eq!(status_line(&alone), "waiting for a machine");
        assert_eq!(status_line(&beside), "waiting for b.service: activating (start) on 4f1c2a7d...");
        let mut spoken = Spoken::default();
        assert_eq!(spoken.lines_on_screen(&alone, QUIET_MS - 1), Vec::<String>::new());
        let said = [
            "a.service: no machine can take it: 3 machines: lack disk=ssd",
            "it is placed as soon as one can; Ctrl-C ends only the waiting, and `fleetctl explain a.service` says what each machine says",
        ];
        assert_eq!(spoken.lines_on_screen(&alone, QUIET_MS), said);
        assert_eq!(spoken.lines_on_screen(&beside, QUIET_MS), Vec::<String>::new());
    }
}
