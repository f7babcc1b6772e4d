//! The stream of events: in order, taken up again, and told when the past is gone.

use futures_util::StreamExt as _;
use serde_json::json;

use super::*;

/// A stream of events, as blocks.
struct Reader {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Reader {
    async fn open(api: &Api, query: &str, last: Option<&str>) -> Reader {
        let mut request = Request::builder().uri(format!("/fleet/v2/events{query}")).header("host", "x");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let service = TowerToHyperService::new(router(api.clone()));
        let response = service.call(request.body(Body::empty()).expect("a request")).await.expect("infallible");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Reader { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next block: its lines.
    async fn block(&mut self) -> Vec<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let lines = block.lines().map(str::to_owned).collect();
                self.text = rest.to_owned();
                return lines;
            }
            let piece = tokio::time::timeout(LIMIT, self.body.next()).await.expect("in time").expect("endless");
            self.text += std::str::from_utf8(&piece.expect("a piece")).expect("UTF-8");
        }
    }

    /// The next event, past comments, with its id.
    async fn event(&mut self) -> (u64, v2::Event) {
        loop {
            let block = self.block().await;
            let field = |name: &str| block.iter().find_map(|line| line.strip_prefix(name).map(str::to_owned));
            let Some(data) = field("data: ") else { continue };
            let event: v2::Event = serde_json::from_str(&data).expect("an event");
            assert_eq!(field("event: ").as_deref(), Some(event.kind.as_str()));
            return (field("id: ").expect("an id").parse().expect("a revision"), event);
        }
    }
}

async fn put(api: &Api, name: &str) -> u64 {
    let told = ask(api, &format!("PUT /units/{name}"), &[], Some(json!({"text": TEXT}))).await;
    told.body["revision"].as_u64().expect("a revision")
}

#[tokio::test]
async fn events_come_in_order_and_again() {
    let store = Arc::default();
    let (api, other) = (daemon(&store).await, daemon(&store).await);
    let mut all = Reader::open(&api, "", None).await;
    let begin = all.block().await;
    assert_eq!(begin[1], "id: 1");
    let first = put(&api, "a.service").await;
    let second = put(&api, "b.service").await;
    assert_eq!(ask(&api, "DELETE /units/a.service", &[], None).await.status, 200);
    let told = |(id, event): (u64, v2::Event)| (id, event.unit.unwrap_or_default(), event.removed, event.wanted);
    let (id, unit, removed, wanted) = told(all.event().await);
    assert_eq!((id, unit.as_str(), removed), (first, "a.service", false));
    assert_eq!(wanted.map(|wanted| (wanted.generation, wanted.desired_state)), Some((first, v2::State::Inactive)));
    assert_eq!(told(all.event().await).0, second);
    let (gone, unit, removed, wanted) = told(all.event().await);
    assert_eq!((unit.as_str(), removed, wanted), ("a.service", true, None));
    // Whoever is asked then: ids are the store's.
    other.view.reached(Revision(gone)).await;
    let mut again = Reader::open(&other, "", Some(&first.to_string())).await;
    assert_eq!(told(again.event().await).0, second);
    assert_eq!(told(again.event().await).0, gone);
    let mut filtered = Reader::open(&api, "?unit=a*&kind=unit&after=1", None).await;
    assert_eq!(told(filtered.event().await).0, first);
    assert_eq!(told(filtered.event().await).0, gone, "without b.service");
}

#[tokio::test]
async fn a_past_that_is_gone() {
    let store = Arc::default();
    let api = daemon(&store).await;
    let last = put(&api, "a.service").await;
    // A daemon that begins now knows of nothing that was before it.
    let late = daemon(&store).await;
    let mut reader = Reader::open(&late, "", Some("0")).await;
    let (id, event) = reader.event().await;
    assert_eq!((id, event.kind), (last, v2::EventKind::Reset));
    let next = put(&late, "b.service").await;
    assert_eq!(reader.event().await.0, next, "it goes on after that");
    for query in ["?kind=odd", "?unit=%5B", "?after=x", "?machine=m9", "?x=1"] {
        let status = ask(&late, &format!("GET /events{query}"), &[], None).await.status;
        assert!((400..500).contains(&status), "{query}: {status}");
    }
    assert_eq!(ask(&late, "GET /events", &[("last-event-id", "x")], None).await.kind(), "bad-request");
}

/// Time is the test's: a stream on which nothing happens tells that it is there, and how far it is.
#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_alive() {
    let api = daemon(&Arc::default()).await;
    let mut reader = Reader::open(&api, "", None).await;
    reader.block().await;
    let begun = tokio::time::Instant::now();
    assert_eq!(reader.block().await, [":", "id: 1"]);
    assert_eq!(begun.elapsed().as_secs(), v2::HEARTBEAT_S);
}
