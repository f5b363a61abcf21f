//! A forecast in words.

use drover_model::Bytes;

use super::curve::Curve;
use super::transfer::Run;
use super::{Otherwise, Prospect, Verdict, whole};

pub(super) fn reason(
    prospect: &Prospect,
    curve: Curve,
    measured: bool,
    link: f64,
    expected: &Run,
    verdict: Verdict,
) -> String {
    let used = prospect.used.unwrap_or(prospect.memory);
    let writes = if measured {
        let rate = Bytes(whole(curve.rate() * 1000.0));
        let set = Bytes(whole(curve.working_set()));
        format!("it writes {rate}/s within {set}")
    } else {
        "how fast it writes was not measured".to_owned()
    };
    let over = match (prospect.link, prospect.cap) {
        (_, Some(cap)) => format!("capped at {}/s", Bytes(cap)),
        (Some(_), None) => format!("over a link that carries {}/s", Bytes(whole(link))),
        (None, None) => format!("over a link never measured, taken as {}/s", Bytes(whole(link))),
    };
    let what = format!("{used} to send {over}; {writes}");
    let limit = expected.limit_ms.unwrap_or(0);
    match verdict {
        _ if prospect.at_once => {
            format!(
                "{used} to send {over}: the guest goes to the target at once and waits there \
                     for each page that it needs before it has come"
            )
        }
        Verdict::Converges if limit > prospect.first_downtime_ms => {
            format!("{what}: it ends when it may pause for {limit} ms, which the guest allows")
        }
        Verdict::Converges => format!("{what}: it ends by itself"),
        Verdict::OnlyWithDowntime { needed_ms } => format!(
            "{what}: it ends only with a pause of {needed_ms} ms, and the guest allows {} ms; {}",
            prospect.max_downtime_ms,
            help(prospect.otherwise, Some(needed_ms))
        ),
        Verdict::Never => {
            format!("{what}: no pause of half a minute ends it; {}", help(prospect.otherwise, None))
        }
    }
}

fn help(otherwise: Otherwise, needed_ms: Option<u64>) -> String {
    match otherwise {
        Otherwise::PostCopy => "post-copy will end it".to_owned(),
        Otherwise::Throttle => "QEMU will slow the guest down until it ends".to_owned(),
        Otherwise::ForceFinish => "the guest will be paused to end it".to_owned(),
        Otherwise::Nothing => match needed_ms {
            Some(ms) => format!(
                "allow {ms} ms, post-copy or throttling, give it more bandwidth, or move it when \
                 it writes less"
            ),
            None => "allow post-copy or throttling, give it more bandwidth, or move it when it \
                     writes less"
                .to_owned(),
        },
    }
}
