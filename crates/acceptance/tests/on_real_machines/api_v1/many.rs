//! Many clients that change units at once: each answer is true, and none is a failure of the cluster.

use std::collections::BTreeMap;

use super::wire::Address;
use super::world;

const CLIENTS: usize = 20;

/// Requests of each.
const REQUESTS: usize = 60;

/// Units of each client's own; besides, all of them fight for one.
const UNITS: usize = 5;

/// What a client may expect of its own unit: its `ExecStart` while it exists.
type Expected = BTreeMap<String, Option<String>>;

#[test]
fn acknowledged_writes_are_there() {
    let (_world, addresses) = world("token_limit = 65535");
    let mut expected = Expected::new();
    std::thread::scope(|scope| {
        let client = |n: usize| {
            let address = &addresses[n % 2];
            scope.spawn(move || one_client(address, n))
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        for client in clients {
            expected.extend(client.join().expect("no panic"));
        }
    });
    let page: serde_json::Value = serde_json::from_str(&addresses[0].ask("GET /fleet/v1/units").body).expect("JSON");
    let units = page["units"].as_array().cloned().unwrap_or_default();
    let there: BTreeMap<&str, &str> = units
        .iter()
        .filter_map(|unit| Some((unit["name"].as_str()?, unit["options"][0]["value"].as_str()?)))
        .filter(|(name, _)| *name != "contested.service")
        .collect();
    let wanted = expected.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
    assert_eq!(there, wanted.collect());
}

/// Creates, replaces and destroys, each time another of its units, and knows what must have come of it.
fn one_client(address: &Address, n: usize) -> Expected {
    let mut expected = Expected::new();
    for turn in 0..REQUESTS {
        // Steps that have no divisor in common with the numbers of units and kinds visit all pairs.
        let name = format!("c{n}-{}.service", turn * 3 % UNITS);
        let value = format!("/bin/echo {n} {turn}");
        let body = format!(r#"{{"options":[{{"section":"Service","name":"ExecStart","value":"{value}"}}]}}"#);
        let put = |name: &str| {
            address.ask(&format!("PUT /fleet/v1/units/{name}\nContent-Type: application/json\n\n{body}")).status
        };
        let exists = expected.get(&name).is_some_and(Option::is_some);
        if turn % 4 == 3 {
            let status = address.ask(&format!("DELETE /fleet/v1/units/{name}")).status;
            assert_eq!(status, if exists { 204 } else { 404 }, "{name}");
            expected.insert(name, None);
        } else {
            assert_eq!(put(&name), 201, "{name}");
            let read = address.ask(&format!("GET /fleet/v1/units/{name}")).body;
            assert!(read.contains(&value), "a client reads what it wrote: {read}");
            expected.insert(name, Some(value.clone()));
        }
        let status = match turn % 2 {
            0 => put("contested.service"),
            _ => address.ask("DELETE /fleet/v1/units/contested.service").status,
        };
        assert!([201, 204, 404].contains(&status), "whoever is first: {status}");
    }
    expected
}
