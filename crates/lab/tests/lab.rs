//! Stories on real libvirt and QEMU, in lanes, two beside each other: those on one lab of three
//! hosts that they share, those that make a lab of their own because they break it or need
//! another, and those of both kinds that are told again on the older Debian release. In each
//! lane one story comes after the other. After one that failed, the next gets
//! a new lab; a lane ends early after some failures or when its time is over.
//!
//! Needs root; fails with one clear line where a lab cannot be made.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a harness says what it does")]

mod stories {
    pub(crate) mod bmc;
    pub(crate) mod continuity;
    pub(crate) mod crash_support;
    pub(crate) mod crashes;
    pub(crate) mod drain;
    pub(crate) mod ground;
    pub(crate) mod hypervisor;
    pub(crate) mod lab_itself;
    pub(crate) mod lanes;
    pub(crate) mod locks;
    pub(crate) mod migration;
    pub(crate) mod modes;
    pub(crate) mod options;
    pub(crate) mod parks;
    pub(crate) mod patience;
    pub(crate) mod power_sources;
    pub(crate) mod releases;
    pub(crate) mod restarts;
    pub(crate) mod rules;
    pub(crate) mod samples;
    pub(crate) mod shared;
    pub(crate) mod sight;
    pub(crate) mod sleepers;
    pub(crate) mod soundness;
    pub(crate) mod wakes;
    pub(crate) mod world;
}

use std::process::ExitCode;
use std::sync::Arc;

use drover_lab::Releases;
use libtest_mimic::{Arguments, Trial};
use stories::ground::Ground;
use stories::lanes::{Again, Lane, Story, run};
use stories::patience::Patience;
use stories::shared::Shared;
use stories::world::World;
use stories::{
    bmc, continuity, crashes, drain, hypervisor, lab_itself, locks, migration, modes, options,
    parks, power_sources, releases, restarts, rules, soundness, wakes,
};

/// The first two are about as long as each other, and so are the last two.
const LANES: &[Lane] = &[
    Lane { name: "shared", releases: Releases::Trixie, shared: SHARED, own: &[], again: None },
    Lane { name: "own", releases: Releases::Trixie, shared: &[], own: OWN, again: None },
    Lane {
        name: "older",
        releases: Releases::Bookworm,
        shared: SHARED,
        own: &[],
        again: Some(Again { prefix: "older", stories: ON_OLDER }),
    },
    Lane {
        name: "oldown",
        releases: Releases::Bookworm,
        shared: &[],
        own: OWN,
        again: Some(Again { prefix: "older", stories: ON_OLDER_OF_OWN }),
    },
];

/// On the lab that is shared.
const SHARED: &[Story<World>] = &[
    ("a_host_cannot_reach_the_machine", lab_itself::a_host_cannot_reach_the_machine),
    ("up_again_changes_nothing", lab_itself::up_again_changes_nothing),
    (
        "an_up_that_was_killed_is_completed_and_leaves_nothing",
        lab_itself::an_up_that_was_killed_is_completed_and_leaves_nothing,
    ),
    ("watts_follow_the_load_of_a_host", power_sources::watts_follow_the_load_of_a_host),
    (
        "watts_are_estimated_where_nothing_counts",
        power_sources::watts_are_estimated_where_nothing_counts,
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
    (
        "a_post_copy_whose_stream_breaks_goes_on_or_says_why",
        options::a_post_copy_whose_stream_breaks_goes_on_or_says_why,
    ),
    ("the_network_hears_of_a_moved_guest", continuity::the_network_hears_of_a_moved_guest),
    (
        "the_network_misses_a_moved_guest_as_measured",
        continuity::the_network_misses_a_moved_guest_as_measured,
    ),
    ("a_local_disk_moves_with_its_running_guest", modes::a_local_disk_moves_with_its_running_guest),
    ("shared_disks_stay_while_local_ones_move", modes::shared_disks_stay_while_local_ones_move),
    ("a_top_layer_moves_onto_its_backing_file", modes::a_top_layer_moves_onto_its_backing_file),
    ("a_cancelled_copy_leaves_nothing", modes::a_cancelled_copy_leaves_nothing),
    ("a_file_in_the_way_is_left_alone", modes::a_file_in_the_way_is_left_alone),
    ("a_full_disk_on_the_target_ends_the_copy", modes::a_full_disk_on_the_target_ends_the_copy),
    ("a_guest_that_is_shut_off_moves", modes::a_guest_that_is_shut_off_moves),
    ("a_cold_guest_boots_from_its_copied_disk", modes::a_cold_guest_boots_from_its_copied_disk),
    ("a_start_in_mid_copy_ends_the_copy", modes::a_start_in_mid_copy_ends_the_copy),
    ("a_guest_of_a_dead_host_is_rescued", modes::a_guest_of_a_dead_host_is_rescued),
    ("a_cpu_rule_relieves_its_host", rules::a_cpu_rule_relieves_its_host),
    ("without_a_target_the_reasons_are_recorded", rules::without_a_target_the_reasons_are_recorded),
    ("a_memory_rule_relieves_its_host", rules::a_memory_rule_relieves_its_host),
    ("a_dry_run_moves_nothing", rules::a_dry_run_moves_nothing),
    ("a_second_plan_waits_for_the_first", rules::a_second_plan_waits_for_the_first),
    ("a_host_is_drained_and_used_again", drain::a_host_is_drained_and_used_again),
    (
        "a_drain_goes_around_a_host_with_closed_ports",
        drain::a_drain_goes_around_a_host_with_closed_ports,
    ),
    ("several_guests_move_by_one_command", drain::several_guests_move_by_one_command),
    ("droverd_restarts_in_mid_migration", restarts::droverd_restarts_in_mid_migration),
    ("the_agents_restart_in_mid_migration", restarts::the_agents_restart_in_mid_migration),
    ("a_host_that_loses_power_is_said_to_be_unreachable", restarts::a_host_that_loses_power),
    ("a_cut_cable_stops_nothing_else", restarts::a_cut_cable_stops_nothing_else),
    ("libvirt_keeps_the_contract", hypervisor::libvirt_keeps_the_contract),
];

/// On labs of their own.
const OWN: &[Story<Ground>] = &[
    (
        "a_lease_keeps_a_second_copy_away_and_goes_with_its_guest",
        locks::a_lease_keeps_a_second_copy_away_and_goes_with_its_guest,
    ),
    ("a_lost_reply_doubles_no_guest_with_a_lease", locks::a_lost_reply_with_a_lease),
    (
        "a_lost_reply_doubles_no_guest_that_drover_moves",
        locks::a_lost_reply_doubles_no_guest_that_drover_moves,
    ),
    ("a_restart_and_a_cancel_take_moments", crashes::a_restart_and_a_cancel_take_moments),
    ("programs_that_die_in_a_move_double_nothing", crashes::programs_that_die),
    ("hosts_and_cables_that_die_double_nothing", crashes::hosts_and_cables_that_die),
    ("faults_while_a_disk_is_copied_double_nothing", crashes::faults_while_a_disk_is_copied),
    ("cut_storage_networks_double_nothing", crashes::a_storage_network_that_is_cut),
    ("a_local_disk_is_copied", locks::a_local_disk_is_copied),
    ("wakes_that_fail_say_why_and_the_next_host_is_tried", wakes::wakes_that_fail_say_why),
    ("a_host_switches_itself_off", power_sources::a_host_switches_itself_off),
    ("bmcs_keep_the_contract", bmc::bmcs_keep_the_contract),
    ("a_magic_packet_wakes_its_host_and_no_other", bmc::a_magic_packet_wakes_its_host_and_no_other),
    ("a_host_that_its_bmc_switches_comes_back_whole", bmc::a_host_that_its_bmc_switches),
    ("parked_hosts_are_woken_by_each_way", parks::parked_hosts_are_woken_by_each_way),
    ("guests_move_between_releases_both_ways", releases::guests_move_between_releases_both_ways),
    ("moves_lose_no_memory", soundness::moves_lose_no_memory),
    ("memory_that_a_move_loses_is_noticed", soundness::memory_that_a_move_loses_is_noticed),
];

/// What is told again on the older release: moves of each mode, and aborts.
const ON_OLDER: &[&str] = &[
    "a_moved_guest_keeps_its_connection",
    "cancel_leaves_the_guest_where_it_was",
    "options_reach_qemu",
    "settings_change_in_mid_transfer",
    "post_copy_ends_what_does_not_converge",
    "post_copy_can_be_asked_for_at_once",
    "a_post_copy_that_breaks_goes_on",
    "a_post_copy_whose_stream_breaks_goes_on_or_says_why",
    "a_local_disk_moves_with_its_running_guest",
    "shared_disks_stay_while_local_ones_move",
    "a_top_layer_moves_onto_its_backing_file",
    "a_cancelled_copy_leaves_nothing",
    "a_full_disk_on_the_target_ends_the_copy",
    "a_guest_that_is_shut_off_moves",
    "a_cold_guest_boots_from_its_copied_disk",
    "a_guest_of_a_dead_host_is_rescued",
    "libvirt_keeps_the_contract",
];

/// The same on labs of their own: locks, crashes, memory.
const ON_OLDER_OF_OWN: &[&str] = &[
    "a_lease_keeps_a_second_copy_away_and_goes_with_its_guest",
    "a_lost_reply_doubles_no_guest_with_a_lease",
    "a_lost_reply_doubles_no_guest_that_drover_moves",
    "programs_that_die_in_a_move_double_nothing",
    "hosts_and_cables_that_die_double_nothing",
    "moves_lose_no_memory",
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if let Some(nobodys) = LANES.iter().find_map(Lane::nobodys) {
        eprintln!("error: there is no story `{nobodys}` to be told again");
        return ExitCode::FAILURE;
    }
    if arguments.list {
        let shared = LANES.iter().flat_map(|lane| on_shared(lane, None));
        let own = LANES.iter().flat_map(|lane| on_own(lane, None));
        return libtest_mimic::run(&arguments, shared.chain(own).collect()).exit_code();
    }
    run(LANES, &arguments, |lane, patience| tell(lane, &arguments, patience))
}

/// The stories of a lane that are wanted; whether all went well.
fn tell(lane: &'static Lane, arguments: &Arguments, patience: &Arc<Patience>) -> bool {
    let shared = !lane.wants_shared(arguments) || tell_shared(lane, arguments, patience);
    let own = !lane.wants_own(arguments) || {
        let ground = Arc::new(Ground::new(lane.releases));
        conclude(arguments, on_own(lane, Some((ground, Arc::clone(patience)))))
    };
    shared && own
}

fn tell_shared(lane: &'static Lane, arguments: &Arguments, patience: &Arc<Patience>) -> bool {
    let shared = Arc::new(Shared::new(lane));
    let stories = on_shared(lane, Some((Arc::clone(&shared), Arc::clone(patience))));
    let well = conclude(arguments, stories);
    match shared.down() {
        Ok(()) => well,
        Err(error) => {
            eprintln!("error: the lab left something behind: {error:#}");
            false
        }
    }
}

fn on_shared(lane: &'static Lane, on: Option<(Arc<Shared>, Arc<Patience>)>) -> Vec<Trial> {
    let of_story = |(name, story): (String, &'static fn(&World) -> anyhow::Result<()>)| {
        trial(name, on.clone(), move |shared: &Shared| shared.tell(*story))
    };
    lane.on_shared().map(of_story).collect()
}

fn on_own(lane: &'static Lane, on: Option<(Arc<Ground>, Arc<Patience>)>) -> Vec<Trial> {
    lane.on_own().map(|(name, story)| trial(name, on.clone(), story)).collect()
}

fn trial<T: Send + Sync + 'static>(
    name: String,
    on: Option<(Arc<T>, Arc<Patience>)>,
    story: impl Fn(&T) -> anyhow::Result<()> + Send + 'static,
) -> Trial {
    Trial::test(name.clone(), move || {
        let (on, patience) = on.ok_or("no lab")?;
        patience.hear(&name, || story(&on)).map_err(|error| format!("{error:#}").into())
    })
}

fn conclude(arguments: &Arguments, trials: Vec<Trial>) -> bool {
    !libtest_mimic::run(arguments, trials).has_failed()
}
