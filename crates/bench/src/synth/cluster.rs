//! Made clusters: three kinds of hosts in racks, guests of twelve sizes, and users' wishes.

use std::collections::BTreeMap;

use drover_model::{ClusterView, GuestId, HostId};
use drover_rules::{PlacementKind, PlacementPolicy, PlacementRule, Scope, Strength};
use drover_testkit::{Cluster, guest_id, host_id};
use rand::{Rng, RngExt as _};

/// Cores and GiB of the kinds of hosts, newest last.
const HOSTS: [(f64, u64); 3] = [(16.0, 128), (32.0, 256), (64.0, 512)];
/// MiB, cores used at full load, and how often, of the kinds of guests.
const GUESTS: [(u64, f64, u32); 8] = [
    (2_048, 1.0, 20),
    (4_096, 1.0, 18),
    (4_096, 2.0, 14),
    (8_192, 2.0, 16),
    (16_384, 4.0, 14),
    (32_768, 4.0, 10),
    (32_768, 8.0, 6),
    (65_536, 8.0, 2),
];
/// Hosts of one rack.
const RACK: usize = 20;
/// Part of its memory and cores up to which hosts are filled at the start.
const FULL: f64 = 0.85;

/// A picture and the wishes for it.
pub(super) struct Made {
    pub(super) view: ClusterView,
    pub(super) placement: PlacementPolicy,
}

struct Host {
    cores: f64,
    gib: u64,
    used: f64,
    mib: u64,
    /// How much this host attracts guests at the start: the imbalance to mend.
    pull: f64,
}

/// A cluster of so many hosts and guests; fewer guests when the hosts are full.
pub(super) fn make(hosts: usize, guests: usize, rng: &mut impl Rng) -> Made {
    let mut made: Vec<Host> = (0..hosts)
        .map(|_| {
            let (cores, gib) = HOSTS[rng.random_range(0..HOSTS.len())];
            Host { cores, gib, used: 0.0, mib: 0, pull: rng.random_range(0.15..1.0) }
        })
        .collect();
    let weights: u32 = GUESTS.iter().map(|kind| kind.2).sum();
    let mut placed: Vec<(usize, u64, f64)> = Vec::with_capacity(guests);
    for _ in 0..guests {
        let (mib, cores) = size(rng.random_range(0..weights));
        let load = cores * rng.random_range(0.02..0.6f64);
        if let Some(host) = choose(&made, mib, load, rng) {
            made[host].used += load;
            made[host].mib += mib;
            placed.push((host, mib, load));
        }
    }
    let mut cluster = Cluster::new();
    for (number, host) in made.iter().enumerate() {
        let own = host.cores * 0.01;
        #[expect(clippy::cast_precision_loss, reason = "a few GiB")]
        let free = host.gib as f64 * 0.98 - host.mib as f64 / 1024.0;
        let percent = (host.used + own) * 100.0 / host.cores;
        cluster = cluster.host(wide(number), host.cores, host.gib, percent, free);
    }
    for (number, (host, mib, load)) in placed.iter().enumerate() {
        cluster = cluster.guest(wide(number), wide(*host), *mib, *load);
    }
    let placement = wishes(&placed, hosts, rng);
    Made { view: cluster.view(), placement }
}

fn size(mut draw: u32) -> (u64, f64) {
    for (mib, cores, weight) in GUESTS {
        if draw < weight {
            return (mib, cores);
        }
        draw -= weight;
    }
    (GUESTS[0].0, GUESTS[0].1)
}

/// A host with room, the attractive ones more often; none after many tries.
#[expect(clippy::cast_precision_loss, reason = "sizes are small")]
fn choose(made: &[Host], mib: u64, load: f64, rng: &mut impl Rng) -> Option<usize> {
    for _ in 0..200 {
        let number = rng.random_range(0..made.len());
        let host = &made[number];
        let memory = (host.mib + mib) as f64 <= host.gib as f64 * 1024.0 * FULL;
        let cpu = host.used + load <= host.cores * FULL;
        if memory && cpu && rng.random::<f64>() < host.pull {
            return Some(number);
        }
    }
    None
}

/// Of each hundred guests about six are in groups that stay apart, four in pairs that stay
/// together (and are), three in groups that spread over racks, and two are pinned to a rack.
fn wishes(placed: &[(usize, u64, f64)], hosts: usize, rng: &mut impl Rng) -> PlacementPolicy {
    let mut placement = PlacementPolicy::default();
    let racks: BTreeMap<HostId, String> =
        (0..hosts).map(|host| (host_id(wide(host)), format!("r{}", host / RACK))).collect();
    placement.labels.insert("rack".to_owned(), racks);
    let id = |guest: usize| guest_id(wide(guest));
    let mut on_host: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut rules: Vec<PlacementKind> = Vec::new();
    let mut guest = 0;
    while guest + 5 < placed.len() {
        let here = on_host.entry(placed[guest].0).or_default();
        here.push(guest);
        let few: Vec<GuestId> = (guest..guest + 3).map(id).collect();
        match rng.random_range(0..100u32) {
            0..2 => {
                rules.push(PlacementKind::Apart { guests: few, scope: Scope::Host, most: 1 });
                guest += 3;
            }
            2 => {
                let scope = Scope::Label("rack".to_owned());
                rules.push(PlacementKind::Spread { guests: few, scope, least: 2 });
                guest += 3;
            }
            3..5 if here.len() >= 2 => {
                let pair = here.split_off(here.len() - 2);
                let guests = pair.into_iter().map(id).collect();
                rules.push(PlacementKind::Together { guests, scope: Scope::Host });
                guest += 1;
            }
            5..7 => {
                let rack = placed[guest].0 / RACK * RACK;
                let hosts = (rack..(rack + RACK).min(hosts)).map(|host| host_id(wide(host)));
                rules.push(PlacementKind::On { guests: vec![id(guest)], hosts: hosts.collect() });
                guest += 1;
            }
            _ => guest += 1,
        }
    }
    let named = rules.into_iter().enumerate();
    placement.rules = named
        .map(|(number, kind)| PlacementRule {
            name: format!("w{number}"),
            kind,
            strength: Strength::Required,
        })
        .collect();
    placement
}

/// Fixture ids begin at 1: 0 is the nil id.
const fn wide(number: usize) -> u128 {
    number as u128 + 1
}
