//! Filters, fields, pages and counts.

use serde_json::json;

use super::plan::announce;
use super::*;

/// One key of each entry.
async fn listed(api: &Api, path: &str) -> String {
    let told = ask(api, &format!("GET {path}"), &[], None).await;
    assert_eq!(told.status, 200, "{path}: {}", told.body);
    let lists = ["units", "machines", "states"].iter().filter_map(|list| told.body[list].as_array());
    let entries =
        lists.flatten().map(|entry| entry["name"].as_str().or(entry["id"].as_str()).unwrap_or("?").to_owned());
    let next = told.body["next"].as_str().map(|next| format!("...{next}"));
    entries.chain(next).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn lists() {
    let store = Arc::default();
    let api = daemon(&store).await;
    announce(&store, "m1", &[("disk", "ssd"), ("zone", "a")]).await;
    api.view.reached(announce(&store, "m2", &[("disk", "ssd")]).await).await;
    for (name, state) in [("a1", "inactive"), ("a2", "launched"), ("b1", "launched"), ("c1", "loaded")] {
        let put = json!({"text": TEXT, "desired_state": state});
        assert_eq!(ask(&api, &format!("PUT /units/{name}.service"), &[], Some(put)).await.status, 201);
    }
    assert_eq!(ask(&api, "POST /machines/m2/cordon", &[], None).await.status, 200);
    for (path, expected) in [
        ("/units", "a1.service a2.service b1.service c1.service"),
        ("/units?name=a*&name=c1.service", "a1.service a2.service c1.service"),
        ("/units?desired_state=launched&desired_state=loaded", "a2.service b1.service c1.service"),
        ("/units?desired_state=launched&name=a*", "a2.service"),
        ("/units?current_state=launched", ""),
        ("/units?waiting=false", "a1.service"),
        ("/units?machine=m1", ""),
        ("/units?active=active", ""),
        ("/units?limit=2", "a1.service a2.service ...a2.service"),
        ("/units?limit=2&after=a2.service", "b1.service c1.service"),
        ("/machines?metadata=disk%3Dssd", "m1 m2"),
        ("/machines?metadata=disk%3Dssd&metadata=zone%3Da", "m1"),
        ("/machines?state=cordoned", "m2"),
        ("/machines?state=lost&state=given-up", ""),
        ("/machines?limit=1", "m1 ...m1"),
        ("/states", ""),
    ] {
        assert_eq!(listed(&api, path).await, expected, "{path}");
    }
    let told = ask(&api, "GET /units?fields=name,%20desired_state&fields=generation&limit=1", &[], None).await;
    let unit = told.body["units"][0].as_object().expect("a unit").keys().cloned().collect::<Vec<_>>();
    assert_eq!(unit, ["desired_state", "generation", "name"]);
    for (path, name) in [
        ("/units?fields=nam", "fields"),
        // Nothing is no field: a list of all is asked for without it.
        ("/units?fields=", "fields"),
        ("/units?limit=0", "limit"),
        ("/units?limit=x", "limit"),
        ("/units?desired_state=up", "desired_state"),
        ("/units?waiting=perhaps", "waiting"),
        ("/machines?metadata=disk", "metadata"),
        ("/machines?state=odd", "state"),
        ("/machines?name=m1", "name"),
        ("/states?after=a&after=b", "after"),
    ] {
        let told = ask(&api, &format!("GET {path}"), &[], None).await;
        assert_eq!((told.status, told.body["name"].as_str()), (400, Some(name)), "{path}: {}", told.body);
    }
    let counts = ask(&api, "GET /counts", &[], None).await;
    let counts: v2::Counts = serde_json::from_value(counts.body).expect("counts");
    let units =
        v2::UnitCounts { total: 4, inactive: 1, loaded: 1, launched: 2, waiting: 3, ..v2::UnitCounts::default() };
    let machines = v2::MachineCounts { total: 2, present: 2, cordoned: 1, ..v2::MachineCounts::default() };
    assert_eq!((counts.units, counts.machines), (units, machines));
}
