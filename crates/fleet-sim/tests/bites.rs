//! The judge bites: each planted bug is found within a few seeds.

use fleet_sim::{Bug, Options, run};

/// Runs seeds until one shows the bug.
#[track_caller]
#[expect(clippy::print_stdout, reason = "the table in the documentation of `Bug` is made from it")]
fn check(bug: Bug, within: u64, judged: &str) {
    let shown = |seed: u64| run(seed, Options { trace: false, bug: Some(bug) }).violation.map(|how| (seed, how));
    let (seed, how) = (0..within).find_map(shown).unwrap_or_else(|| panic!("{within} seeds do not show {bug:?}"));
    println!("{bug:?}: seed {seed}: {how}");
    assert!(how.contains(judged), "{bug:?}, SEED={seed}: {how}");
}

macro_rules! bites {
    ($($test:ident: $bug:ident within $within:literal, $judged:literal;)*) => {
        $(#[test] fn $test() { check(Bug::$bug, $within, $judged); })*
    };
}

bites! {
    no_fence: NoFence within 200, "and nobody leads";
    no_guards: NoGuards within 200, "is not global";
    torn_plans: TornPlans within 20, "which its MachineOf names";
    stop_first: StopFirst within 300, "runs nowhere else";
    reports_without_lease: ReportsWithoutLease within 20, "on no lease";
    ack_first: AckFirst within 100, "users were told";
    renewal_assumed: RenewalAssumed within 20, "is not present";
    unread_is_none: UnreadIsNone within 100, "no order since revision";
    receipts_ignored: ReceiptsIgnored within 20, "no order since revision";
    adoption_restarts: AdoptionRestarts within 20, "no order since revision";
    signals_lost: SignalsLost within 100, "the store says that";
    stop_assumed: StopAssumed within 20, "nobody asked for it";
    watch_from_now: WatchFromNow within 150, "";
}
