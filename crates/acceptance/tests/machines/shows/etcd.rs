//! Trouble in etcd stops nothing.

use std::collections::BTreeSet;
use std::ops::Range;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::proxy::Proxy;
use super::{check_untouched, check_works, start};
use crate::field::{AGENT_TTL, Field, FieldSpec, WAIT_LIMIT, instances};
use crate::samples::Sampler;
use crate::smoke::GRACE;

const UNITS: usize = 200;

/// How long etcd is frozen, or its answers are late: many times longer than any lease lives.
const TROUBLE: Duration = Duration::from_secs(180);

/// By how much answers are late. Longer than a request is waited for at one end, so that some are given up.
const DELAY_MS: Range<u64> = 900..3_000;

/// Lets the trouble last. Nothing is waited for here: that nothing happens is what is looked at.
fn let_it_last(time: Duration) {
    std::thread::sleep(time);
}

/// What a member says of itself, `None` if it does not answer.
fn metrics(field: &Field, member: usize) -> Option<String> {
    let url = format!("{}/metrics", field.lab.etcd()[member].endpoint());
    let mut curl = field.lab.hub_command("curl");
    let output = curl.args(["--silent", "--max-time", "5", &url]).stdin(Stdio::null()).output().expect("curl is there");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The value of one of etcd's own counters.
pub fn counter(field: &Field, member: usize, name: &str) -> Option<f64> {
    let metrics = metrics(field, member)?;
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn leader(field: &Field) -> Option<usize> {
    let leads = |member: &usize| counter(field, *member, "etcd_server_is_leader") == Some(1.0);
    (0..field.lab.etcd().len()).find(leads)
}

#[test]
fn etcd_is_frozen_killed_and_loses_its_leader() {
    let mut field = FieldSpec { etcd_members: 3, ..FieldSpec::new(3) }.start();
    let units = instances("a", UNITS);
    let before = start(&field, "a", &units, "");

    for member in field.lab.etcd() {
        member.freeze();
    }
    let_it_last(TROUBLE);
    check_untouched(&field, &units, &before, "etcd was frozen");
    for member in field.lab.etcd() {
        member.thaw();
    }
    check_works(&field, "m1", "after-the-frost.service");
    check_untouched(&field, &units, &before, "etcd was thawed");

    // One by one and all at once.
    for member in field.lab.etcd_mut() {
        member.kill().expect("killed");
    }
    let_it_last(3 * AGENT_TTL);
    check_untouched(&field, &units, &before, "etcd was killed");
    // A member serves only with a majority: they are started together, as three machines would.
    std::thread::scope(|scope| {
        for member in field.lab.etcd_mut() {
            scope.spawn(|| member.start().expect("etcd starts"));
        }
    });
    check_works(&field, "m2", "after-the-crash.service");
    check_untouched(&field, &units, &before, "etcd was killed and started");

    let old = leader(&field).expect("one leads");
    field.lab.etcd_mut()[old].kill().expect("killed");
    field.wait("another member leads", WAIT_LIMIT, || leader(&field).is_some_and(|new| new != old));
    check_works(&field, "m3", "after-the-election.service");
    check_untouched(&field, &units, &before, "etcd changed its leader");
}

/// Who cannot know that nobody else may start a unit stops it, also when it is the store that is away for all; and what was
/// stopped comes back. All else goes on.
#[test]
fn etcd_is_frozen_and_what_may_not_run_twice_stops() {
    /// For systemd to stop them, and for the looks in between, beyond the end of the lease.
    const STOPPED: Duration = Duration::from_secs(3);
    let field = FieldSpec::new(3).start();
    let (keep, stop) = (instances("keep", 6), instances("stop", 6));
    let before = start(&field, "keep", &keep, "WhenIsolated=keep\n");
    start(&field, "stop", &stop, "WhenIsolated=stop\n");
    let sampler = Sampler::start(&field, &stop);
    for member in field.lab.etcd() {
        member.freeze();
    }
    field.wait("all have stopped", AGENT_TTL + STOPPED, || field.all_running(&stop).is_empty());
    // One that is started anew has no lease either.
    field.ok("m1", "systemctl restart fleetd");
    let_it_last(AGENT_TTL);
    assert_eq!(field.all_running(&stop).len(), 0, "nothing came back without a lease");
    check_untouched(&field, &keep, &before, "etcd was frozen");
    for member in field.lab.etcd() {
        member.thaw();
    }
    field.wait("all run again", WAIT_LIMIT, || field.all_running(&stop).len() == stop.len());
    check_works(&field, "m2", "after-the-frost.service");
    check_untouched(&field, &keep, &before, "etcd was thawed");
    let samples = sampler.stop();
    for unit in &stop {
        samples.check_never_twice(unit);
    }
}

#[test]
fn etcds_answers_are_late() {
    // Between the machines and etcd, which they do not know.
    let port = 12_379;
    let servers = format!("http://{}:{port}", fleet_dev::HUB_ADDRESS);
    let mut spec = FieldSpec::new(3);
    spec.etcd_servers = Some(servers);
    // Above the delay, which is in every renewal as well.
    spec.config = "agent_ttl = 30s\n".to_owned();
    let lab = spec.prepare();
    let proxy = Proxy::start(&lab, port, 2_379, 42);
    let field = spec.boot(lab);
    let units = instances("a", UNITS);
    let before = start(&field, "a", &units, "");
    proxy.delay(DELAY_MS);
    let_it_last(TROUBLE);
    check_untouched(&field, &units, &before, "answers were late");
    proxy.delay(0..1);
    check_works(&field, "m1", "in-time-again.service");
    check_untouched(&field, &units, &before, "answers came in time again");
}

#[test]
fn all_lose_etcd_and_come_back_one_by_one() {
    let mut field = FieldSpec::new(4).start();
    let units = instances("a", 40);
    let before = start(&field, "a", &units, "");
    let names = ["m1", "m2", "m3", "m4"];
    for n_back in 0..=names.len() {
        let islands: Vec<&[&str]> = names[n_back..].iter().map(std::slice::from_ref).collect();
        field.lab.partition(&islands).expect("parted");
        // First all are lost for longer than any lease and grace. Each return gives those still gone their grace again:
        // the brake alone holds only as long as more than half of the machines, and more than two, are lost.
        let_it_last(if n_back == 0 { 3 * AGENT_TTL } else { GRACE / 2 });
        check_untouched(&field, &units, &before, &format!("{n_back} are back"));
    }
    check_works(&field, "m1", "all-back.service");
    check_untouched(&field, &units, &before, "all are back");
}

#[test]
fn an_idle_cluster_writes_nothing() {
    const MACHINES: u8 = 10;
    const UNITS: usize = 1_000;
    const LOOK: Duration = Duration::from_secs(60);
    let mut spec = FieldSpec::new(MACHINES);
    spec.config = String::new(); // The defaults are what is idle at people's.
    let field = spec.start();
    let units = instances("a", UNITS);
    start(&field, "a", &units, "");
    let proposals = || counter(&field, 0, "etcd_server_proposals_committed_total").expect("etcd answers");
    // The last reports of states are on their way; then it is quiet.
    let mut last = proposals();
    let mut since = Instant::now();
    field.wait("no write for 5 s", WAIT_LIMIT, || {
        let now = proposals();
        if now > last {
            (last, since) = (now, Instant::now());
        }
        Duration::from_secs(5) < since.elapsed()
    });
    let_it_last(LOOK);
    assert_eq!(proposals(), last, "write proposals in {LOOK:?} of idling");
}

#[test]
fn of_two_machines_with_one_id_the_second_is_refused() {
    let mut spec = FieldSpec::new(2);
    spec.machines[1].id = spec.machines[0].id.clone();
    let id = spec.machines[0].id.clone();
    let mut lab = spec.prepare();
    lab.machine_mut("m1").expect("m1").boot().expect("on");
    let mut field = spec.wait_for(lab, 1);
    let units = instances("a", 2);
    let before = start(&field, "a", &units, "");
    field.machine_mut("m2").boot().expect("on");
    // Both addresses and the id, in the words of the machine that came second.
    field.wait("m2 says who has its id", WAIT_LIMIT, || {
        let log = field.run("m2", "journalctl --unit=fleetd --no-pager --output=cat").stdout;
        log.lines().any(|line| [&id, "10.77.0.11", "10.77.0.12"].iter().all(|word| line.contains(*word)))
    });
    let_it_last(3 * AGENT_TTL);
    let listed = field.ok("m1", "fleetctl list-machines --no-legend --full --fields=machine,ip");
    assert_eq!(listed.split_whitespace().collect::<BTreeSet<_>>(), BTreeSet::from([id.as_str(), "10.77.0.11"]));
    check_untouched(&field, &units, &before, "another one with its id came");
}
