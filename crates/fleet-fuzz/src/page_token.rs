//! Page tokens: the input is a query string, asked of the three lists of API v1.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use fleet_api::{v1, v2};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::rig::{Rig, runtime};

/// More units than two pages have, so that there is a first page, one in the middle and a last one.
const UNITS: usize = 205;

/// Entries on a page when nothing is configured.
const PAGE: usize = 100;

thread_local! {
    /// Made once, because an input only reads.
    static FILLED: (Runtime, Rig) = {
        let runtime = runtime();
        let rig = runtime.block_on(filled());
        (runtime, rig)
    };
}

pub fn run(input: &[u8]) {
    let Ok(query) = str::from_utf8(input) else { return };
    FILLED.with(|(runtime, rig)| {
        runtime.block_on(async {
            for list in ["units", "state", "machines"] {
                let Some((status, page)) = ask(rig, list, query).await else { return };
                match status {
                    StatusCode::OK => follow(rig, list, &page).await,
                    StatusCode::BAD_REQUEST => assert!(page["error"]["message"].is_string(), "{query}: {page}"),
                    status => panic!("{list}?{query}: {status}"),
                }
            }
        });
    });
}

async fn filled() -> Rig {
    let rig = Rig::start().await;
    let change = |n| v2::Change {
        name: format!("u{n:03}.service"),
        text: Some("[Service]\nExecStart=/bin/true\n".to_owned()),
        ..v2::Change::default()
    };
    rig.change(v2::ChangeRequest { changes: (0..UNITS).map(change).collect() }).await;
    rig
}

/// From any page on the tokens lead to the end of the list, over every entry in between, each once and in order.
async fn follow(rig: &Rig, list: &str, page: &Value) {
    let mut page = page.clone();
    let mut last = None;
    loop {
        let names = names(&page);
        assert!(names.len() <= PAGE, "{} entries on a page", names.len());
        for name in names {
            assert!(last.as_ref().is_none_or(|last| *last < name), "{name} comes after {last:?}");
            last = Some(name);
        }
        let Some(token) = page["nextPageToken"].as_str() else { break };
        let next = ask(rig, list, &format!("nextPageToken={token}")).await;
        let (status, next) = next.expect("a token of fleet's own is a query");
        assert_eq!(status, StatusCode::OK, "{token}");
        page = next;
    }
    if list == "units"
        && let Some(last) = last
    {
        assert_eq!(last, format!("u{:03}.service", UNITS - 1), "the tokens lead to the end");
    }
}

fn names(page: &Value) -> Vec<String> {
    let units = page["units"].as_array().into_iter().flatten();
    units.map(|unit| unit["name"].as_str().expect("units have names").to_owned()).collect()
}

/// Nothing if the query cannot be one.
async fn ask(rig: &Rig, list: &str, query: &str) -> Option<(StatusCode, Value)> {
    let request = Request::builder().uri(format!("{}/{list}?{query}", v1::PREFIX)).header(header::HOST, "fleet");
    let answer = rig.ask(request.body(Body::empty()).ok()?).await;
    Some((answer.status, serde_json::from_slice(&answer.body).expect("a page and an error are JSON")))
}
