//! What is to be done next for one unit: the order, what is on the machine, and nothing else.

use super::local::{Local, Retry};
use super::{Receipt, Verb};
use crate::model::{Generation, Placement, TargetState, Timestamp};

/// The next thing to do for one unit.
#[derive(Debug)]
pub(super) enum Step {
    /// All is as it should be, or something is under way, or a pause is not over.
    Rest,
    /// Nothing of it is left here.
    Forget,
    /// Write its file.
    Write(Placement),
    /// Only note that the order is fulfilled.
    WriteReceipt(Receipt),
    /// Queue a job for this order.
    Run(Verb, Option<Placement>),
    /// Remove its file.
    Remove,
}

/// Decides the next step. Total, and at rest once the order is fulfilled.
pub(super) fn next(order: Option<&Placement>, local: &Local, now: Timestamp) -> Step {
    if local.busy.is_some() {
        return Step::Rest;
    }
    if let Some(trouble) = &local.trouble {
        let again = match trouble.retry {
            Retry::At(at) => at <= now,
            Retry::OnChange => false,
        };
        if trouble.order.as_ref() == order && !again {
            return Step::Rest;
        }
    }
    let Some(order) = order else { return leave(local) };
    if order.is_stop() && local.is_live() {
        return stop_what_leaves(local, Some(order));
    }
    if let Some(receipt) = local.receipt.as_ref().filter(|_| local.on_disk && local.receipt_unsaved) {
        return Step::WriteReceipt(receipt.clone());
    }
    if order.is_leaving() {
        return keep_running(local);
    }
    let receipt = match &local.receipt {
        Some(receipt) if local.on_disk && receipt.hash == order.hash => receipt,
        // Another file, or none, or nobody knows which: stop what runs by its old file, then write.
        _ if local.on_disk && local.is_live() => return Step::Run(Verb::Stop, None),
        _ => return Step::Write(order.clone()),
    };
    let generation_is_done = order.generation <= receipt.generation;
    match order.target {
        TargetState::Inactive => leave(local),
        // A unit that is to be loaded only may well run, when another unit pulled it in: it is stopped once, when the
        // order comes, and then left alone.
        TargetState::Loaded if generation_is_done && receipt.reached == TargetState::Loaded => Step::Rest,
        TargetState::Loaded if local.is_live() => Step::Run(Verb::Stop, Some(order.clone())),
        TargetState::Loaded => Step::WriteReceipt(Receipt::complete(order)),
        TargetState::Launched if receipt.reached != TargetState::Launched => {
            Step::Run(Verb::Start, Some(order.clone()))
        }
        TargetState::Launched if receipt.restarts < order.restarts => Step::Run(Verb::Restart, Some(order.clone())),
        TargetState::Launched if !generation_is_done => Step::Run(Verb::Start, Some(order.clone())),
        TargetState::Launched => Step::Rest,
    }
}

/// The unit leaves: what runs of it goes on, and nothing is started. Its file may be any that it had, and is not fetched.
///
/// What does not run any more is noted as never started, so that it is, should this machine get it back.
fn keep_running(local: &Local) -> Step {
    match never_started(local) {
        Some(receipt) if !local.is_live() => Step::WriteReceipt(receipt),
        Some(_) | None => Step::Rest,
    }
}

/// Stops what may come back by the very order that was carried out before. So it is noted as never started first: whatever
/// becomes of this fleetd meanwhile, it is then started again. If that cannot be noted it is stopped all the same.
fn stop_what_leaves(local: &Local, order: Option<&Placement>) -> Step {
    let cannot_be_noted = local.trouble.as_ref().is_some_and(|trouble| trouble.order.as_ref() == order);
    let unsaved = local.receipt.clone().filter(|_| local.on_disk && local.receipt_unsaved);
    match never_started(local).or(unsaved) {
        Some(receipt) if !cannot_be_noted => Step::WriteReceipt(receipt),
        Some(_) | None => Step::Run(Verb::Stop, order.cloned()),
    }
}

/// What to note so that the unit counts as never started; `None` if it does already.
fn never_started(local: &Local) -> Option<Receipt> {
    let receipt = local.receipt.as_ref().filter(|_| local.on_disk)?;
    let was_started = receipt.reached == TargetState::Launched;
    was_started.then(|| Receipt { generation: Generation(0), reached: TargetState::Loaded, ..receipt.clone() })
}

/// Nothing is wanted here: stop, then remove, then forget.
fn leave(local: &Local) -> Step {
    match (local.on_disk, local.is_live()) {
        (true, true) => stop_what_leaves(local, None),
        (true, false) => Step::Remove,
        // Without a file of ours it is none of our business.
        (false, _) => Step::Forget,
    }
}

/// What is true once the file of `order` is written and nothing more: a stopped unit that is to be loaded is complete, one
/// that is to be launched has still to be started.
pub(super) fn receipt_of_write(order: &Placement) -> Receipt {
    let generation = match order.target {
        TargetState::Loaded | TargetState::Inactive => order.generation,
        TargetState::Launched => Generation(0),
    };
    Receipt { hash: order.hash, generation, restarts: order.restarts, reached: TargetState::Loaded, guard: None }
}
