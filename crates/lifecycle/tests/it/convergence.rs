//! Convergence: on series that were recorded from QEMU, and closed over a model of it.

use std::fmt::Write as _;
use std::path::Path;

use drover_lifecycle::convergence::{Action, Advice, Convergence, Limits, WhenStuck};
use drover_model::{Bytes, MigrationProgress, PostCopy};
use proptest::prelude::*;

use crate::precopy::{End, PreCopy, SWITCH_OVER_MS, Scene};

/// Most advice that one migration may be given.
const MOST_ADVICE: usize = 30;

fn limits(words: &str) -> Limits {
    let mut limits = Limits {
        first_downtime_ms: 300,
        max_downtime_ms: 1000,
        post_copy: PostCopy::Never,
        when_stuck: WhenStuck::GiveUp,
        timeout_ms: None,
        spare_bandwidth_mib_s: None,
        link_mib_s: None,
    };
    for word in words.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "max" => limits.max_downtime_ms = value.parse().unwrap(),
            "first" => limits.first_downtime_ms = value.parse().unwrap(),
            "timeout" => limits.timeout_ms = Some(value.parse().unwrap()),
            "link" => limits.link_mib_s = Some(value.parse().unwrap()),
            "spare" => limits.spare_bandwidth_mib_s = Some(value.parse().unwrap()),
            "post-copy" => limits.post_copy = PostCopy::Allow,
            "post-copy-now" => limits.post_copy = PostCopy::Now,
            "quickly" => limits.when_stuck = WhenStuck::ForceFinish,
            _ => panic!("unknown word {word}"),
        }
    }
    limits
}

#[expect(clippy::disallowed_methods, reason = "a test reads what was recorded for it")]
fn recorded(name: &str) -> Vec<MigrationProgress> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/series/{name}.txt"));
    let text = std::fs::read_to_string(&path).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| look(&row.split_whitespace().collect::<Vec<_>>())).collect()
}

fn look(row: &[&str]) -> MigrationProgress {
    let number = |column: usize| row[column].parse::<u64>().unwrap();
    let kib = |column| Bytes(number(column) << 10);
    MigrationProgress {
        elapsed_ms: number(0),
        iteration: u32::try_from(number(1)).unwrap(),
        remaining: kib(2),
        processed: kib(3),
        dirty_rate: kib(4),
        throughput: kib(5),
        expected_downtime_ms: row[6].parse().ok(),
        throttle_percent: row[7].parse().ok(),
        ..MigrationProgress::default()
    }
}

fn told(at_ms: u64, advice: &Advice) -> String {
    let action = match advice.action {
        Action::SetDowntime(ms) => format!("downtime {ms}"),
        Action::SetBandwidth(cap) => format!("bandwidth {cap}"),
        Action::SwitchToPostCopy => "post-copy".to_owned(),
        Action::Pause => "pause".to_owned(),
        Action::Abort => "abort".to_owned(),
        Action::Wait => "wait".to_owned(),
    };
    format!("{action} at {at_ms}")
}

/// A recording cannot answer to advice: it shows when each is given, and no more.
#[test]
fn advice_on_recorded_series_is_as_the_table_says() {
    let table = include_str!("../series/cases.txt");
    let mut wrong = String::new();
    for case in table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let [series, words, expected] = case.split('|').collect::<Vec<_>>()[..] else {
            panic!("`{case}` is not `series | limits | advice`");
        };
        let mut state = Convergence::new(limits(words));
        let mut all = Vec::new();
        for sample in recorded(series.trim()) {
            let (next, advice) = state.step(&sample);
            all.extend(advice.iter().map(|advice| told(sample.elapsed_ms, advice)));
            state = next;
        }
        let all = all.join(", ");
        if all != expected.trim() {
            let _ = writeln!(wrong, "{series}|{words}| {all}");
        }
    }
    assert!(wrong.is_empty(), "not as the table says:\n{wrong}");
}

#[test]
fn every_reason_tells_the_numbers() {
    let mut state = Convergence::new(limits("max=4000"));
    let mut reasons = Vec::new();
    for sample in recorded("dirty20-ws64-cap20") {
        let (next, advice) = state.step(&sample);
        reasons.extend(advice.into_iter().map(|advice| advice.reason));
        state = next;
    }
    assert_eq!(
        reasons.first().map(String::as_str),
        Some(
            "passes do not get shorter: the quietest would need a pause of 2.8 s, the limit was \
             300 ms and the guest allows 4.0 s"
        )
    );
}

#[test]
fn an_action_that_is_refused_is_replaced_by_another() {
    let mut state = Convergence::new(limits("post-copy quickly timeout=60000"));
    let mut actions = Vec::new();
    for sample in recorded("dirty20-ws64-cap20") {
        let (next, advice) = state.step(&sample);
        state = next;
        for advice in advice {
            actions.push(advice.action);
            if matches!(advice.action, Action::SwitchToPostCopy | Action::Pause) {
                state = state.refused(advice.action);
            }
        }
    }
    let kinds = |wanted: fn(&Action) -> bool| actions.iter().filter(|one| wanted(one)).count();
    assert_eq!(kinds(|one| *one == Action::SwitchToPostCopy), 1, "{actions:?}");
    assert_eq!(kinds(|one| *one == Action::Pause), 1, "{actions:?}");
    assert_eq!(actions.last(), Some(&Action::Abort), "{actions:?}");
}

#[test]
fn a_link_that_carries_nothing_is_given_up() {
    let mut state = Convergence::new(limits("quickly"));
    let mut ended = None;
    for second in 0..600 {
        let sample = MigrationProgress {
            elapsed_ms: second * 1000,
            iteration: 1,
            processed: Bytes(second.min(10) << 20),
            remaining: Bytes(1 << 30),
            ..MigrationProgress::default()
        };
        let (next, advice) = state.step(&sample);
        state = next;
        if let Some(advice) = advice.first() {
            ended = ended.or(Some((second, advice.action)));
        }
    }
    assert_eq!(ended, Some((130, Action::Abort)));
}

/// What came of a migration under advice.
struct Ran {
    end: End,
    advice: Vec<Advice>,
    /// The highest limit that was in force.
    limit_ms: u64,
    deadline_ms: Option<u64>,
}

fn advised(scene: &Scene, limits: Limits, within_ms: u64) -> Ran {
    let mut qemu = PreCopy::new(scene.clone(), limits.first_downtime_ms);
    let mut state = Convergence::new(limits);
    let mut all = Vec::new();
    while qemu.now_ms() < within_ms && qemu.end().is_none() {
        qemu.run_to_look();
        if qemu.end().is_some() {
            break;
        }
        let (next, advice) = state.step(&qemu.progress());
        state = next;
        for advice in advice {
            match advice.action {
                Action::SetDowntime(ms) => qemu.set_limit(ms),
                Action::SetBandwidth(cap) => qemu.set_bandwidth(cap),
                Action::SwitchToPostCopy => qemu.switch(),
                Action::Pause => qemu.pause(),
                Action::Abort => qemu.abort(),
                Action::Wait => {}
            }
            all.push(advice);
        }
    }
    let set = |advice: &Advice| match advice.action {
        Action::SetDowntime(ms) => Some(ms),
        _ => None,
    };
    let limit_ms = all.iter().filter_map(set).fold(limits.first_downtime_ms, u64::max);
    let end = qemu.end().unwrap_or(End::Endless);
    Ran { end, advice: all, limit_ms, deadline_ms: state.deadline_ms() }
}

fn scene() -> impl Strategy<Value = Scene> {
    let size = (32.0..4096.0_f64, 0.01..0.9_f64, 0.0..4.0_f64, 10.0..1000.0_f64);
    let times = (0..=20_000_u64, 1_000..=20_000_u64, any::<bool>(), any::<bool>(), 1.0..10.0_f64);
    (size, times).prop_map(
        |((used, part, rate, bandwidth), (busy, period, converge, told, link))| Scene {
            used,
            working_set: used * part,
            rate: rate * bandwidth,
            busy_ms: busy.min(period),
            period_ms: period,
            bandwidth,
            link: bandwidth * link,
            auto_converge: converge,
            told_of_passes: told,
        },
    )
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let post_copy = prop_oneof![
        3 => Just(PostCopy::Never), 1 => Just(PostCopy::Allow), 1 => Just(PostCopy::Now)
    ];
    let timeout = prop::option::weighted(0.3, 5_000..600_000_u64);
    (1..20_000_u64, post_copy, prop::bool::weighted(0.3), timeout).prop_map(
        |(max, post_copy, quickly, timeout_ms)| Limits {
            first_downtime_ms: max.min(300),
            max_downtime_ms: max,
            post_copy,
            when_stuck: if quickly { WhenStuck::ForceFinish } else { WhenStuck::GiveUp },
            timeout_ms,
            spare_bandwidth_mib_s: None,
            link_mib_s: None,
        },
    )
}

/// Longer than any deadline of these scenes: the largest takes 410 s to be sent once, and ten
/// times that is its time.
const FOR_EVER_MS: u64 = 6_000_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn invariant_the_guests_maximum_is_kept(scene in scene(), limits in any_limits()) {
        let ran = advised(&scene, limits, FOR_EVER_MS);
        if limits.when_stuck == WhenStuck::GiveUp {
            prop_assert!(ran.limit_ms <= limits.max_downtime_ms);
        }
        let limits = Limits { link_mib_s: Some(scene.link as u64), ..limits };
        let ran = advised(&scene, limits, FOR_EVER_MS);
        if let (WhenStuck::GiveUp, End::Finished { downtime_ms, .. }) = (limits.when_stuck, ran.end) {
            let most = limits.max_downtime_ms as f64 + SWITCH_OVER_MS;
            prop_assert!(downtime_ms <= most, "{downtime_ms} ms");
        }
    }

    #[test]
    fn invariant_it_ends_within_its_deadline(scene in scene(), limits in any_limits()) {
        let ran = advised(&scene, limits, FOR_EVER_MS);
        let deadline = ran.deadline_ms.unwrap_or(FOR_EVER_MS) as f64;
        let ended = match ran.end {
            // The pause has begun by then, within one look; the rest takes what it takes.
            End::Finished { at_ms, downtime_ms } => at_ms as f64 - downtime_ms - 1000.0,
            End::PostCopy { at_ms } | End::Aborted { at_ms } => at_ms as f64 - 500.0,
            End::Endless => f64::INFINITY,
        };
        prop_assert!(ended <= deadline, "{:?}, deadline {deadline}", ran.end);
    }

    #[test]
    fn invariant_what_ends_by_itself_is_not_given_up(scene in scene(), limits in any_limits()) {
        let limits = Limits { post_copy: PostCopy::Never, ..limits };
        let ran = advised(&scene, limits, FOR_EVER_MS);
        if let (End::Aborted { at_ms }, Some(deadline)) = (ran.end, ran.deadline_ms) {
            let alone = PreCopy::new(scene, limits.first_downtime_ms).alone(deadline);
            prop_assert_eq!(alone, End::Endless, "aborted at {}", at_ms);
        }
    }

    #[test]
    fn invariant_what_the_maximum_would_finish_is_finished(
        scene in scene(), limits in any_limits()
    ) {
        let scene = Scene { busy_ms: scene.period_ms, ..scene };
        let limits = Limits { post_copy: PostCopy::Never, timeout_ms: None, ..limits };
        let ran = advised(&scene, limits, FOR_EVER_MS);
        // The remedies take their time: some passes each.
        let most = ran.deadline_ms.unwrap_or(FOR_EVER_MS) / 4;
        let alone = PreCopy::new(scene, limits.max_downtime_ms).alone(most);
        if matches!(alone, End::Finished { .. }) {
            prop_assert!(matches!(ran.end, End::Finished { .. }), "{:?} {:?}", ran.end, ran.advice);
        }
    }

    #[test]
    fn invariant_advice_is_rare_and_limits_only_rise(scene in scene(), limits in any_limits()) {
        let ran = advised(&scene, limits, FOR_EVER_MS);
        prop_assert!(ran.advice.len() <= MOST_ADVICE, "{} times", ran.advice.len());
        let mut before = limits.first_downtime_ms;
        for advice in &ran.advice {
            prop_assert!(!advice.reason.is_empty());
            if let Action::SetDowntime(ms) = advice.action {
                prop_assert!(ms > before, "{ms} after {before}");
                before = ms;
            }
        }
    }
}
