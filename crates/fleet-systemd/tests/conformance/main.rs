//! One suite for both unit managers: each scenario runs against the fake and against a real user manager of systemd.

mod commands;
mod fake;
mod real;
mod scenarios;
mod world;

/// Makes a module of tests: each scenario on a world of its own.
macro_rules! suite {
    ($module:ident, #[$test:meta], $world:expr, [$($scenario:ident,)*]) => {
        mod $module {
            $(
                #[$test]
                async fn $scenario() {
                    crate::scenarios::$scenario(&$world).await;
                }
            )*
        }
    };
}

macro_rules! on_both {
    ($($scenario:ident,)*) => {
        suite!(
            on_systemd,
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
            crate::real::Real::start(false),
            [$($scenario,)*]
        );
        suite!(
            on_the_fake,
            #[tokio::test(start_paused = true)],
            fleet_systemd::fake::FakeMachine::on_tokio_time(),
            [$($scenario,)*]
        );
    };
}

// The bus has other ways to get signals and to lose systemd; the rest is the same code.
suite!(
    on_systemd_over_a_bus,
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
    crate::real::Real::start(true),
    [
        a_hundred_units_in_one_batch,
        job_results_are_systemds_own,
        death_of_a_process_is_an_event,
        reload_by_hand_loses_nothing,
        power_loss_is_told_and_survived,
        systemd_that_executes_itself_anew_is_found_again,
        command_beside_a_unit_ends_with_its_exit_code,
        command_is_stopped_by_its_name,
        command_goes_on_over_a_reload,
        command_ends_unknown_when_systemd_is_lost,
    ]
);

on_both! {
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
    stop_of_nothing_is_a_refusal,
    needed_unit_takes_those_that_need_it_along,
    start_while_stopping_waits_and_then_runs,
    unit_that_restarts_by_itself_is_told,
    unit_that_is_never_ready_times_out,
    start_limit_is_a_failure_with_its_own_result,
    instance_may_come_from_a_template_file,
    systemd_that_executes_itself_anew_is_found_again,
    fleets_own_unit_is_told_and_not_shown,
    command_beside_a_unit_ends_with_its_exit_code,
    command_is_stopped_by_its_name,
    command_over_its_limit_is_stopped,
    command_stops_with_its_unit,
    command_goes_on_over_a_reload,
    command_needs_a_service_that_is_loaded,
    command_that_nobody_waits_for_is_stopped,
    command_ends_unknown_when_systemd_is_lost,
}
