//! Hosts that die by chance.

use std::time::Duration;

use rand::{Rng, RngExt as _};

use crate::cluster::Cluster;
use crate::settings::{Failure, limits};

/// Failures of every host at exponentially distributed times, `between` apart on average,
/// each for `down`; in the order of time, at most as many as a run may have.
pub fn by_chance(
    cluster: &Cluster,
    between: Duration,
    down: Duration,
    duration: Duration,
    rng: &mut impl Rng,
) -> Vec<Failure> {
    let mut all = Vec::new();
    for host in cluster.hosts() {
        let mut at = Duration::ZERO;
        while all.len() < limits::MAX_FAILURES {
            let chance: f64 = rng.random();
            // 1 - chance is never 0; capped, so that the sum stays a duration.
            let pause = (between.as_secs_f64() * -(1.0 - chance).ln()).clamp(1.0, 1e9);
            at = at.saturating_add(Duration::from_secs_f64(pause));
            if at >= duration {
                break;
            }
            all.push(Failure { host: host.id, at, down });
            at = at.saturating_add(down);
        }
    }
    all.sort_by_key(|failure| (failure.at, failure.host));
    all
}
