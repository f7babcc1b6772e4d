//! What users are told by a daemon whose picture is behind what they were told by another one: as the store is, not as the
//! picture is. An answer from the picture (it is so already, there is no such unit) would undo in silence what was acknowledged.

use fleet_store::Batch;
use serde_json::json;
use tokio::sync::watch;

use super::*;

/// A store that shows its daemon nothing new before it is asked to commit something.
struct Behind {
    store: Arc<Lossy>,
    asked: watch::Sender<bool>,
}

#[async_trait]
impl Store for Behind {
    async fn read(&self, keys: &Keys) -> Result<Snapshot, StoreError> {
        self.store.read(keys).await
    }

    async fn commit(&self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        self.asked.send_replace(true);
        self.store.commit(txn).await
    }

    async fn watch(&self, keys: &Keys, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(Late { inner: self.store.watch(keys, from).await?, asked: self.asked.subscribe() }))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.store.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.revoke(lease).await
    }
}

struct Late {
    inner: Box<dyn Watch>,
    asked: watch::Receiver<bool>,
}

#[async_trait]
impl Watch for Late {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        self.asked.wait_for(|asked| *asked).await.expect("the store lives as long as its daemon");
        self.inner.next().await
    }
}

/// A daemon that knows the store as it is now, and nothing of what others write from now on before it asks for a write itself.
async fn behind(store: &Arc<Lossy>) -> Api {
    let store: Arc<dyn Store> = Arc::new(Behind { store: Arc::clone(store), asked: watch::Sender::new(false) });
    let view = SharedView::new();
    tokio::spawn(view.clone().follow(Arc::clone(&store), LIMIT));
    view.reached(Revision(0)).await;
    Api::new(store, view, BTreeMap::new())
}

async fn done(api: &Api, (what, body): &(&str, Value)) -> Told {
    ask(api, what, &[], Some(body.clone()).filter(|body| !body.is_null())).await
}

/// Units are made as `given`; then a daemon starts that sees no more, and another one acknowledges `first`. What the former says to
/// `then`, and what the unit is afterwards: its desired state, or that it is gone.
#[track_caller]
fn check(given: &[(&str, Value)], first: (&str, Value), then: (&str, Value), expected: (u16, &str), unit: &str) {
    let told = async {
        let store = Arc::<Lossy>::default();
        let one = daemon(&store).await;
        for change in given {
            assert!(done(&one, change).await.status < 300, "{change:?}");
        }
        let other = behind(&store).await;
        assert!(done(&one, &first).await.status < 300, "{first:?}");
        let told = done(&other, &then).await;
        let outcome = told.body["result"]["outcome"].as_str().map_or_else(|| told.kind(), str::to_owned);
        // The other one may be behind by now.
        let revision = other.view.read().revision();
        one.view.reached(revision).await;
        let shown = ask(&one, &format!("GET /units/{unit}"), &[], None).await;
        let is = shown.body["desired_state"].as_str().map_or_else(|| shown.kind(), str::to_owned);
        (told.status, format!("{outcome}, then {is}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (status, told) = runtime.block_on(async { tokio::time::timeout(LIMIT, told).await.expect("in time") });
    assert_eq!((status, told.as_str()), expected, "{first:?}, then {then:?}");
}

fn is(state: &str) -> Value {
    json!({"desired_state": state})
}

fn new(text: &str, state: &str) -> Value {
    json!({"text": text, "desired_state": state})
}

#[test]
fn what_was_acknowledged_elsewhere_is_not_undone_in_silence() {
    let unit = "a.service";
    let [put, patch, delete] = ["PUT", "PATCH", "DELETE"].map(|method| format!("{method} /units/{unit}"));
    let inactive = [(put.as_str(), new(TEXT, "inactive"))];
    let launched = [(put.as_str(), new(TEXT, "launched"))];
    let another = json!({"text": "[Service]\nExecStart=/bin/false\n", "replace": true});
    // Its picture says that it is so already.
    check(&inactive, (&patch, is("launched")), (&patch, is("inactive")), (200, "changed, then inactive"), unit);
    check(&inactive, (&patch, is("loaded")), (&put, new(TEXT, "inactive")), (200, "changed, then inactive"), unit);
    check(&inactive, (&delete, Value::Null), (&put, json!({"text": TEXT})), (201, "created, then inactive"), unit);
    check(&launched, (&patch, is("loaded")), (&patch, is("launched")), (200, "changed, then launched"), unit);
    // Its picture has no such unit, or one with another file.
    check(&[], (&put, new(TEXT, "launched")), (&delete, Value::Null), (200, "destroyed, then unknown-unit"), unit);
    check(&[], (&put, new(TEXT, "launched")), (&patch, is("inactive")), (200, "changed, then inactive"), unit);
    check(&inactive, (&put, another.clone()), (&put, another), (200, "unchanged, then inactive"), unit);
    // It is as the picture has it.
    let elsewhere = ("PUT /units/b.service", new(TEXT, "launched"));
    check(&inactive, elsewhere.clone(), (&patch, is("inactive")), (200, "unchanged, then inactive"), unit);
    check(&[], elsewhere, (&delete, Value::Null), (404, "unknown-unit, then unknown-unit"), unit);
}

/// Clients of API v1 say again and again what they want, and are told that it is so.
#[tokio::test]
async fn the_same_by_the_first_api() {
    let store = Arc::<Lossy>::default();
    let one = daemon(&store).await;
    assert_eq!(done(&one, &("PUT /units/a.service", new(TEXT, "launched"))).await.status, 201);
    let other = behind(&store).await;
    assert_eq!(done(&one, &("PATCH /units/a.service", is("loaded"))).await.status, 200);
    let start = Request::put(format!("{}/units/a.service", fleet_api::v1::PREFIX)).header("host", "x");
    let start = start.header("content-type", "application/json").body(Body::from(r#"{"desiredState":"launched"}"#));
    assert_eq!(raw(&other, start.expect("a request")).await.status, 204);
    // The other one's picture would say so whatever was written.
    let revision = other.view.read().revision();
    one.view.reached(revision).await;
    let shown = ask(&one, "GET /units/a.service", &[], None).await;
    assert_eq!(shown.body["desired_state"], "launched");
}

/// An instance has the file that its template has when it is made.
#[tokio::test]
async fn an_instance_of_a_template_that_was_changed_elsewhere() {
    let template = "/units/a@.service";
    let make = ("POST /changes", json!({"changes": [{"name": "a@1.service", "from_template": true}]}));
    let put = |text: &str| (format!("PUT {template}"), json!({"text": text, "replace": true}));
    let outcome = |told: &Told| told.body["results"][0]["outcome"].as_str().map(str::to_owned);
    for (before, after) in [(None, TEXT), (Some(TEXT), "[Service]\nExecStart=/bin/false\n")] {
        let store = Arc::<Lossy>::default();
        let one = daemon(&store).await;
        if let Some(text) = before {
            let (what, body) = put(text);
            assert_eq!(done(&one, &(&what, body)).await.status, 201);
        }
        let other = behind(&store).await;
        let (what, body) = put(after);
        assert!(done(&one, &(&what, body)).await.status < 300);
        assert_eq!(outcome(&done(&other, &make).await).as_deref(), Some("created"));
        let shown = ask(&other, "GET /units/a@1.service/file", &[], None).await;
        assert_eq!(shown.body["text"], after);
    }
    let store = Arc::<Lossy>::default();
    let one = daemon(&store).await;
    let (what, body) = put(TEXT);
    assert_eq!(done(&one, &(&what, body)).await.status, 201);
    let other = behind(&store).await;
    assert_eq!(ask(&one, &format!("DELETE {template}"), &[], None).await.status, 200);
    assert_eq!(outcome(&done(&other, &make).await).as_deref(), Some("refused"));
}
