//! Stories on real libvirt and QEMU: one lab of three hosts, one story after the other.
//!
//! Needs root; fails with one clear line where the lab cannot be made.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a harness says what it does")]

mod stories {
    pub(crate) mod continuity;
    pub(crate) mod hypervisor;
    pub(crate) mod lab_itself;
    pub(crate) mod migration;
    pub(crate) mod options;
    pub(crate) mod restarts;
    pub(crate) mod rules;
    pub(crate) mod world;
}

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use stories::world::World;
use stories::{continuity, hypervisor, lab_itself, migration, options, restarts, rules};

type Story = fn(&World) -> anyhow::Result<()>;

const STORIES: &[(&str, Story)] = &[
    ("a_host_cannot_reach_the_machine", lab_itself::a_host_cannot_reach_the_machine),
    ("up_again_changes_nothing", lab_itself::up_again_changes_nothing),
    (
        "an_up_that_was_killed_is_completed_and_leaves_nothing",
        lab_itself::an_up_that_was_killed_is_completed_and_leaves_nothing,
    ),
    ("existing_guests_are_adopted_as_they_are", migration::existing_guests_are_adopted_as_they_are),
    ("a_moved_guest_keeps_its_connection", migration::a_moved_guest_keeps_its_connection),
    ("cancel_leaves_the_guest_where_it_was", migration::cancel_leaves_the_guest_where_it_was),
    ("a_refused_move_says_why", migration::a_refused_move_says_why),
    ("options_reach_qemu", options::options_reach_qemu),
    ("contradictions_are_refused", options::contradictions_are_refused),
    ("settings_change_in_mid_transfer", options::settings_change_in_mid_transfer),
    ("post_copy_ends_what_does_not_converge", options::post_copy_ends_what_does_not_converge),
    ("post_copy_can_be_asked_for_at_once", options::post_copy_can_be_asked_for_at_once),
    ("a_post_copy_that_breaks_goes_on", options::a_post_copy_that_breaks_goes_on),
    ("the_network_hears_of_a_moved_guest", continuity::the_network_hears_of_a_moved_guest),
    (
        "the_network_misses_a_moved_guest_as_measured",
        continuity::the_network_misses_a_moved_guest_as_measured,
    ),
    ("a_cpu_rule_relieves_its_host", rules::a_cpu_rule_relieves_its_host),
    ("without_a_target_the_reasons_are_recorded", rules::without_a_target_the_reasons_are_recorded),
    ("a_memory_rule_relieves_its_host", rules::a_memory_rule_relieves_its_host),
    ("a_dry_run_moves_nothing", rules::a_dry_run_moves_nothing),
    ("a_second_plan_waits_for_the_first", rules::a_second_plan_waits_for_the_first),
    ("droverd_restarts_in_mid_migration", restarts::droverd_restarts_in_mid_migration),
    ("the_agents_restart_in_mid_migration", restarts::the_agents_restart_in_mid_migration),
    ("a_host_that_loses_power_is_said_to_be_unreachable", restarts::a_host_that_loses_power),
    ("a_cut_cable_stops_nothing_else", restarts::a_cut_cable_stops_nothing_else),
    ("libvirt_keeps_the_contract", hypervisor::libvirt_keeps_the_contract),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if arguments.list {
        return conclude(&arguments, &None);
    }
    eprintln!("bringing up a lab of three hosts and six guests");
    let world = match World::up() {
        Ok(world) => Arc::new(world),
        Err(error) => {
            eprintln!("error: the lab cannot be made: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let code = conclude(&arguments, &Some(Arc::clone(&world)));
    match world.down() {
        Ok(()) => code,
        Err(error) => {
            eprintln!("error: the lab left something behind: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn conclude(arguments: &Arguments, world: &Option<Arc<World>>) -> ExitCode {
    let trials = STORIES
        .iter()
        .map(|(name, story)| {
            let world = world.clone();
            Trial::test(*name, move || {
                let world = world.ok_or("no lab")?;
                let told = story(&world);
                // What a story left behind must not decide the next.
                let tidied = world.tidy();
                told.and(tidied).map_err(|error| format!("{error:#}").into())
            })
        })
        .collect();
    libtest_mimic::run(arguments, trials).exit_code()
}
