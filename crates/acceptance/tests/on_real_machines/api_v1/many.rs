//! Many clients that change units at once: each answer is true, and none is a failure of the cluster.
//!
//! `cargo xtask load` runs the same with more clients, for longer, and on either store.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::wire::Address;
use super::world;
use crate::world::{World, eventually};

/// How much is asked.
#[derive(Clone, Copy, Debug)]
struct Load {
    clients: usize,
    /// Units of each client's own; besides, all of them fight for one.
    units_each: usize,
    length: Length,
}

/// When a client has asked enough.
#[derive(Clone, Copy, Debug)]
enum Length {
    Requests(usize),
    #[cfg(feature = "load")]
    Time(Duration),
}

/// What a client may expect of its own units: `ExecStart` and desired state while they exist.
type Expected = BTreeMap<String, Option<(String, &'static str)>>;

#[test]
fn acknowledged_writes_are_there() {
    let (_world, addresses) = world("token_limit = 65535");
    check(&addresses, Load { clients: 20, units_each: 5, length: Length::Requests(60) });
}

/// With several `fleetd` on one etcd, which race each other.
#[test]
fn acknowledged_writes_are_there_in_etcd() {
    let world = World::on_etcd(2);
    check(&sockets(&world), Load { clients: 8, units_each: 5, length: Length::Requests(30) });
}

/// What `cargo xtask load` runs, which says how much of it.
#[cfg(feature = "load")]
#[test]
fn load() {
    let text = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: use `cargo xtask load`"));
    let number = |name: &str| text(name).parse::<usize>().unwrap_or_else(|err| panic!("{name}: {err}"));
    let (clients, units) = (number("FLEET_LOAD_CLIENTS"), number("FLEET_LOAD_UNITS"));
    let length = Length::Time(Duration::from_secs(number("FLEET_LOAD_SECONDS") as u64));
    let load = Load { clients, units_each: units.div_ceil(clients), length };
    match text("FLEET_LOAD_STORE").as_str() {
        "etcd" => {
            let world = World::on_etcd(3);
            check(&sockets(&world), load);
        }
        _ => {
            let (_world, addresses) = world("token_limit = 65535");
            check(&addresses, load);
        }
    }
}

/// The sockets of all `fleetd` of a world.
fn sockets(world: &World) -> Vec<Address> {
    let endpoints = world.endpoints();
    endpoints.iter().map(|endpoint| Address::Unix(endpoint.trim_start_matches("unix://").into())).collect()
}

#[expect(clippy::print_stdout, reason = "`cargo xtask load` shows what was measured")]
fn check(addresses: &[Address], load: Load) {
    let mut expected = Expected::new();
    let mut took = Vec::new();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let client = |n: usize| {
            let address = &addresses[n % addresses.len()];
            scope.spawn(move || Client { address, n, load, expected: Expected::new(), took: Vec::new() }.run())
        };
        let clients: Vec<_> = (0..load.clients).map(client).collect();
        for client in clients {
            let client = client.join().expect("no panic");
            expected.extend(client.expected);
            took.extend(client.took);
        }
    });
    let elapsed = begun.elapsed();
    took.sort_unstable();
    let rank = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "{} clients, {} units, {elapsed:.1?}: {} requests, {:.0} a second; half within {:.1?}, 99 of 100 within {:.1?}, all \
         within {:.1?}",
        load.clients,
        load.clients * load.units_each,
        took.len(),
        took.len() as f64 / elapsed.as_secs_f64(),
        rank(50),
        rank(99),
        rank(100),
    );
    let wanted: BTreeMap<String, (String, String)> = expected
        .into_iter()
        .filter_map(|(name, value)| value.map(|(value, state)| (name, (value, state.to_owned()))))
        .collect();
    for address in addresses {
        // What another fleetd wrote is seen a moment later.
        let mut last = BTreeMap::new();
        eventually(&format!("every acknowledged write is seen at {address:?}"), || {
            last = units(address);
            (last == wanted).then_some(())
        });
    }
}

/// All units but the one that all fight for: `ExecStart` and desired state.
fn units(address: &Address) -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    let mut query = String::new();
    loop {
        let page = address.ask(&format!("GET /fleet/v1/units{query}"));
        assert_eq!(page.status, 200, "{}", page.body);
        let page: serde_json::Value = serde_json::from_str(&page.body).expect("JSON");
        for unit in page["units"].as_array().into_iter().flatten() {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let entry = (text(&unit["options"][0]["value"]), text(&unit["desiredState"]));
            found.insert(text(&unit["name"]), entry);
        }
        let Some(token) = page["nextPageToken"].as_str() else { break };
        query = format!("?nextPageToken={token}");
    }
    found.remove("contested.service");
    found
}

struct Client<'a> {
    address: &'a Address,
    n: usize,
    load: Load,
    expected: Expected,
    took: Vec<Duration>,
}

impl Client<'_> {
    /// Creates, replaces and destroys, each time another of its units, and knows what must have come of it.
    fn run(mut self) -> Self {
        #[cfg(feature = "load")]
        let begun = Instant::now();
        let mut turn = 0;
        while match self.load.length {
            Length::Requests(n) => turn < n,
            #[cfg(feature = "load")]
            Length::Time(limit) => begun.elapsed() < limit,
        } {
            self.turn(turn);
            turn += 1;
        }
        self
    }

    fn turn(&mut self, turn: usize) {
        // Steps that have no divisor in common with the numbers of units and kinds visit all pairs.
        let name = format!("c{}-{}.service", self.n, turn * 3 % self.load.units_each);
        let value = format!("/bin/sleep 9{:04}{turn:06}", self.n);
        // Most stay off the machines: systemd is not what is measured here.
        let state = ["inactive", "loaded", "inactive", "inactive", "launched", "inactive", "inactive"][turn % 7];
        let body = format!(
            r#"{{"desiredState":"{state}","options":[{{"section":"Service","name":"ExecStart","value":"{value}"}}]}}"#
        );
        let put = |name: &str| format!("PUT /fleet/v1/units/{name}\nContent-Type: application/json\n\n{body}");
        let exists = self.expected.get(&name).is_some_and(Option::is_some);
        if turn % 4 == 3 {
            let (status, _) = self.ask(&format!("DELETE /fleet/v1/units/{name}"));
            assert_eq!(status, if exists { 204 } else { 404 }, "{name}");
            self.expected.insert(name, None);
        } else {
            let (status, answer) = self.ask(&put(&name));
            assert_eq!(status, 201, "{name}: {answer}");
            let (_, read) = self.ask(&format!("GET /fleet/v1/units/{name}"));
            assert!(read.contains(&value), "a client reads what it wrote: {read}");
            self.expected.insert(name, Some((value, state)));
        }
        let (status, answer) = match turn % 2 {
            0 => self.ask(&put("contested.service")),
            _ => self.ask("DELETE /fleet/v1/units/contested.service"),
        };
        // 409: so many others changed it meanwhile that this one's turn did not come.
        assert!([201, 204, 404, 409].contains(&status), "whoever is first: {status} {answer}");
    }

    fn ask(&mut self, request: &str) -> (u16, String) {
        let begun = Instant::now();
        let answer = self.address.ask(request);
        self.took.push(begun.elapsed());
        (answer.status, answer.body)
    }
}
