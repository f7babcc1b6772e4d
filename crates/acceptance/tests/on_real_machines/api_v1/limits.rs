//! What clients cannot do to the API: take too much of it, or keep it waiting.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::wire::{Address, Answer, Stream, receive, send};
use super::{error, json, put, world};
use crate::world::{WAIT_LIMIT, World};

const LIST: &str = "GET /fleet/v1/units";

/// The limits as small as they may be, so that a test reaches them.
const SMALL: &str = "api_connections = 16\napi_idle_timeout = 1s\napi_header_bytes = 8192\napi_header_timeout = 1s\n\
                     api_body_bytes = 4194304\napi_body_timeout = 1s\napi_options = 100\n";

/// The time of all limits in [`SMALL`], less what clocks may differ by.
const SMALL_TIME: Duration = Duration::from_millis(950);

/// What a connection still says when the server has closed it, and how long that took.
fn until_closed(mut stream: Box<dyn Stream>) -> (String, Duration) {
    let begun = Instant::now();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => (),
        // There was more to read than the server wanted to.
        Err(err) if matches!(err.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => (),
        Err(err) => panic!("it is not closed: {err}"),
    }
    (String::from_utf8_lossy(&rest).into_owned(), begun.elapsed())
}

fn answer_to(mut stream: Box<dyn Stream>, bytes: &[u8]) -> Answer {
    stream.write_all(bytes).expect("the server reads");
    receive(&mut BufReader::new(stream), false).expect("an answer")
}

#[test]
fn who_keeps_it_waiting_is_left() {
    let (_world, addresses) = world(SMALL);
    for address in &addresses {
        let (said, took) = until_closed(address.connect());
        assert!(said.is_empty() && SMALL_TIME < took, "idle from the beginning: {said:?} after {took:?}");

        let mut stream = address.connect();
        send(&mut *stream, LIST);
        let (said, took) = until_closed(stream);
        assert!(
            said.starts_with("HTTP/1.1 200 ") && SMALL_TIME < took,
            "idle after an answer: {said:?} after {took:?}"
        );

        let mut stream = address.connect();
        stream.write_all(b"GET /fleet/v1/units HTTP/1.1\r\nHost: ").expect("the server reads");
        let (said, took) = until_closed(stream);
        assert!(said.is_empty() && SMALL_TIME < took, "headers without an end: {said:?} after {took:?}");

        let begun = Instant::now();
        let head = b"PUT /fleet/v1/units/a.service HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
        let slow = "the request's body did not come within 1 s (api_body_timeout)";
        assert_eq!(answer_to(address.connect(), head).to_string(), error(408, slow));
        assert!(SMALL_TIME < begun.elapsed());

        let head = b"POST /fleet/v2/changes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
        let answer = answer_to(address.connect(), head).to_string();
        assert!(answer.starts_with("408 content-type: application/problem+json") && answer.contains(slow), "{answer}");
    }
}

/// A client that takes a large answer slowly, but takes it, is not idle. One that takes nothing is.
#[test]
fn a_slow_reader_gets_its_answer() {
    const PIECE: usize = 256 << 10;
    let (_world, [unix, _]) = world(SMALL);
    let units = 8;
    for n in 0..units {
        let unit = format!(r#"{{"section":"Service","name":"ExecStart","value":"/bin/echo {}"}}"#, "x".repeat(400_000));
        let unit = put(&format!("u{n}.service"), &format!(r#"{{"options":[{unit}]}}"#));
        assert_eq!(unix.ask(&unit.replace('~', "/fleet/v1")).status, 201);
    }
    let begun = Instant::now();
    let mut stream = unix.connect();
    send(&mut *stream, LIST);
    let mut read = 0;
    loop {
        let mut piece = vec![0; PIECE];
        let n = stream.read(&mut piece).expect("more of it");
        read += n;
        if piece[..n].ends_with(b"]}") {
            break;
        }
        assert!(0 < n, "it was cut off after {read} bytes and {:?}", begun.elapsed());
        std::thread::sleep(PACE * 20);
    }
    assert!(units * 400_000 < read && SMALL_TIME * 2 < begun.elapsed(), "{read} bytes in {:?}", begun.elapsed());

    let mut stream = unix.connect();
    send(&mut *stream, LIST);
    std::thread::sleep(SMALL_TIME * 3);
    let (rest, _) = until_closed(stream);
    assert!(rest.len() < units * 400_000, "it was given up: {} bytes", rest.len());
}

#[test]
fn too_much_is_refused() {
    let (_world, addresses) = world(SMALL);
    for address in &addresses {
        let header = format!("{LIST}\nX-Much: {}", "x".repeat(8_192));
        assert_eq!(address.ask(&header).status, 431);

        let head = |length: &str| {
            let start = "PUT /fleet/v1/units/a.service HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
            format!("{start}{length}\r\n\r\n").into_bytes()
        };
        let too_large = error(413, "the request's body is over the limit of 4194304 bytes (api_body_bytes)");
        let said = answer_to(address.connect(), &head("Content-Length: 1073741824"));
        assert_eq!(said.to_string(), too_large, "by what the client says, before anything of it comes");
        let mut body = head("Transfer-Encoding: chunked");
        body.extend_from_slice(b"400001\r\n");
        body.resize(body.len() + 0x40_0001, b' ');
        assert_eq!(answer_to(address.connect(), &body).to_string(), too_large, "by what comes");
        let head = b"POST /fleet/v2/changes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4194305\r\n\r\n";
        assert_eq!(answer_to(address.connect(), head).status, 413);

        let options = |n: usize| {
            let options = vec![r#"{"section":"Service","name":"ExecStart"}"#; n].join(",");
            put("a.service", &format!(r#"{{"options":[{options}]}}"#)).replace('~', "/fleet/v1")
        };
        assert_eq!(address.ask(&options(100)).to_string(), "201");
        let refused = address.ask(&options(101)).to_string();
        assert!(refused.contains("unable to decode body: more than 100 entries, each an option"), "{refused}");
        assert_eq!(address.ask("DELETE /fleet/v1/units/a.service").status, 204);
    }
}

/// A socket that is full makes others wait there, and nowhere else; and not for ever.
#[test]
fn one_socket_can_be_full() {
    let (world, [unix, tcp]) = world(SMALL);
    for (full, other) in [(&unix, &tcp), (&tcp, &unix)] {
        let mut all: Vec<Box<dyn Stream>> = (0..16).map(|_| full.connect()).collect();
        // Each is one that the server has taken.
        for stream in &mut all {
            send(&mut **stream, LIST);
            let mut first = [0; 12];
            stream.read_exact(&mut first).expect("an answer");
            assert_eq!(&first, b"HTTP/1.1 200");
        }
        let begun = Instant::now();
        assert_eq!(other.ask(LIST).status, 200);
        let took_other = begun.elapsed();
        assert_eq!(full.ask(LIST).status, 200);
        assert!(took_other < begun.elapsed(), "it waited for a place, the other did not");
        assert!(SMALL_TIME / 2 < begun.elapsed(), "places come free only by the idle timeout");
    }
    assert!(world.fleetd_log().contains("16 connections to one socket (api_connections)"), "{}", world.fleetd_log());
}

/// How many connections wait without a word, if this box lets a process have so many open files.
const IDLE: usize = 10_000;

/// How many clients send their requests one byte at a time: half of them headers, half of them bodies.
const SLOW: usize = 200;

/// Between two bytes of each of them.
const PACE: Duration = Duration::from_millis(10);

/// One request with a body of so many bytes.
const LARGE: usize = 1 << 30;

/// Open files that this process needs besides.
const RESERVE: u64 = 500;

/// Crowds of idle and slow clients and one that sends a gigabyte: a list is answered as if they were not there. What it takes is
/// printed (`--nocapture`); judged is only that it is nothing like the seconds that waiting for any of them would take.
#[test]
#[expect(
    clippy::print_stdout,
    reason = "what was measured is for people, and the test harness keeps it from all others"
)]
fn crowds_keep_nobody_out() {
    let (world, [unix, _]) = world("api_body_timeout = 1h\napi_header_timeout = 1h");
    for n in 0..100 {
        let unit = put(
            &format!("u{n}.service"),
            r#"{"options":[{"section":"Service","name":"ExecStart","value":"/bin/true"}]}"#,
        );
        assert_eq!(unix.ask(&unit.replace('~', "/fleet/v1")).status, 201);
    }
    let before = measure(&unix);
    println!("alone:  {before}; fleetd has {}", memory(&world));

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit everybody may");
    let n_idle = IDLE.min(usize::try_from(hard.saturating_sub(RESERVE)).unwrap_or(usize::MAX));
    let idle: Vec<Box<dyn Stream>> = (0..n_idle).map(|_| unix.connect()).collect();
    // The server has taken them all when it has taken one that came after them.
    assert_eq!(unix.ask(LIST).status, 200);
    let mut slow: Vec<Box<dyn Stream>> = (0..SLOW).map(|n| slow_sender(&unix, n)).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                slow.iter_mut().for_each(|stream| stream.write_all(b"x").expect("the server reads"));
                std::thread::sleep(PACE);
            }
        });
        let large = scope.spawn(|| send_large(&unix));
        let crowded = measure(&unix);
        println!("beside {n_idle} idle, {SLOW} slow and 1 GiB: {crowded}; fleetd has {}", memory(&world));
        over.store(true, Ordering::Relaxed);
        let (sent, took) = large.join().expect("it ends");
        println!("the large body was refused after {} MiB and {took:?}", sent >> 20);
        assert!(sent < LARGE, "it was not read to its end");
        assert!(crowded.slowest < WAIT_LIMIT / 10, "{crowded}");
    });
    drop(idle);
    assert_eq!(unix.ask(LIST).to_string().split('\n').next(), json("").split('\n').next());
}

fn slow_sender(address: &Address, n: usize) -> Box<dyn Stream> {
    let mut stream = address.connect();
    let start: &[u8] = match n % 2 {
        0 => b"GET /fleet/v1/units HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        _ => b"PUT /fleet/v1/units/slow.service HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50000000\r\n\r\n",
    };
    stream.write_all(start).expect("the server reads");
    stream
}

/// Sends the body in pieces until the server does not want it any more; gives how much that was.
fn send_large(address: &Address) -> (usize, Duration) {
    let begun = Instant::now();
    let mut stream = address.connect();
    let head = "PUT /fleet/v1/units/large.service HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("the server reads");
    let mut piece = b"100000\r\n".to_vec();
    piece.resize(piece.len() + (1 << 20), b' ');
    piece.extend_from_slice(b"\r\n");
    for sent in (0..LARGE).step_by(1 << 20) {
        if stream.write_all(&piece).is_err() {
            return (sent, begun.elapsed());
        }
    }
    (LARGE, begun.elapsed())
}

struct Measured {
    median: Duration,
    slowest: Duration,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a list takes {:?} (median), {:?} (slowest)", self.median, self.slowest)
    }
}

/// Asks for a list again and again, each time on a new connection.
fn measure(address: &Address) -> Measured {
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(address.ask(LIST).status, 200);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    Measured { median: times[times.len() / 2], slowest: times[times.len() - 1] }
}

/// `fleetd`'s memory as the kernel says it.
fn memory(world: &World) -> String {
    let pid = world.fleetd_pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("fleetd runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says it");
    line.trim().to_owned()
}
