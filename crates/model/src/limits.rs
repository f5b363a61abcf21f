//! How many migrations may be under way at once.

use serde::{Deserialize, Serialize};

/// Migrations at once. The planner deals moves into batches by these numbers and the queue of
/// operations begins moves by them: there is one truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationLimits {
    /// That leave one host.
    pub out_per_host: u32,
    /// That come to one host.
    pub in_per_host: u32,
    /// Between two hosts, whichever way they go.
    pub per_link: u32,
    /// In the whole cluster; none for as many as the cluster's size allows.
    pub per_cluster: Option<u32>,
}

impl MigrationLimits {
    /// Two migrations that leave a host: one alone does not fill a fast link (QEMU sends with
    /// one thread), more only share it, and a guest whose memory is sent slowly dirties more
    /// of it meanwhile. oVirt and KubeVirt limit it to 2 as well.
    pub const OUT_PER_HOST: u32 = 2;
    /// Two that come: the same link, the other way; and each takes memory before it runs.
    pub const IN_PER_HOST: u32 = 2;
    /// Two between the same two hosts: no narrower than the hosts themselves. Lower it to 1
    /// where hosts are joined by a thin line.
    pub const PER_LINK: u32 = 2;
    /// In the whole cluster at least so many, where no number is set.
    pub const LEAST_PER_CLUSTER: u32 = 8;
    /// The most that a limit may be: libvirt serves 64 migration ports on a host
    /// (49152 to 49215).
    pub const MOST_PER_HOST: u32 = 64;
    /// The most that can be set for the cluster: each operation is followed at all times.
    pub const MOST_PER_CLUSTER: u32 = 1024;

    /// Migrations at once in a cluster of so many hosts: as set, else one for every two hosts
    /// (each then sends or takes one) and at least 8.
    pub fn in_cluster(&self, hosts: usize) -> u32 {
        let half = u32::try_from(hosts / 2).unwrap_or(u32::MAX);
        let by_size = half.clamp(Self::LEAST_PER_CLUSTER, Self::MOST_PER_CLUSTER);
        self.per_cluster.unwrap_or(by_size)
    }
}

impl Default for MigrationLimits {
    /// Each with its reason above.
    fn default() -> Self {
        Self {
            out_per_host: Self::OUT_PER_HOST,
            in_per_host: Self::IN_PER_HOST,
            per_link: Self::PER_LINK,
            per_cluster: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_takes_more_as_it_grows_unless_it_was_told() {
        let limits = MigrationLimits::default();
        let seen: Vec<u32> = [0, 3, 16, 18, 200, 100_000].map(|n| limits.in_cluster(n)).to_vec();
        assert_eq!(seen, [8, 8, 8, 9, 100, 1024]);
        let told = MigrationLimits { per_cluster: Some(3), ..limits };
        assert_eq!(told.in_cluster(200), 3);
    }
}
