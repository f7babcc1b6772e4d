//! What is placed where: the decision table of the original fleet (its scheduler as it was observed), row by row, with
//! the rows in which fleet decides otherwise marked, and then the rows that only fleet has.

mod notation;

use fleet_core::check;
use fleet_core::engine::{Effect, Engine, EngineConfig, Event, Plan};
use fleet_core::model::{Absence, Cluster, Timestamp};
use notation::{apply, cluster, plan_text};

/// How a row stands to the original.
enum Original {
    /// It did the same.
    Same,
    /// It did something else; what, and why fleet does not.
    Differs { did: &'static str, because: &'static str },
}
use Original::{Differs, Same};

struct Row {
    /// What the row is about, in the words of the table.
    about: &'static str,
    cluster: &'static str,
    plan: &'static str,
    original: Original,
}

const BY_ENGINE: &str = "global units are placed by the engine as well, not by each machine for itself";

/// The decision table.
const DECISIONS: &[Row] = &[
    Row { about: "tie broken by ID", cluster: "C:; B:; A:; x1 on B; x2", plan: "+x2@A", original: Same },
    Row { about: "no rebalancing", cluster: "A:; B:; x1 on A; x2 on A; x3 on A", plan: "", original: Same },
    Row { about: "follows its leader", cluster: "A:; B:; a on B; q on B; b MachineOf=a", plan: "+b@B", original: Same },
    Row {
        about: "a loaded leader will do",
        cluster: "A:; B:; a loaded on B; b MachineOf=a",
        plan: "+b@B",
        original: Same,
    },
    Row {
        about: "the leader becomes inactive",
        cluster: "A:; B:; a inactive on A; b MachineOf=a on A",
        plan: "[-a@A -b@A]",
        original: Same,
    },
    Row {
        about: "on another machine than its leader",
        cluster: "A:; B:; a on B; b MachineOf=a on A",
        plan: "[-b@A +b@B]",
        original: Same,
    },
    Row {
        about: "circular MachineOf",
        cluster: "A:; B:; a MachineOf=b; b MachineOf=a",
        plan: "[+a@A +b@A]",
        original: Differs { did: "", because: "units tied by MachineOf are placed as a group" },
    },
    Row { about: "two leaders apart", cluster: "A:; B:; a on A; c on B; b MachineOf=a,c", plan: "", original: Same },
    Row {
        about: "a global leader",
        cluster: "A:; B:; g global; b MachineOf=g",
        plan: "[+b@A +g@A] +g@B",
        original: Differs { did: "+b@A", because: BY_ENGINE },
    },
    Row {
        about: "a global leader that is placed",
        cluster: "A:; B:; g global on A,B; b MachineOf=g",
        plan: "+b@A",
        original: Same,
    },
    Row {
        about: "an inactive global leader",
        cluster: "A:; B:; g inactive global; b MachineOf=g",
        plan: "",
        original: Differs { did: "+b@A", because: "a global unit that nobody wants is nowhere" },
    },
    Row {
        about: "an inactive global unit with Conflicts",
        cluster: "A:; B:; g inactive global Conflicts=x*; x1",
        plan: "+x1@A",
        original: Differs { did: "", because: "a global unit that nobody wants keeps nothing away" },
    },
    Row {
        about: "a global unit kept off by a conflict",
        cluster: "A:; B:; g global Conflicts=x1; x1 on A; x2",
        plan: "+g@B +x2@A",
        original: Differs { did: "+x2@A", because: BY_ENGINE },
    },
    Row {
        about: "a global unit counts as load where it is",
        cluster: "A: r=1; B:; g global r=1; x1",
        plan: "+g@A +x1@B",
        original: Differs { did: "+x1@B", because: BY_ENGINE },
    },
    Row {
        about: "an inactive global unit is no load",
        cluster: "A: r=1; B:; g inactive global r=1; x1",
        plan: "+x1@A",
        original: Differs { did: "+x1@B", because: "a global unit that nobody wants is nowhere" },
    },
    Row {
        about: "the other's conflict keeps it off",
        cluster: "A:; c1 Conflicts=c2.service on A; c2",
        plan: "",
        original: Same,
    },
    Row {
        about: "a unit leaves and one that conflicts comes",
        cluster: "A:; x1 inactive on A; x2 Conflicts=x1",
        plan: "[-x1@A +x2@A]",
        original: Same,
    },
    Row {
        about: "MachineID by its first eight characters",
        cluster: "0000:; 0123456789abcdef:; x1 MachineID=01234567",
        plan: "+x1@0123456789abcdef",
        original: Same,
    },
    Row {
        about: "MachineID by seven characters",
        cluster: "0123456789abcdef:; x1 MachineID=0123456",
        plan: "",
        original: Same,
    },
    Row {
        about: "metadata no longer met, and met elsewhere",
        cluster: "A: r=2; B: r=1; x1 r=1 on A",
        plan: "[-x1@A +x1@B]",
        original: Same,
    },
    Row { about: "metadata no longer met anywhere", cluster: "A: r=2; B:; x1 r=1 on A", plan: "-x1@A", original: Same },
    Row {
        about: "metadata: AND over keys, OR over values",
        cluster: "A: r=1; B: r=2 d=hdd; C: r=2 d=ssd; x1 r=1,2 d=ssd",
        plan: "+x1@C",
        original: Same,
    },
    Row {
        about: "no machines",
        cluster: "x1 on A; x2",
        plan: "",
        original: Differs {
            did: "-x1@A",
            because: "a machine that is lost may be back, and its units still run there",
        },
    },
];

const AWAY: &str = "the replacer pushes the replaced unit away, to a machine that fits it, or both stay";

/// The situations of `Replaces` that were tried with the original.
const REPLACES: &[Row] = &[
    Row {
        about: "there is an empty machine",
        cluster: "A:; B:; rep0 on A; kick Replaces=rep0",
        plan: "+kick@B",
        original: Same,
    },
    Row {
        about: "the other machine has more",
        cluster: "A:; B:; rep0 on A; x1 on B; x2 on B; kick Replaces=rep0",
        plan: "[-rep0@A +kick@A +rep0@B]",
        original: Differs { did: "+kick@A, and the next pass moves one of the two at random", because: AWAY },
    },
    Row {
        about: "both on one machine",
        cluster: "A:; B:; rep0 on A; kick Replaces=rep0 on A",
        plan: "[-rep0@A +rep0@B]",
        original: Differs { did: "moves kick in 530 of 600 runs, rep0 in 70", because: AWAY },
    },
    Row {
        about: "both on the only machine",
        cluster: "A:; rep0 on A; kick Replaces=rep0 on A",
        plan: "",
        original: Differs { did: "takes both off and puts both back, endlessly", because: AWAY },
    },
    Row {
        about: "the replaced unit fits nowhere else",
        cluster: "A: r=1; B:; rep0 r=1 on A; kick Replaces=rep0 on A",
        plan: "",
        original: Differs { did: "sends rep0 to B, takes it off there, puts it back, endlessly", because: AWAY },
    },
    Row {
        about: "circular",
        cluster: "A:; B:; rep0 Replaces=kick on A; kick Replaces=rep0 on A",
        plan: "",
        original: Same,
    },
    Row {
        about: "a global unit is replaced",
        cluster: "A:; B:; g global on A,B; kick Replaces=g on A",
        plan: "",
        original: Differs { did: "pointless tasks for g in each pass", because: "global units are never pushed" },
    },
];

/// What the original had no answer to.
const OURS: &[Row] = &[
    row(
        "a new group goes together",
        "A:; B:; C:; x1 on A; m1; s1 MachineOf=m1; m2; s2 MachineOf=m2",
        "[+m1@B +s1@B] [+m2@C +s2@C]",
    ),
    row(
        "mains apart, each with its sidekick",
        "A:; B:; m@1 Conflicts=m@*; s@1 MachineOf=m@1; m@2 Conflicts=m@*; s@2 MachineOf=m@2; m@3 Conflicts=m@*; s@3 MachineOf=m@3",
        "[+m@1@A +s@1@A] [+m@2@B +s@2@B]",
    ),
    row(
        "a group that fits only where its last member does",
        "A:; B: d=ssd; x1 on B; a; b MachineOf=a; c MachineOf=b d=ssd",
        "[+a@B +b@B +c@B]",
    ),
    row("a group of which one member fits nowhere", "A:; a; b MachineOf=a d=ssd", ""),
    row("a peer that nobody wants", "A:; a inactive; b MachineOf=a", ""),
    row("a peer that does not exist", "A:; b MachineOf=a", ""),
    row("a peer that is a template", "A:; a@; b MachineOf=a@", ""),
    row("a template is never placed", "A:; a@", ""),
    row("a group that was placed without a member", "A:; B:; a on B; b on B; c MachineOf=a,b", "+c@B"),
    row("members of a group that conflict", "A:; B:; a; b MachineOf=a; c MachineOf=a Conflicts=b", ""),
    row("circular MachineOf stays together", "A:; B:; a MachineOf=b on A; b MachineOf=a on A", ""),
    row(
        "circular MachineOf, its machine lost",
        "A! gone; B:; C:; a MachineOf=b on A; b MachineOf=a on A",
        "[~a@A ~b@A +a@B +b@B]",
    ),
    row("a machine is lost", "A! gone; B:; C:; x1 on A; x2 on A; x3 on B", "[~x1@A +x1@C] [~x2@A +x2@B]"),
    row("a unit is gone, a template has become one", "A:; x@ on A; a inactive on A", "-a@A -x@@A"),
    row("a new file that fits: in place", "A:; B:; x1 stale on B", "+x1@B"),
    row("a new file that fits no longer: moved", "A: d=ssd; B:; x1 d=ssd stale on B", "[-x1@B +x1@A]"),
    row("a new file that conflicts leaves, the other stays", "A:; B:; a Conflicts=b stale on A; b on A", "[-a@A +a@B]"),
    row("the same, the other way", "A:; B:; a on A; b Conflicts=a stale on A", "[-b@A +b@B]"),
    row("placed twice: the last order counts", "A:; B:; x1 on A,B", "-x1@B"),
    row(
        "a global unit waits for a conflict to leave",
        "A:; B:; g global Conflicts=x*; x1 on A; x2 inactive on B",
        "[-x2@B +g@B]",
    ),
    row("a global unit gives way to nobody new", "A:; g global Conflicts=x* on A; x1", ""),
    row("of two global units that conflict the placed one stays", "A:; a global Conflicts=b; b global on A", ""),
    row("of two new global units that conflict the first", "A:; a global Conflicts=b; b global", "+a@A"),
    row("a unit becomes global: what runs stays", "A:; B:; g global stale on B", "+g@A +g@B"),
    row("a global unit becomes ordinary: one stays", "A:; B:; g stale on A,B", "[-g@B +g@A]"),
    row(
        "the follower of a global unit leaves with it",
        "A: r=2; B: r=1; g global r=1 on A; b MachineOf=g on A",
        "[-b@A -g@A +b@B +g@B]",
    ),
    row(
        "pushed with all that is tied to it",
        "A:; B:; rep0 on A; side MachineOf=rep0 on A; kick Replaces=rep0 on A",
        "[-rep0@A -side@A +rep0@B +side@B]",
    ),
    row(
        "nothing is pushed away from its own follower",
        "A:; B:; rep0 on A; kick MachineOf=rep0 Replaces=rep0 on A",
        "",
    ),
    row(
        "pushed only to where no replacer is",
        "A:; B:; C:; rep0 on A; kick1 Replaces=rep0 on A; kick2 Replaces=rep0 on B; x1 on C; x2 on C",
        "[-rep0@A +rep0@C]",
    ),
    row(
        "two replacers and one machine to go to",
        "A:; B:; rep0 on A; kick1 Replaces=rep0 on A; kick2 Replaces=rep0",
        "[-rep0@A +kick2@A +rep0@B]",
    ),
    row("a replaced unit keeps off its replacer", "A:; B:; x1 on B; x2 on B; kick Replaces=rep0 on A; rep0", "+rep0@B"),
    row("a replacer waits if the replaced unit can go nowhere", "A:; rep0 on A; kick Replaces=rep0", ""),
    row("what can never be met", "A:; x1 Never=MachineOf=_names_no_unit", ""),
];

/// Machines that are not present, cordons, and orders on their way out.
const ABSENCES: &[Row] = &[
    row("in its grace nothing of it moves", "A! held; B:; x1 on A; s WhenIsolated=stop on A; g global on A,B", ""),
    row("what is absent and not said to be anything is held", "B:; x1 on A", ""),
    row("what nobody wants goes all the same", "A! held; B:; x1 inactive on A; x2 leaving A inactive", "-x1@A -x2@A"),
    row(
        "a new file goes to where the unit is held",
        "A! held; B:; x1 stale on A; g global stale on A",
        "+g@A +g@B +x1@A",
    ),
    row("nothing new comes to it", "A! held; B:; x1 on B; x2 on B; x3; x4 MachineID=A", "+x3@B"),
    row("who must be with a held unit waits for it", "A! held; B:; a on A; b MachineOf=a", ""),
    row(
        "after the grace: keep is placed elsewhere, stop is held",
        "A! stop-held; B:; x1 on A; s WhenIsolated=stop on A",
        "[~x1@A +x1@B]",
    ),
    row(
        "after the stop allowance: stop is placed elsewhere too, and has stopped by itself",
        "A! gone; B:; x1 on A; s WhenIsolated=stop on A",
        "[-s@A +s@B] [~x1@A +x1@B]",
    ),
    row("what fits nowhere else stays where it was", "A! gone; B:; x1 MachineID=A on A; x2 d=ssd on A", ""),
    row("a global unit stays with its machine", "A! gone; B:; g global on A,B", ""),
    row(
        "of a machine that is given up nothing stays",
        "A! given-up; B:; g global on A,B; x1 on A; x2 d=ssd on A; x3 leaving A on B; s WhenIsolated=stop on A",
        "-g@A -x2@A -x3@A [-s@A +s@B] [-x1@A +x1@B]",
    ),
    row(
        "a follower stays with a leader that is held",
        "A! stop-held; B:; a WhenIsolated=stop on A; b MachineOf=a on A",
        "",
    ),
    row(
        "a leader goes before its follower",
        "A! stop-held; B:; C:; a on A; b MachineOf=a WhenIsolated=stop on A",
        "[~a@A +a@B]",
    ),
    row(
        "and the follower comes after it",
        "A! gone; B:; C:; a leaving A on B; b MachineOf=a WhenIsolated=stop on A",
        "[-b@A +b@B]",
    ),
    row("what leaves stays until the new one is up", "A:; B:; x1 leaving A on B", ""),
    row("and goes then", "A:; B:; x1 leaving A on B up B", "-x1@A"),
    row("up where it is leaving says nothing", "A:; B:; x1 leaving A on B up A", ""),
    row("an older one that is up is not the new one", "A:; B:; x1 leaving A stale on B", "+x1@B"),
    row("what leaves a lost machine goes as well", "A! held; B:; x1 leaving A on B up B", "-x1@A"),
    row("one that may run only once does not leave, it goes", "A:; B:; s WhenIsolated=stop leaving A on B", "-s@A"),
    row("what leaves counts as load", "A:; B:; C:; x1 leaving A on B; x2", "+x2@C"),
    row("what leaves keeps off what conflicts with it", "A:; B:; x1 leaving A on B; x2 Conflicts=x1", ""),
    row("even a global unit", "A:; B:; x1 leaving A on B; g global Conflicts=x1", ""),
    row("but not itself", "A:; B! gone; x1 Conflicts=x* leaving A on B", "[~x1@B +x1@A]"),
    row("where a peer is leaving it is not", "A:; B: cordoned; a leaving A on B; b MachineOf=a", ""),
    row("what leaves replaces nobody and is replaced by nobody", "A:; B:; k Replaces=r leaving A on B; r on A", ""),
    row("without a placement it goes on running until there is one", "A: cordoned; x1 leaving A", ""),
    row("nothing new comes to a cordoned machine", "A: cordoned; B:; x1 on B; x2; g global", "+g@B +x2@B"),
    row("what is there stays there", "A: cordoned; B:; x1 on A; x2 stale on A; g global on A", "+g@B +x2@A"),
    row("not even to follow", "A: cordoned; B:; a on A; b MachineOf=a", ""),
    row("nothing is pushed there", "A:; B: cordoned; rep0 on A; kick Replaces=rep0 on A", ""),
];

const fn row(about: &'static str, cluster: &'static str, plan: &'static str) -> Row {
    Row { about, cluster, plan, original: Same }
}

#[test]
fn decisions_of_the_original() {
    check_all(DECISIONS);
}

#[test]
fn replaces_in_its_intended_meaning() {
    check_all(REPLACES);
}

#[test]
fn decisions_that_only_fleet_makes() {
    check_all(OURS);
}

#[test]
fn absences() {
    check_all(ABSENCES);
}

/// The rows where fleet differs from the original differ indeed, and say why.
#[test]
fn deviations_are_deviations() {
    for row in DECISIONS.iter().chain(REPLACES) {
        if let Differs { did, because } = &row.original {
            assert_ne!(*did, row.plan, "{}", row.about);
            assert!(!because.is_empty(), "{}", row.about);
        }
    }
}

#[track_caller]
fn check_all(rows: &[Row]) {
    let wrong: Vec<String> = rows.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with the plan of the row, of engine or judge, or with its outcome.
fn wrong(row: &Row) -> Option<String> {
    let mut cluster = cluster(row.cluster);
    let (engine, judge) = (engine_plan(&cluster), check::plan(&cluster));
    let said = [("engine", &engine), ("judge", &judge)];
    for (who, plan) in said {
        if plan_text(plan) != row.plan {
            return Some(format!("{}: {who} says `{}`, not `{}`", row.about, plan_text(plan), row.plan));
        }
    }
    apply(&mut cluster, &engine);
    let violations = check::invariants(&cluster);
    if !violations.is_empty() || !engine_plan(&cluster).is_empty() {
        return Some(format!("{}: not at rest: {violations:?}, {}", row.about, plan_text(&engine_plan(&cluster))));
    }
    None
}

fn engine_plan(cluster: &Cluster) -> Plan {
    // The engine counts the time itself. In a row all machines that are not given up have been away equally long.
    let levels = cluster.absent.values().filter(|absence| **absence != Absence::GivenUp);
    let level = levels.max().copied().unwrap_or_default();
    let never = u64::MAX;
    let config = EngineConfig {
        grace_ms: if level < Absence::StopHeld { never } else { 0 },
        stop_allowance_ms: if level < Absence::Gone { never } else { 0 },
        forget_ms: never,
        ..EngineConfig::default()
    };
    let snapshot = Event::Snapshot(cluster.clone());
    let mut effects = Engine::new(config).handle(Timestamp(0), snapshot);
    effects.retain(|effect| !matches!(effect, Effect::Wake(_)));
    match effects.as_slice() {
        [] => Plan::default(),
        [Effect::Write(plan)] => plan.clone(),
        other => panic!("one plan at most, not {other:?}"),
    }
}
