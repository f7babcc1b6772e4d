//! The judge bites: each planted bug is found within a few seeds.

use std::ops::Range;

use fleet_sim::{Bug, Options, run};

/// Runs seeds until one shows the bug in the way in which it is known to hurt; other seeds may show it in another way before. Not
/// from 0 on where the first that shows it is known: it takes long to get there.
#[track_caller]
#[expect(clippy::print_stdout, reason = "the table in the documentation of `Bug` is made from it")]
fn check(bug: Bug, seeds: Range<u64>, judged: &str) {
    let shown = |seed: u64| {
        let how = run(seed, Options { trace: false, bug: Some(bug) }).violation?;
        how.contains(judged).then_some((seed, how))
    };
    let (seed, how) = seeds.clone().find_map(shown).unwrap_or_else(|| panic!("seeds {seeds:?} do not show {bug:?}"));
    println!("{bug:?}: seed {seed}: {how}");
}

macro_rules! bites {
    ($($test:ident: $bug:ident in $seeds:expr, $judged:literal;)*) => {
        $(#[test] fn $test() { check(Bug::$bug, $seeds, $judged); })*
    };
}

bites! {
    no_fence: NoFence in 400..2000, "and nobody leads";
    torn_plans: TornPlans in 0..20, "which its MachineOf names";
    stop_first: StopFirst in 60..300, "runs nowhere else";
    reports_without_lease: ReportsWithoutLease in 0..20, "on no lease";
    ack_first: AckFirst in 0..300, "users were told";
    renewal_assumed: RenewalAssumed in 0..20, "is not present";
    unread_is_none: UnreadIsNone in 0..100, "no order since revision";
    receipts_ignored: ReceiptsIgnored in 0..20, "no order since revision";
    adoption_restarts: AdoptionRestarts in 0..20, "no order since revision";
    signals_lost: SignalsLost in 0..300, "no rest";
    stop_assumed: StopAssumed in 0..20, "nobody asked for it";
    watch_from_now: WatchFromNow in 30..400, "no rest";
    leaves_in_haste: LeavesInHaste in 0..400, "could take it";
    withdraws_first: WithdrawsFirst in 0..400, "withdraws the record";
    leaves_orders: LeavesOrders in 0..200, "orders stay";
    no_brake: NoBrake in 30..400, "are lost at once";
    brake_unseen: BrakeUnseen in 300..1000, "the brake is on, and waits for it";
    metadata_unseen: MetadataUnseen in 0..400, "which has no ssd";
    replaced_stays: ReplacedStays in 0..400, "which replaces";
    checks_assumed: ChecksAssumed in 60..400, "was said";
}
