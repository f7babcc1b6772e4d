//! One suite for both unit managers: each scenario runs against the fake and against a real user manager of systemd.

mod real;
mod scenarios;
mod world;

macro_rules! suite {
    ($($scenario:ident,)*) => {
        mod on_systemd {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    crate::scenarios::$scenario(&crate::real::Real::start()).await;
                }
            )*
        }
    };
}

suite! {
    new_file_starts_without_a_reload,
    a_hundred_units_in_one_batch,
    restart_runs_the_changed_file,
    failed_unit_runs_the_changed_file,
    slow_stop_then_written_anew_runs_the_new,
    removed_unit_does_not_come_back,
    dependency_may_be_written_later,
    job_of_a_oneshot_ends_with_its_process,
    job_results_are_systemds_own,
    two_who_want_the_same_job_both_hear_of_its_end,
    bound_pair_lives_and_dies_together,
    no_such_unit_is_a_refusal,
    template_is_refused,
    bad_file_hurts_nobody_else,
    running_units_file_is_not_removed,
    removing_forgets_a_failure,
    death_of_a_process_is_an_event,
    hanging_stop_holds_up_nobody_else,
    another_manager_adopts_what_runs,
    receipt_needs_a_file,
    reload_by_hand_loses_nothing,
    power_loss_is_told_and_survived,
    untaken_events_are_merged_and_the_last_state_is_kept,
}
