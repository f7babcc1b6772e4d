//! API v1 as its clients see it: the transcript of the reference, row by row, over a unix socket and over TCP, under both
//! prefixes, against the real `fleetd` on a real machine.
//!
//! A row is a request and the answer to it. `~` is the prefix; what stands in `{}` beside it is the body of a `PUT` with the right
//! content type. `wire` knows nothing of fleet.

mod around;
mod limits;
mod many;
mod metadata;
mod rows;
mod wire;

use std::fs::OpenOptions;
use std::io::Write as _;

use fleet_dev::MachineSpec;

use crate::world::World;
use wire::Address;

/// Where the TCP socket listens on m1's address: the port that the original's documentation uses.
const PORT: u16 = 49_153;

/// One line of a transcript.
pub enum Row {
    /// A request, and what is answered.
    Ask(String, String),
    /// Wait until the unit is as far as it is to be taken, and systemd says this of it.
    Active(&'static str, &'static str),
    /// Wait until no machine has the unit, which is still there.
    Nowhere(&'static str),
    /// Wait until the unit is destroyed, and no machine has it.
    Gone(&'static str),
}

/// A request and what is answered; lines of JSON are long.
pub fn ask(request: impl Into<String>, answer: impl Into<String>) -> Row {
    Row::Ask(request.into(), answer.into())
}

/// The body of an error.
pub fn error(status: u16, message: &str) -> String {
    let message = message.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{status} content-type: application/json\n{{\"error\":{{\"code\":{status},\"message\":\"{message}\"}}}}")
}

/// A good answer with a body.
pub fn json(body: &str) -> String {
    format!("200 content-type: application/json\n{body}")
}

/// A `PUT` with the right content type.
pub fn put(name: &str, body: &str) -> String {
    format!("PUT ~/units/{name}\nContent-Type: application/json\n\n{body}")
}

/// A world whose `fleetd` listens at TCP, too, and has these keys; with the two addresses.
fn world(keys: &str) -> (World, [Address; 2]) {
    let mut world = World::with_metadata(&["region=us-west,empty="]);
    let ip = world.machines()[0].spec().address;
    let mut config = OpenOptions::new().append(true).open(world.fleetd_config()).expect("the configuration is there");
    writeln!(config, "listen = {},{ip}:{PORT}\n{keys}", world.endpoint()).expect("our file");
    world.cluster().restart_fleetd().expect("fleetd takes the keys");
    let socket = world.endpoint().trim_start_matches("unix://").into();
    (world, [Address::Unix(socket), Address::Tcp((ip, PORT).into())])
}

/// Carries out the rows and compares.
#[track_caller]
fn check(world: &World, address: &Address, prefix: &str, rows: &[Row]) {
    let MachineSpec { id, address: ip, .. } = world.machines()[0].spec();
    let fill = |text: &str| text.replace('~', prefix).replace("<m1>", id).replace("<m1-ip>", &ip.to_string());
    for row in rows {
        match row {
            Row::Ask(request, expected) => {
                let answer = address.ask(&fill(request));
                assert_eq!(answer.to_string(), fill(expected), "{prefix} at {address:?}:\n{request}");
                let server = format!("fleetd/{}", env!("CARGO_PKG_VERSION"));
                assert_eq!(answer.header("server"), Some(server.as_str()), "{request}");
                assert!(answer.header("date").is_some(), "{request}");
                for never in ["etag", "cache-control"] {
                    assert_eq!(answer.header(never), None, "{request}");
                }
            }
            Row::Active(unit, active) => drop(world.wait_active(unit, active)),
            Row::Nowhere(unit) => drop(world.wait(unit, "on no machine", |unit| unit.placements.is_empty())),
            Row::Gone(unit) => world.wait_gone(unit),
        }
    }
}

#[test]
fn transcript() {
    let (world, addresses) = world("");
    for address in &addresses {
        for prefix in ["/fleet/v1", "/v1-alpha"] {
            for rows in rows::all() {
                check(&world, address, prefix, &rows);
            }
        }
    }
}

/// Lists in pages of two; a list that ends with a full page has an empty one after it.
#[test]
fn pages() {
    let (world, addresses) = world("token_limit = 2");
    let prefix = "/fleet/v1";
    check(&world, &addresses[0], prefix, &rows::pages());
}

/// Several requests on one connection, also before the first is answered, and what belongs to HTTP and not to fleet.
#[test]
fn connections() {
    let (_world, addresses) = world("");
    for address in &addresses {
        let mut stream = address.connect();
        stream
            .write_all(
                b"GET /fleet/v1/units HTTP/1.1\r\nHost: x\r\n\r\nGET http://x/fleet/v1/state HTTP/1.1\r\nHost: x\r\n\r\n\
                  OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\nGET /fleet/v1/units HTTP/1.1\r\n\r\n",
            )
            .expect("the server reads");
        let mut stream = std::io::BufReader::new(stream);
        let mut next = || wire::receive(&mut stream, false).expect("an answer").to_string();
        assert_eq!(next(), json("{}"));
        assert_eq!(next(), json("{}"));
        assert_eq!(next(), "200");
        assert!(next().starts_with("400 content-type: text/plain"), "there was no Host");

        let mut stream = address.connect();
        stream.write_all(b"GET /fleet/v1/units HTTP/1.0\r\n\r\n").expect("the server reads");
        let answer = wire::receive(&mut std::io::BufReader::new(stream), false).expect("an answer");
        assert_eq!(answer.to_string(), json("{}"), "HTTP/1.0 needs no Host");
    }
}
