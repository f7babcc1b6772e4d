//! What is around the API: metrics, the IDs of requests, and the end of the daemon.

use std::io::{BufReader, Read as _, Write as _};
use std::time::{Duration, Instant};

use super::wire::{receive, send};
use super::{put, world};
use crate::world::eventually;

/// The value of a metric with its labels, as the text has it.
fn value(text: &str, metric: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn metrics_are_shown_as_they_are() {
    let (world, [unix, tcp]) = world("");
    let sleeps =
        r#"{"desiredState":"launched","options":[{"section":"Service","name":"ExecStart","value":"/bin/sleep 1000"}]}"#;
    assert_eq!(unix.ask(&put("m.service", sleeps).replace('~', "/fleet/v1")).status, 201);
    world.wait_active("m.service", "active");
    let nowhere = sleeps.replace("]}", r#",{"section":"X-Fleet","name":"MachineMetadata","value":"no=such"}]}"#);
    assert_eq!(unix.ask(&put("n.service", &nowhere).replace('~', "/fleet/v1")).status, 201);
    assert_eq!(unix.ask("GET /fleet/v1/units/none.service").status, 404);

    for (method, address) in [("GET", &unix), ("POST", &tcp), ("BREW", &unix)] {
        let answer = address.ask(&format!("{method} /metrics"));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4")));
    }
    let text = unix.ask("GET /metrics").body;
    for (metric, least) in [
        // Names that the original had, or promised.
        ("fleet_engine_leader_start_time", 1.0e9),
        (r#"fleet_engine_task_count_total{type="attemptscheduleunit"}"#, 1.0),
        ("fleet_engine_reconcile_count_total", 1.0),
        ("fleet_engine_reconcile_duration_second_count", 1.0),
        (r#"fleet_registry_operation_count_total{type="set"}"#, 2.0),
        (r#"fleet_registry_operation_count_total{type="get_all"}"#, 1.0),
        (r#"fleet_registry_operation_duration_second_count{ops="set"}"#, 2.0),
        (r#"fleet_agent_jobs_total{job="start",result="done"}"#, 1.0),
        (r#"fleet_api_requests_total{api="v1",code="201",method="PUT"}"#, 2.0),
        (r#"fleet_api_requests_total{api="v1",code="404",method="GET"}"#, 1.0),
        (r#"fleet_api_requests_total{api="metrics",code="200",method="other"}"#, 1.0),
        (r#"fleet_api_connections{socket="unix"}"#, 1.0),
        ("fleet_store_revision", 1.0),
        ("process_resident_memory_bytes", 1.0e6),
    ] {
        let value = value(&text, metric);
        assert!(value.is_some_and(|value| least <= value), "{metric} is {value:?}:\n{text}");
    }
    for (metric, exactly) in [
        ("fleet_machines", 1.0),
        (r#"fleet_units{desired_state="launched"}"#, 2.0),
        (r#"fleet_units{desired_state="inactive"}"#, 0.0),
        ("fleet_units_waiting", 1.0),
        (r#"fleet_unit_states{active="active"}"#, 1.0),
    ] {
        assert_eq!(value(&text, metric), Some(exactly), "{metric}:\n{text}");
    }
}

#[test]
fn requests_have_ids() {
    let (world, [unix, _]) = world("verbosity = 1");
    let given = unix.ask("GET /fleet/v2/units/none.service\nX-Request-Id: mine-1");
    assert_eq!(given.header("x-request-id"), Some("mine-1"));
    assert!(given.body.contains(r#""instance":"mine-1""#), "{}", given.body);
    let made = [unix.ask("GET /fleet/v1/units"), unix.ask("GET /nowhere\nX-Request-Id: not one \"")];
    let [first, second] = made.each_ref().map(|answer| answer.header("x-request-id").expect("an ID").to_owned());
    assert_ne!(first, second);
    let log = eventually("the log has all of it", || Some(world.fleetd_log()).filter(|log| log.contains(&second)));
    for (id, method, path) in [
        ("mine-1", "GET", "/fleet/v2/units/none.service"),
        (&first, "GET", "/fleet/v1/units"),
        (&second, "GET", "/nowhere"),
    ] {
        let is_it = |line: &&str| [id, method, path, "answered"].iter().all(|part| line.contains(part));
        assert_eq!(log.lines().filter(is_it).count(), 1, "{id}:\n{log}");
    }
}

/// SIGTERM in the midst of things: a request that is underway gets its answer, what has no end of its own ends, silent clients do
/// not hold anything up, nobody new is let in.
#[test]
fn requests_underway_are_answered_before_the_end() {
    let (mut world, [unix, tcp]) = world("");
    let idle = [unix.connect(), tcp.connect()];
    let mut watch = unix.connect();
    send(&mut *watch, "POST /fleet/v2/watch\nContent-Type: application/json\n\n{}");
    let mut first = [0; 12];
    watch.read_exact(&mut first).expect("the watch begins");

    let body = r#"{"options":[{"section":"Service","name":"ExecStart","value":"/bin/true"}]}"#;
    let (half, rest) = body.split_at(20);
    let mut underway = BufReader::new(tcp.connect());
    let head = "PUT /fleet/v1/units/late.service HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n";
    let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
    underway.get_mut().write_all(head.as_bytes()).expect("the server reads");
    assert_eq!(receive(&mut underway, true).expect("an answer").status, 100, "the server has begun to read the body");
    underway.get_mut().write_all(half.as_bytes()).expect("the server reads");

    let begun = Instant::now();
    std::thread::scope(|scope| {
        let stopped = scope.spawn(|| world.cluster().stop_fleetd());
        let mut rest_of_watch = Vec::new();
        watch.read_to_end(&mut rest_of_watch).expect("the watch ends");
        assert!(rest_of_watch.ends_with(b"0\r\n\r\n"), "in order");
        eventually("nobody new is let in", || unix.try_connect().is_err().then_some(()));
        underway.get_mut().write_all(rest.as_bytes()).expect("the server reads");
        assert_eq!(receive(&mut underway, false).expect("an answer").to_string(), "201");
        stopped.join().expect("no panic").expect("fleetd ends");
    });
    assert!(begun.elapsed() < Duration::from_secs(5), "nothing was waited for: {:?}", begun.elapsed());
    drop(idle);
    world.cluster().start_fleetd().expect("fleetd starts");
    assert_eq!(unix.ask("GET /fleet/v1/units/late.service").status, 200, "what was acknowledged is there");
}
