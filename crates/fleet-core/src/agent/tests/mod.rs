//! Two kinds of tests: scripts (events in, effects out, as text), and [`histories`].

mod histories;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::report::{REPORT_CROWD, REPORT_PAUSE_MS};
use super::*;
use crate::model::{Generation, Revision, UnitState};
use crate::unit::WhenIsolated;

fn canonical(letter: &str) -> String {
    format!("[Service]\nExecStart=/bin/{letter}\n")
}

fn hash(letter: &str) -> UnitHash {
    UnitHash::of_canonical(&canonical(letter))
}

fn letter(hash: UnitHash) -> &'static str {
    ["A", "B", "C"].into_iter().find(|letter| self::hash(letter) == hash).expect("a hash of the tests")
}

/// `a` is `a.service`; other types are written out.
fn name(text: &str) -> UnitName {
    let name = if text.contains('.') { text.to_owned() } else { format!("{text}.service") };
    name.parse().expect("a unit name")
}

/// `launched:1:0:A`: target, generation, restarts, file; at its end `:leaving` for an order on its way out, `:stop` for
/// `WhenIsolated=stop`.
fn placement(text: &str) -> Placement {
    let (text, leaving) = text.strip_suffix(":leaving").map_or((text, None), |text| (text, Some(Revision(1))));
    let (text, when_isolated) = match text.strip_suffix(":stop") {
        Some(text) => (text, WhenIsolated::Stop),
        None => (text, WhenIsolated::Keep),
    };
    let parts: Vec<&str> = text.split(':').collect();
    let [target, generation, restarts, file] = parts[..] else { panic!("a placement has four parts: {text}") };
    Placement {
        hash: hash(file),
        target: target.parse().expect("a target state"),
        generation: Generation(generation.parse().expect("a number")),
        restarts: restarts.parse().expect("a number"),
        when_isolated,
        leaving,
    }
}

fn all_orders(orders: &BTreeMap<UnitName, Placement>) -> Event {
    Event::Placements { orders: orders.clone(), unreadable: BTreeSet::new() }
}

/// Of a unit that needs the guard: by its first run.
fn receipt(text: &str) -> Receipt {
    let order = placement(text);
    let guard = guard::is_guarded(&order).then(|| "first".to_owned());
    Receipt { guard, ..Receipt::complete(&order) }
}

fn status(unit: &str, active: &str) -> UnitStatus {
    let sub = if active == "active" { "running" } else { "dead" };
    UnitStatus { active: active.to_owned(), sub: sub.to_owned(), ..UnitStatus::unloaded(name(unit)) }
}

/// One line of a script as an event.
fn event(line: &str) -> Event {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let args: Vec<&str> = rest.split_whitespace().collect();
    let pair = |arg: &&str| {
        let (unit, rest) = arg.split_once('=').unwrap_or((arg, ""));
        (unit.to_owned(), rest.to_owned())
    };
    let result = |text: &str| if text.is_empty() { Ok(()) } else { Err(text.to_owned()) };
    match word {
        "placements" => {
            let (unreadable, orders): (Vec<_>, Vec<_>) = args.iter().map(pair).partition(|(_, p)| p == "?");
            let orders = orders.iter().map(|(unit, p)| (name(unit), placement(p))).collect();
            Event::Placements { orders, unreadable: unreadable.iter().map(|(unit, _)| name(unit)).collect() }
        }
        "change" => {
            let one = |(unit, p): (String, String)| (name(&unit), (p != "-").then(|| placement(&p)));
            Event::PlacementsChanged(args.iter().map(pair).map(one).collect())
        }
        "fetched" => Event::Fetched(args.iter().map(|file| (hash(file), Some(canonical(file).into()))).collect()),
        "unfetched" => Event::FetchFailed(args.iter().map(|file| hash(file)).collect(), "store away".to_owned()),
        "looked" => {
            let mut look = Look::default();
            for arg in args {
                let (unit, rest) = pair(&arg);
                let (active, order) = rest.split_once(',').expect("looked UNIT=ACTIVE,RECEIPT");
                look.files.push((name(&unit), (order != "-").then(|| receipt(order))));
                look.units.push(status(&unit, active));
            }
            Event::Looked(look)
        }
        "unlooked" => Event::LookFailed("no connection".to_owned()),
        "wrote" => Event::Wrote(args.iter().map(pair).map(|(unit, err)| (name(&unit), result(&err))).collect()),
        "removed" => Event::Removed(args.iter().map(pair).map(|(unit, err)| (name(&unit), result(&err))).collect()),
        "receipt" => Event::ReceiptWritten(name(args[0]), Ok(())),
        "unreceipt" => Event::ReceiptWritten(name(args[0]), Err("disk full".to_owned())),
        "status" => Event::Status(status(args[0], args[1])),
        "ran" => {
            let verb = match args[1] {
                "start" => Verb::Start,
                "stop" => Verb::Stop,
                _ => Verb::Restart,
            };
            let ended = match args[2] {
                "done" => Ok(JobResult::Done),
                "lost" => Err("connection lost".to_owned()),
                "refused" => Ok(JobResult::Refused { name: "x.LoadFailed".to_owned(), message: "no".to_owned() }),
                other => Ok(JobResult::Other(other.to_owned())),
            };
            Event::Ran(name(args[0]), verb, ended)
        }
        "reported" => Event::Reported(Ok(())),
        "unreported" => Event::Reported(Err("store away".to_owned())),
        "disconnected" => Event::Disconnected,
        "connected" => Event::Connected,
        "guarded" => Event::GuardReady { run: args.first().copied().unwrap_or("first").to_owned() },
        "unguarded" => Event::GuardFailed("no lease".to_owned()),
        "leave" => Event::Leave,
        "tick" => Event::Tick,
        other => panic!("no event is called {other}"),
    }
}

fn show(effect: &Effect) -> String {
    let stem = |name: &UnitName| name.as_str().trim_end_matches(".service").to_owned();
    let list = |names: Vec<String>| names.join(" ");
    match effect {
        Effect::Look => "look".to_owned(),
        Effect::Fetch(hashes) => format!("fetch {}", list(hashes.iter().map(|h| letter(*h).to_owned()).collect())),
        Effect::Write(files) => {
            let one = |file: &WriteFile| format!("{}={}", stem(&file.name), letter(file.receipt.hash));
            format!("write {}", list(files.iter().map(one).collect()))
        }
        Effect::WriteReceipt(name, r) => {
            format!("receipt {}={}:{}:{}:{}", stem(name), r.reached, r.generation, r.restarts, letter(r.hash))
        }
        Effect::Run(name, verb) => format!("{} {}", verb.as_str(), stem(name)),
        Effect::Remove(names) => format!("remove {}", list(names.iter().map(stem).collect())),
        Effect::Report(states) => {
            let one = |(name, state): &(UnitName, Option<UnitState>)| match state {
                None => format!("{}=gone", stem(name)),
                Some(s) => {
                    let left = if s.left.is_some() { ":left" } else { "" };
                    let error = if s.error.is_empty() { String::new() } else { format!(" ({})", s.error) };
                    format!("{}={}/{}:{}{left}{error}", stem(name), s.active, s.reached, s.done)
                }
            };
            format!("report {}", list(states.iter().map(one).collect()))
        }
        Effect::Guard { needed } => format!("guard {}", if *needed { "needed" } else { "needless" }),
        Effect::Left => "left".to_owned(),
        Effect::Wake(at) => format!("wake {}", at.0),
    }
}

/// Plays a script. `@500` sets the clock; each other line is an event, after which the effects are noted.
#[track_caller]
fn check(script: &str, expected: Expect) {
    let mut agent = Agent::new(0);
    let (mut now, mut out) = (Timestamp(0), String::new());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(at) = line.strip_prefix('@') {
            now = Timestamp(at.parse().expect("a time"));
            continue;
        }
        writeln!(out, "{line}").expect("a string takes all");
        for effect in agent.handle(now, event(line)) {
            writeln!(out, "    {}", show(&effect)).expect("a string takes all");
        }
    }
    expected.assert_eq(&out);
}

#[test]
fn a_pair_is_written_together_and_then_started() {
    check(
        "placements main=launched:1:0:A side=launched:2:0:B
         looked
         reported
         fetched A B
         wrote main side
         status main active
         ran main start done
         ran side start done",
        expect![[r#"
            placements main=launched:1:0:A side=launched:2:0:B
                look
            looked
                fetch B A
            reported
            fetched A B
                write main=A side=B
            wrote main side
                start main
                start side
                wake 150
            status main active
            ran main start done
                receipt main=launched:1:0:A
                report main=active/launched:1
            ran side start done
                receipt side=launched:2:0:B
        "#]],
    );
}

/// The simulator, seed 205 of its first version: an answer to the first look came after that to the second, was taken for a
/// loss of the connection, and the agent did nothing any more.
#[test]
fn a_look_is_answered_before_the_next_is_asked_for() {
    check(
        "placements a=launched:1:0:A
         disconnected
         connected
         unlooked
         looked
         fetched A
         @1000
         disconnected
         connected
         unlooked
         @2000
         tick
         unlooked
         @3000
         tick
         looked",
        expect![[r#"
            placements a=launched:1:0:A
                look
            disconnected
            connected
            unlooked
                look
            looked
                fetch A
            fetched A
                write a=A
            disconnected
            connected
                look
            unlooked
                wake 1500
            tick
                look
            unlooked
                wake 3000
            tick
                look
            looked
                wake 3150
        "#]],
    );
}

#[test]
fn nothing_is_done_before_the_store_and_the_machine_were_seen() {
    check(
        "looked a=active,launched:1:0:A
         looked a=active,launched:1:0:A
         placements
         ran a stop done
         status a inactive
         removed a",
        expect![[r#"
            looked a=active,launched:1:0:A
                look
            looked a=active,launched:1:0:A
            placements
                receipt a=loaded:0:0:A
                report a=active/launched:1
            ran a stop done
            status a inactive
                remove a
            removed a
        "#]],
    );
}

/// The unit has another placement: what runs goes on until the order goes, and nothing is started.
#[test]
fn what_is_leaving_goes_on_and_is_not_started() {
    check(
        "placements a=launched:1:0:A:leaving b=launched:1:0:B:leaving c=launched:1:0:C:leaving
         looked a=active,launched:1:0:A b=inactive,loaded:1:0:B
         reported
         change a=-
         receipt a
         status a inactive
         ran a stop done
         removed a",
        expect![[r#"
            placements a=launched:1:0:A:leaving b=launched:1:0:B:leaving c=launched:1:0:C:leaving
                look
            looked a=active,launched:1:0:A b=inactive,loaded:1:0:B
                report a=active/launched:1 b=inactive/loaded:1:left c=inactive/inactive:0:left
            reported
            change a=-
                receipt a=loaded:0:0:A
            receipt a
                stop a
                wake 150
            status a inactive
            ran a stop done
                remove a
            removed a
                report a=gone
        "#]],
    );
}

/// What may not run twice is stopped before it runs elsewhere, and the engine is told: also of one whose start had failed.
#[test]
fn what_is_leaving_stops_if_it_is_told_so() {
    check(
        "placements a=launched:1:0:A:stop b=launched:1:0:B:stop
         looked a=active,launched:1:0:A:stop b=failed,launched:1:0:B:stop
         guarded
         reported
         change a=loaded:1:0:A:stop:leaving b=loaded:1:0:B:stop:leaving
         receipt a
         receipt b
         status a inactive
         ran a stop done
         reported
         change a=- b=-
         removed a b",
        expect![[r#"
            placements a=launched:1:0:A:stop b=launched:1:0:B:stop
                look
            looked a=active,launched:1:0:A:stop b=failed,launched:1:0:B:stop
                guard needed
                report a=active/launched:1 b=failed/launched:1
            guarded
            reported
            change a=loaded:1:0:A:stop:leaving b=loaded:1:0:B:stop:leaving
                receipt a=loaded:0:0:A
                receipt b=loaded:0:0:B
                report b=failed/launched:1:left
            receipt a
                stop a
            receipt b
            status a inactive
            ran a stop done
            reported
                report a=inactive/loaded:0:left b=failed/loaded:0:left
            change a=- b=-
                guard needless
                remove a b
            removed a b
        "#]],
    );
}

/// A quick start is told once, at its end; of a slow one the store hears on the way.
#[test]
fn only_a_slow_start_is_told_on_the_way() {
    check(
        "placements quick=launched:1:0:A slow=launched:1:0:B
         looked
         fetched A B
         wrote quick slow
         @10
         status quick activating
         status slow activating
         @20
         status quick active
         ran quick start done
         reported
         receipt quick
         @150
         tick
         reported
         @400
         status slow active
         ran slow start done",
        expect![[r#"
            placements quick=launched:1:0:A slow=launched:1:0:B
                look
            looked
                fetch B A
            fetched A B
                write quick=A slow=B
            wrote quick slow
                start quick
                start slow
                wake 150
            status quick activating
            status slow activating
            status quick active
            ran quick start done
                receipt quick=launched:1:0:A
                report quick=active/launched:1
            reported
            receipt quick
            tick
                report slow=activating/loaded:0
            reported
            status slow active
                wake 550
            ran slow start done
                receipt slow=launched:1:0:B
                report slow=active/launched:1
        "#]],
    );
}

/// All is read anew now and then, in case a signal was lost; what is being worked on meanwhile is not mistaken for it.
#[test]
fn a_resync_looks_at_the_machine_anew() {
    check(
        "placements a=launched:1:0:A b=launched:1:0:B
         looked a=active,launched:1:0:A b=active,launched:1:0:B
         reported
         placements a=launched:1:0:A b=launched:1:0:B
         looked a=active,launched:1:0:A b=inactive,launched:1:0:B
         reported
         change b=-
         placements a=launched:1:0:A c=launched:2:0:C
         removed b
         looked a=active,launched:1:0:A b=inactive,launched:1:0:B
         reported",
        expect![[r#"
            placements a=launched:1:0:A b=launched:1:0:B
                look
            looked a=active,launched:1:0:A b=active,launched:1:0:B
                report a=active/launched:1 b=active/launched:1
            reported
            placements a=launched:1:0:A b=launched:1:0:B
                look
            looked a=active,launched:1:0:A b=inactive,launched:1:0:B
                report b=inactive/launched:1
            reported
            change b=-
                remove b
            placements a=launched:1:0:A c=launched:2:0:C
                look
            removed b
            looked a=active,launched:1:0:A b=inactive,launched:1:0:B
                fetch C
                report b=gone
            reported
        "#]],
    );
}

/// systemd refuses to start a socket whose service runs already.
#[test]
fn a_socket_is_started_before_its_service() {
    check(
        "placements x=launched:1:0:A x.socket=launched:2:0:B y=launched:3:0:C
         looked
         fetched A B C
         wrote x x.socket y
         ran x.socket start done",
        expect![[r#"
            placements x=launched:1:0:A x.socket=launched:2:0:B y=launched:3:0:C
                look
            looked
                fetch C B A
            fetched A B C
                write x=A x.socket=B y=C
            wrote x x.socket y
                start x.socket
                start y
                wake 150
            ran x.socket start done
                receipt x.socket=launched:2:0:B
                start x
                report x.socket=inactive/launched:2
        "#]],
    );
}

/// The simulator, seeds 652 and 911: a unit came back by the very order that had been carried out before, while it still stopped
/// here because that order had been gone for a while.
#[test]
fn what_comes_back_while_it_stops_is_started_again() {
    check(
        "placements a=launched:1:0:A
         looked a=active,launched:1:0:A
         reported
         change a=-
         receipt a
         status a deactivating
         change a=launched:1:0:A
         status a inactive
         ran a stop done
         ran a start done",
        expect![[r#"
            placements a=launched:1:0:A
                look
            looked a=active,launched:1:0:A
                report a=active/launched:1
            reported
            change a=-
                receipt a=loaded:0:0:A
            receipt a
                stop a
                wake 150
            status a deactivating
            change a=launched:1:0:A
            status a inactive
            ran a stop done
                start a
            ran a start done
                receipt a=launched:1:0:A
                report a=inactive/launched:1
        "#]],
    );
}

/// That it stops is noted first, so that another fleetd knows it, too.
#[test]
fn what_comes_back_while_it_stops_is_started_by_the_next_fleetd() {
    check(
        "placements a=launched:1:0:A
         looked a=inactive,loaded:0:0:A
         ran a start done",
        expect![[r#"
            placements a=launched:1:0:A
                look
            looked a=inactive,loaded:0:0:A
                start a
                wake 150
            ran a start done
                receipt a=launched:1:0:A
                report a=inactive/launched:1
        "#]],
    );
}

/// The orders of a machine that leaves stand until it has left: if its fleetd ends before that, the next one starts again what
/// was being stopped. Found by the simulator.
#[test]
fn what_stops_because_the_machine_leaves_is_noted_first() {
    check(
        "placements a=launched:1:0:A
         looked a=active,launched:1:0:A
         reported
         leave
         looked a=active,launched:1:0:A
         receipt a
         status a inactive
         ran a stop done
         removed a",
        expect![[r#"
            placements a=launched:1:0:A
                look
            looked a=active,launched:1:0:A
                report a=active/launched:1
            reported
            leave
                look
            looked a=active,launched:1:0:A
                receipt a=loaded:0:0:A
            receipt a
                stop a
                wake 150
            status a inactive
            ran a stop done
                remove a
            removed a
                report a=gone
                left
        "#]],
    );
}

/// While many jobs are under way, there is a pause between reports; the last of a crowd are told at once.
#[test]
fn a_crowd_is_told_in_few_reports() {
    let names: Vec<UnitName> = (0..=REPORT_CROWD + 2).map(|idx| name(&format!("u{idx}"))).collect();
    let order = placement("launched:1:0:A");
    let look = Look {
        files: names.iter().map(|name| (name.clone(), Some(receipt("loaded:0:0:A")))).collect(),
        ..Look::default()
    };
    let mut agent = Agent::new(0);
    let orders = names.iter().map(|name| (name.clone(), order.clone())).collect();
    agent.handle(Timestamp(0), all_orders(&orders));
    agent.handle(Timestamp(0), Event::Looked(look));
    let mut told = |now: u64, event: Event| {
        let effects = agent.handle(Timestamp(now), event);
        let told = effects.into_iter().map(|effect| if let Effect::Report(states) = effect { states.len() } else { 0 });
        told.sum::<usize>()
    };
    let done = |idx: usize| Event::Ran(names[idx].clone(), Verb::Start, Ok(JobResult::Done));
    assert_eq!(told(0, done(0)), 1, "the first is told at once");
    assert_eq!(told(1, Event::Reported(Ok(()))), 0);
    assert_eq!(told(2, done(1)), 0, "then there is a pause");
    assert_eq!(told(3, done(2)), 0);
    assert_eq!(told(REPORT_PAUSE_MS, Event::Tick), 2, "after it, what came meanwhile is told together");
    assert_eq!(told(REPORT_PAUSE_MS + 1, Event::Reported(Ok(()))), 0);
    assert_eq!(told(REPORT_PAUSE_MS + 2, done(3)), 1, "few are left, so there is no pause any more");
}

/// What cannot be noted is stopped all the same: a full disk is no reason to run what nobody wants.
#[test]
fn what_cannot_be_noted_is_stopped() {
    check(
        "placements a=launched:1:0:A
         looked a=active,launched:1:0:A
         reported
         change a=-
         unreceipt a
         @600
         tick
         status a inactive
         ran a stop done
         removed a",
        expect![[r#"
            placements a=launched:1:0:A
                look
            looked a=active,launched:1:0:A
                report a=active/launched:1
            reported
            change a=-
                receipt a=loaded:0:0:A
            unreceipt a
                report a=active/loaded:0 (disk full)
                wake 500
            tick
                stop a
            status a inactive
            ran a stop done
                remove a
            removed a
        "#]],
    );
}

/// An order of a newer fleet changes nothing, until it can be read, or is none.
#[test]
fn unreadable_orders_change_nothing() {
    check(
        "placements a=launched:1:0:A b=?
         looked a=active,launched:1:0:A b=active,launched:1:0:B c=inactive,launched:1:0:C
         removed c
         reported
         placements a=? b=?
         looked a=active,launched:1:0:A b=inactive,launched:1:0:B
         reported
         change a=launched:1:1:A b=launched:1:0:B
         ran a restart done
         receipt a
         reported
         placements b=?
         looked a=active,launched:1:1:A b=active,launched:1:0:B
         change b=-",
        expect![[r#"
            placements a=launched:1:0:A b=?
                look
            looked a=active,launched:1:0:A b=active,launched:1:0:B c=inactive,launched:1:0:C
                remove c
                report a=active/launched:1 b=active/launched:1
                wake 150
            removed c
            reported
                report c=gone
            placements a=? b=?
                look
            looked a=active,launched:1:0:A b=inactive,launched:1:0:B
            reported
            change a=launched:1:1:A b=launched:1:0:B
                restart a
                report b=inactive/launched:1
            ran a restart done
                receipt a=launched:1:1:A
            receipt a
            reported
                report a=active/launched:1
            placements b=?
                look
            looked a=active,launched:1:1:A b=active,launched:1:0:B
                receipt a=loaded:0:1:A
            change b=-
                receipt b=loaded:0:0:B
        "#]],
    );
}

/// It gets the unit back: what ended meanwhile is started again.
#[test]
fn what_was_leaving_and_stays_after_all() {
    check(
        "placements a=launched:1:0:A:leaving b=launched:1:0:B:leaving
         looked a=active,launched:1:0:A b=active,launched:1:0:B
         reported
         status a inactive
         receipt a
         reported
         change a=launched:1:0:A b=launched:1:0:B
         status a active
         ran a start done",
        expect![[r#"
            placements a=launched:1:0:A:leaving b=launched:1:0:B:leaving
                look
            looked a=active,launched:1:0:A b=active,launched:1:0:B
                report a=active/launched:1 b=active/launched:1
            reported
            status a inactive
                receipt a=loaded:0:0:A
                report a=inactive/launched:1:left
            receipt a
            reported
                report a=inactive/loaded:0:left
            change a=launched:1:0:A b=launched:1:0:B
                start a
            status a active
            ran a start done
                receipt a=launched:1:0:A
        "#]],
    );
}

/// What must not run twice is started only under a guard, and it alone waits for that.
#[test]
fn no_start_without_a_guard() {
    check(
        "placements s=launched:1:0:A:stop k=launched:1:0:B
         looked s=inactive,loaded:0:0:A k=inactive,loaded:0:0:B
         ran k start done
         unguarded
         reported
         @550
         tick
         guarded second
         status s active
         ran s start done
         receipt s
         change s=-
         receipt s
         status s inactive
         ran s stop done
         removed s",
        expect![[r#"
            placements s=launched:1:0:A:stop k=launched:1:0:B
                look
            looked s=inactive,loaded:0:0:A k=inactive,loaded:0:0:B
                guard needed
                start k
                wake 150
            ran k start done
                receipt k=launched:1:0:B
                report k=inactive/launched:1
            unguarded
            reported
                report s=inactive/loaded:0 (not started, because it may not run without fleet-guard.service: no lease)
                wake 500
            tick
                guard needed
            guarded second
                start s
            status s active
            ran s start done
                receipt s=launched:1:0:A
            receipt s
            change s=-
                guard needless
                receipt s=loaded:0:0:A
            receipt s
                stop s
            status s inactive
            ran s stop done
                remove s
            removed s
        "#]],
    );
}

/// The simulator, seed 914: a fleetd started a new guard and died before it could note whom the last one had taken along.
#[test]
fn what_a_guard_stopped_comes_back_also_with_the_next_fleetd() {
    check(
        "placements s=launched:1:0:A:stop
         looked s=inactive,launched:1:0:A:stop
         guarded second
         receipt s
         ran s start done",
        expect![[r#"
            placements s=launched:1:0:A:stop
                look
            looked s=inactive,launched:1:0:A:stop
                guard needed
                report s=inactive/launched:1
            guarded second
                receipt s=loaded:0:0:A
            receipt s
                start s
            ran s start done
                receipt s=launched:1:0:A
        "#]],
    );
}

/// The guard ended and stopped what it guards; it is started again with a new guard. With the old one, what has ended has
/// ended by itself.
#[test]
fn what_a_guard_stopped_comes_back_with_the_next() {
    check(
        "placements s=launched:1:0:A:stop
         looked s=active,launched:1:0:A:stop
         guarded
         reported
         status s inactive
         reported
         unguarded
         @550
         tick
         guarded second
         receipt s
         ran s start done",
        expect![[r#"
            placements s=launched:1:0:A:stop
                look
            looked s=active,launched:1:0:A:stop
                guard needed
                report s=active/launched:1
            guarded
            reported
            status s inactive
                report s=inactive/launched:1
            reported
            unguarded
                report s=inactive/launched:1 (not started, because it may not run without fleet-guard.service: no lease)
                wake 500
            tick
                guard needed
            guarded second
                receipt s=loaded:0:0:A
            receipt s
                start s
            ran s start done
                receipt s=launched:1:0:A
        "#]],
    );
}

#[test]
fn running_units_are_adopted_untouched() {
    check(
        "placements a=launched:7:2:A b=loaded:3:0:B
         looked a=active,launched:7:2:A b=active,loaded:3:0:B",
        expect![[r#"
            placements a=launched:7:2:A b=loaded:3:0:B
                look
            looked a=active,launched:7:2:A b=active,loaded:3:0:B
                report a=active/launched:7 b=active/loaded:3
        "#]],
    );
}

#[test]
fn other_content_is_stopped_by_the_old_file_then_written_then_started() {
    check(
        "placements a=launched:1:0:A
         looked a=active,launched:1:0:A
         reported
         fetched B
         change a=launched:2:0:B
         status a deactivating
         change a=launched:3:0:B
         status a inactive
         ran a stop done
         reported
         fetched B
         wrote a
         ran a start done",
        expect![[r#"
            placements a=launched:1:0:A
                look
            looked a=active,launched:1:0:A
                report a=active/launched:1
            reported
            fetched B
            change a=launched:2:0:B
                stop a
            status a deactivating
                wake 150
            change a=launched:3:0:B
            status a inactive
            ran a stop done
                write a=B
            reported
            fetched B
            wrote a
                start a
            ran a start done
                receipt a=launched:3:0:B
                report a=inactive/launched:3
        "#]],
    );
}

#[test]
fn a_unit_destroyed_and_submitted_again_during_a_slow_stop_runs_in_the_end() {
    check(
        "placements a=launched:1:0:A
         looked a=active,launched:1:0:A
         change a=-
         receipt a
         status a deactivating
         change a=launched:9:0:A
         status a inactive
         ran a stop done
         ran a start done",
        expect![[r#"
            placements a=launched:1:0:A
                look
            looked a=active,launched:1:0:A
                report a=active/launched:1
            change a=-
                receipt a=loaded:0:0:A
            receipt a
                stop a
            status a deactivating
            change a=launched:9:0:A
            status a inactive
            ran a stop done
                start a
            ran a start done
                receipt a=launched:9:0:A
        "#]],
    );
}

#[test]
fn restart_start_again_and_back_to_loaded() {
    check(
        "placements a=launched:1:0:A
         looked a=failed,launched:1:0:A
         reported
         change a=launched:2:0:A
         ran a start failed
         receipt a
         change a=launched:2:1:A
         ran a restart done
         receipt a
         status a active
         change a=loaded:3:1:A
         status a inactive
         ran a stop done
         receipt a",
        expect![[r#"
            placements a=launched:1:0:A
                look
            looked a=failed,launched:1:0:A
                report a=failed/launched:1
            reported
            change a=launched:2:0:A
                start a
            ran a start failed
                receipt a=launched:2:0:A
                report a=failed/launched:2 (the start job ended with `failed`)
            receipt a
            change a=launched:2:1:A
                restart a
            ran a restart done
                receipt a=launched:2:1:A
            receipt a
            status a active
            change a=loaded:3:1:A
                stop a
            status a inactive
            ran a stop done
                receipt a=loaded:3:1:A
            receipt a
        "#]],
    );
}

#[test]
fn one_bad_unit_hurts_one_unit() {
    check(
        "placements bad=launched:1:0:A full=launched:1:0:B good=launched:1:0:C
         looked
         reported
         fetched A B C
         wrote bad full=no_space good
         ran bad start refused
         ran good start done
         @550
         tick
         wrote full
         reported",
        expect![[r#"
            placements bad=launched:1:0:A full=launched:1:0:B good=launched:1:0:C
                look
            looked
                fetch C B A
            reported
            fetched A B C
                write bad=A full=B good=C
            wrote bad full=no_space good
                start bad
                start good
                report full=inactive/inactive:0 (no_space)
                wake 150
            ran bad start refused
            ran good start done
                receipt good=launched:1:0:C
            tick
                write full=B
            wrote full
                start bad
                start full
            reported
                report bad=inactive/loaded:0 (systemd refused to start it: no) good=inactive/launched:1
                wake 700
        "#]],
    );
}

#[test]
fn a_lost_connection_is_followed_by_a_new_look_and_nothing_else() {
    check(
        "placements a=launched:1:0:A
         looked a=active,launched:1:0:A
         reported
         disconnected
         change a=launched:1:1:A
         connected
         status a active
         looked a=active,launched:1:0:A
         ran a restart lost
         @550
         tick",
        expect![[r#"
            placements a=launched:1:0:A
                look
            looked a=active,launched:1:0:A
                report a=active/launched:1
            reported
            disconnected
            change a=launched:1:1:A
            connected
                look
            status a active
            looked a=active,launched:1:0:A
                restart a
                wake 150
            ran a restart lost
                report a=active/launched:1 (connection lost)
                wake 500
            tick
                restart a
        "#]],
    );
}

#[test]
fn pauses_grow_to_their_limit() {
    assert_eq!([1, 2, 3, 8, 90].map(pause_ms), [500, 1_000, 2_000, 60_000, 60_000]);
}
