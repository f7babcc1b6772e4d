//! Only if it is as it was seen, and only once: also by another daemon, whose picture may be behind.

use serde_json::json;

use super::*;

fn put(text: &str) -> Option<Value> {
    Some(json!({"text": text, "desired_state": "launched"}))
}

#[tokio::test]
async fn if_match() {
    let store = Arc::default();
    let (one, other) = (daemon(&store).await, daemon(&store).await);
    let absent = [("if-none-match", "*")];
    let created = ask(&one, "PUT /units/a.service", &absent, put(TEXT)).await;
    assert_eq!(created.status, 201);
    let first = created.header("etag").to_owned();
    assert_eq!(format!("\"{}\"", created.body["result"]["generation"]), first);
    // The other daemon is asked at once: what its picture shows does not matter.
    let again = ask(&other, "PUT /units/a.service", &absent, put(TEXT)).await;
    assert_eq!(again.kind(), "precondition-failed");
    let changed =
        ask(&other, "PATCH /units/a.service", &[("if-match", &first)], Some(json!({"desired_state": "loaded"}))).await;
    assert_eq!(changed.status, 200);
    let second = changed.header("etag").to_owned();
    assert_ne!(first, second);
    let late = ask(&one, "DELETE /units/a.service", &[("if-match", &first)], None).await;
    assert_eq!((late.status, late.kind().as_str()), (412, "precondition-failed"));
    let shown = ask(&one, "GET /units/a.service", &[], None).await;
    assert_eq!(shown.header("etag"), second);
    let either = format!("{first}, {second}");
    assert_eq!(ask(&one, "DELETE /units/a.service", &[("if-match", &either)], None).await.status, 200);
    // It is not there any more, which the condition says before all else.
    let gone = ask(&other, "DELETE /units/a.service", &[("if-match", "*")], None).await;
    assert_eq!(gone.kind(), "precondition-failed");
    let anew = ask(&other, "PUT /units/a.service", &absent, put(TEXT)).await;
    assert_eq!(anew.status, 201);
    let old = ask(&one, "DELETE /units/a.service", &[("if-match", &second)], None).await;
    assert_eq!(old.kind(), "precondition-failed", "another unit of that name");
}

#[tokio::test]
async fn generations_in_a_request_of_many() {
    let store = Arc::default();
    let (one, other) = (daemon(&store).await, daemon(&store).await);
    let change =
        |name: &str, generation: u64| json!({"name": name, "text": TEXT, "replace": true, "generation": generation});
    let changes = json!({"changes": [change("a.service", 0), change("b.service", 3)]});
    let told = ask(&one, "POST /changes", &[], Some(changes)).await;
    let outcomes = |told: &Told| {
        let results = told.body["results"].as_array().expect("results").clone();
        results.iter().map(|result| result["outcome"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&told), ["created", "refused"]);
    assert_eq!(told.body["results"][1]["problem"]["status"], 412);
    let told = ask(&other, "POST /changes", &[], Some(json!({"changes": [change("a.service", 0)]}))).await;
    assert_eq!(outcomes(&told), ["refused"]);
}

#[tokio::test]
async fn machines_as_they_were_seen() {
    let store = Arc::default();
    let (one, other) = (daemon(&store).await, daemon(&store).await);
    // v1 may speak of machines that are not there yet.
    let record = fleet_store::registry::CordonRecord { since: fleet_core::model::Timestamp(7) };
    let id = "m1".parse().expect("an ID");
    let outcome = store.commit(&fleet_store::registry::ops::cordon(&id, &record)).await.expect("it works");
    let TxnOutcome::Committed(revision) = outcome else { panic!("nothing guards it") };
    for api in [&one, &other] {
        api.view.reached(revision).await;
    }
    let first = ask(&one, "GET /machines/m1", &[], None).await.header("etag").to_owned();
    assert_eq!(first, format!("\"{}\"", revision.0));
    let patch = || Some(json!({"set": {"disk": "ssd"}}));
    let told = ask(&one, "PATCH /machines/m1/metadata", &[("if-match", &first)], patch()).await;
    assert_eq!(told.status, 200);
    for (what, body) in [("PATCH /machines/m1/metadata", patch()), ("POST /machines/m1/uncordon", None)] {
        let late = ask(&other, what, &[("if-match", &first)], body).await;
        assert_eq!(late.kind(), "precondition-failed", "{what}");
    }
    let now = ask(&one, "GET /machines/m1", &[], None).await;
    assert_eq!((now.body["metadata"]["disk"].as_str(), now.body["cordoned"].as_bool()), (Some("ssd"), Some(true)));
}

/// The answer got lost; the client asks another daemon, and nothing happens twice.
#[tokio::test]
async fn a_request_that_comes_again() {
    let store = Arc::<Lossy>::default();
    let (one, other) = (daemon(&store).await, daemon(&store).await);
    assert_eq!(ask(&one, "PUT /units/a.service", &[], put(TEXT)).await.status, 201);
    let key = [("idempotency-key", "restart-7")];
    let restart =
        || Some(json!({"changes": [{"name": "a.service", "restart": true}, {"name": "no.service", "restart": true}]}));
    store.loses.store(true, Ordering::SeqCst);
    let lost = ask(&one, "POST /changes", &key, restart()).await;
    assert_eq!(lost.kind(), "store-unavailable");
    let told = ask(&other, "POST /changes", &key, restart()).await;
    assert_eq!((told.status, told.body["results"][0]["restarts"].as_u64()), (200, Some(1)));
    // The answer is the same for as long as it is kept, whatever happens meanwhile.
    assert_eq!(ask(&other, "PUT /units/no.service", &[], put(TEXT)).await.status, 201);
    let again = ask(&one, "POST /changes", &key, restart()).await;
    assert_eq!(again.body["results"], told.body["results"]);
    assert_eq!(again.body["results"][1]["outcome"], "refused");
    let shown = ask(&other, "GET /units/a.service", &[], None).await;
    assert_eq!(shown.body["restarts"], 1);
    // The same word for something else is a mistake, on whatever path.
    let changed = json!({"changes": [{"name": "a.service", "destroy": true}]});
    assert_eq!(ask(&one, "POST /changes", &key, Some(changed)).await.kind(), "key-reused");
    let elsewhere = ask(&other, "DELETE /units/a.service", &key, None).await;
    assert_eq!((elsewhere.status, elsewhere.kind().as_str()), (422, "key-reused"));
}

#[tokio::test]
async fn single_writes_that_come_again() {
    let store = Arc::<Lossy>::default();
    let (one, other) = (daemon(&store).await, daemon(&store).await);
    let key = [("idempotency-key", "k1")];
    store.loses.store(true, Ordering::SeqCst);
    assert_eq!(ask(&one, "PUT /units/a.service", &key, put(TEXT)).await.kind(), "store-unavailable");
    let told = ask(&other, "PUT /units/a.service", &key, put(TEXT)).await;
    assert_eq!(told.status, 201, "it is told what the first one did");
    assert_eq!(ask(&other, "DELETE /units/a.service", &[("idempotency-key", "k2")], None).await.status, 200);
    assert_eq!(ask(&one, "DELETE /units/a.service", &[("idempotency-key", "k2")], None).await.status, 200);
    assert_eq!(ask(&one, "PUT /units/a.service", &key, put(TEXT)).await.body, told.body);
    assert_eq!(ask(&one, "GET /units/a.service", &[], None).await.kind(), "unknown-unit", "it is not made again");
    for bad in ["", "  ", &"x".repeat(256)] {
        let refused = ask(&one, "DELETE /units/a.service", &[("idempotency-key", bad)], None).await;
        assert_eq!((refused.status, refused.body["name"].as_str()), (400, Some("Idempotency-Key")));
    }
}

/// More than one transaction holds: each piece is kept with its effects, and what is missing is done.
#[tokio::test]
async fn many_changes_that_come_again() {
    let store = Arc::<Lossy>::default();
    let (one, other) = (daemon(&store).await, daemon(&store).await);
    let changes = (0..300).map(|number| json!({"name": format!("u{number}.service"), "text": TEXT}));
    let changes = json!({"changes": changes.collect::<Vec<_>>()});
    let key = [("idempotency-key", "many")];
    store.loses.store(true, Ordering::SeqCst);
    let lost = ask(&one, "POST /changes", &key, Some(changes.clone())).await;
    assert_eq!(lost.kind(), "store-unavailable");
    let told = ask(&other, "POST /changes", &key, Some(changes.clone())).await;
    let results: Vec<v2::ChangeResult> = serde_json::from_value(told.body["results"].clone()).expect("results");
    assert_eq!(results.len(), 300);
    assert!(results.iter().all(|result| result.outcome == v2::Outcome::Created && 0 < result.generation));
    let again = ask(&one, "POST /changes", &key, Some(changes)).await;
    assert_eq!(again.body["results"], told.body["results"]);
    let list = ask(&one, "GET /units?name=u7.service", &[], None).await;
    assert_eq!(list.body["units"][0]["generation"], results[7].generation);
}
