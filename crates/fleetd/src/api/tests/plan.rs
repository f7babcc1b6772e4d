//! Why, and what if: nothing is written by asking.

use fleet_store::registry::{MachineRecord, ops};
use serde_json::json;

use super::*;

/// A machine that is there.
pub async fn announce(store: &Arc<Lossy>, id: &str, metadata: &[(&str, &str)]) -> Revision {
    let lease = store.grant(Duration::from_secs(600)).await.expect("a lease");
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let record = MachineRecord { metadata, version: "1".to_owned(), ..MachineRecord::default() };
    let id = id.parse().expect("a machine ID");
    let txn = ops::announce(&id, &record, lease, None).expect("a transaction");
    match store.commit(&txn).await.expect("the store is there") {
        TxnOutcome::Committed(revision) => revision,
        TxnOutcome::Conflict(revision) => panic!("it was there at {revision:?}"),
    }
}

#[tokio::test]
async fn what_would_become_of_it() {
    let store = Arc::default();
    let api = daemon(&store).await;
    announce(&store, "m1", &[("disk", "ssd")]).await;
    api.view.reached(announce(&store, "m2", &[]).await).await;
    let text = |more: &str| format!("{TEXT}[X-Fleet]\n{more}\n");
    let wants_ssd = json!({"name": "a.service", "text": text("MachineMetadata=disk=ssd"), "desired_state": "launched"});
    let wants_tape =
        json!({"name": "b.service", "text": text("MachineMetadata=disk=tape"), "desired_state": "launched"});
    let broken = json!({"name": "c.service", "text": "[Service"});
    let before = api.view.read().revision();
    let asked = json!({"changes": [wants_ssd, wants_tape, broken], "cordon": ["m2"]});
    let told = ask(&api, "POST /plan", &[], Some(asked)).await;
    assert_eq!(told.status, 200, "{}", told.body);
    let plan: v2::PlanResponse = serde_json::from_value(told.body).expect("a plan");
    let outcomes: Vec<v2::Outcome> = plan.results.iter().map(|result| result.outcome).collect();
    assert_eq!(outcomes, [v2::Outcome::Created, v2::Outcome::Created, v2::Outcome::Refused]);
    let fate =
        |unit: &v2::PlannedUnit| format!("{} {:?} {}>{}", unit.name, unit.fate, unit.from.join(","), unit.to.join(","));
    let fates: Vec<String> = plan.units.iter().map(fate).collect();
    assert_eq!(fates, ["a.service Placed >m1", "b.service Waits >"]);
    let waiting = plan.units[1].waiting.as_ref().expect("a reason");
    assert_eq!(waiting.refusals[0].constraint, "MachineMetadata=disk=tape");
    assert!(plan.rests);
    // It was only a thought.
    assert_eq!(store.read(&Keys::Prefix(String::new())).await.expect("it reads").revision, before);
    assert_eq!(ask(&api, "GET /units/a.service", &[], None).await.kind(), "unknown-unit");
    assert_eq!(ask(&api, "POST /plan", &[], Some(json!({"drain": ["m9"]}))).await.kind(), "unknown-machine");
    assert_eq!(ask(&api, "POST /plan", &[], Some(json!({"give_up": ["m1"]}))).await.kind(), "machine-present");
}

#[tokio::test]
async fn why_a_unit_waits() {
    let store = Arc::default();
    let api = daemon(&store).await;
    announce(&store, "m1", &[]).await;
    api.view.reached(announce(&store, "m2", &[("disk", "ssd")]).await).await;
    let text = format!("{TEXT}[X-Fleet]\nMachineMetadata=disk=ssd\n");
    let put = json!({"text": text, "desired_state": "launched"});
    assert_eq!(ask(&api, "PUT /units/a.service", &[], Some(put)).await.status, 201);
    assert_eq!(ask(&api, "POST /machines/m2/cordon", &[], None).await.status, 200);
    let told = ask(&api, "GET /units/a.service/explanation", &[], None).await;
    let why: v2::Explanation = serde_json::from_value(told.body).expect("an explanation");
    assert_eq!((why.situation, why.on.len()), (v2::Situation::Waiting, 0));
    let machine = |answer: &v2::MachineAnswer| {
        let refusals: Vec<&str> = answer.refusals.iter().map(|refusal| refusal.text.as_str()).collect();
        format!("{} {}", answer.machine, refusals.join("; "))
    };
    let machines: Vec<String> = why.machines.iter().map(machine).collect();
    assert_eq!(machines, ["m1 lacks disk=ssd (has no disk)", "m2 is cordoned"]);
    assert_eq!(ask(&api, "GET /units/b.service/explanation", &[], None).await.kind(), "unknown-unit");
}
