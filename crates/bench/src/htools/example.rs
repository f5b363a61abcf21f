//! A cluster that anyone can make: hosts of 64 processors and 512 GiB, guests of ten
//! flavours, placed by preference so that some hosts are full and others nearly empty.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::ensure;
use rand::{Rng, RngExt as _};
use rand_pcg::Pcg64;

use crate::output;

/// Memory in MiB, virtual processors, and how often there is one.
const FLAVOURS: [(u32, u32, u32); 10] = [
    (2048, 1, 18),
    (4096, 1, 18),
    (4096, 2, 14),
    (8192, 2, 14),
    (16_384, 2, 10),
    (16_384, 4, 8),
    (32_768, 4, 7),
    (32_768, 8, 5),
    (65_536, 8, 4),
    (131_072, 16, 2),
];
const HOST_MEMORY: u32 = 524_288;
/// What a host needs by itself.
const OWN_MEMORY: u32 = 4096;
/// Guests take at most so much of a host at the start.
const FULL: u32 = 500_000;
/// Guests for each host, at most: then there is room for all.
const DENSEST: usize = 20;
const POLICY: &str = "1024,1,0,1,1,1|128,1,0,0,0,0;1048576,256,8388608,16,8,64|\
                      diskless,file,sharedfile,plain,blockdev,drbd,rbd,ext|4.0|10000.0";

/// Writes a cluster that is far from even.
#[derive(Debug, clap::Args)]
pub(crate) struct ExampleArguments {
    #[arg(long)]
    pub(crate) hosts: usize,
    #[arg(long)]
    pub(crate) guests: usize,
    /// Same seed, same cluster.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[arg(long)]
    pub(crate) out: PathBuf,
}

pub(crate) fn write_example(arguments: &ExampleArguments) -> anyhow::Result<()> {
    let ExampleArguments { hosts, guests, seed, out } = arguments;
    ensure!(*hosts > 0 && *hosts <= 100_000, "{hosts} hosts: 1 to 100,000 can be made");
    ensure!(
        *guests <= hosts * DENSEST,
        "{guests} guests on {hosts} hosts: at most {DENSEST} for each fit"
    );
    output::write(out, &example(*hosts, *guests, *seed))
}

/// The file's text.
pub(crate) fn example(hosts: usize, guests: usize, seed: u64) -> String {
    let mut rng = Pcg64::new(u128::from(seed), 2);
    let liked: Vec<f64> = (0..hosts).map(|_| 0.05 + rng.random::<f64>()).collect();
    let mut used = vec![0; hosts];
    let mut instances = String::new();
    for guest in 0..guests {
        let (memory, vcpus) = flavour(&mut rng);
        let host = loop {
            let host = rng.random_range(0..hosts);
            if rng.random::<f64>() * 1.05 < liked[host] && used[host] + memory <= FULL {
                break host;
            }
        };
        used[host] += memory;
        let _ =
            writeln!(instances, "vm{guest:06}|{memory}|0|{vcpus}|running|Y|h{host:05}||ext||1|-");
    }
    let mut text = "g1|uuid-g1|preferred||\n\n".to_owned();
    for (host, used) in used.iter().enumerate() {
        let free = HOST_MEMORY - OWN_MEMORY - used;
        let role = if host == 0 { 'M' } else { 'N' };
        let _ = writeln!(
            text,
            "h{host:05}|{HOST_MEMORY}|{OWN_MEMORY}|{free}|8388608|8388608|64|{role}|uuid-g1|1||N|0|1|1.0"
        );
    }
    let _ = write!(text, "\n{instances}\n\n|{POLICY}\ng1|{POLICY}\n");
    text
}

fn flavour(rng: &mut impl Rng) -> (u32, u32) {
    let all: u32 = FLAVOURS.iter().map(|flavour| flavour.2).sum();
    let mut draw = rng.random_range(0..all);
    for (memory, vcpus, weight) in FLAVOURS {
        if draw < weight {
            return (memory, vcpus);
        }
        draw -= weight;
    }
    (FLAVOURS[0].0, FLAVOURS[0].1)
}
