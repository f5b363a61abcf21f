//! The peer: `virsh migrate` of the same guest over the same network.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;

use super::bed::Bed;
use super::took::{Took, watched};

/// Moves a guest to the other host and waits until Drover has seen it.
pub(super) fn migrate(bed: &Bed, guest: &str, options: &[&str]) -> anyhow::Result<Took> {
    let (from, to) = bed.way(guest)?;
    let words = words(bed, guest, &to, options)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (seen, wall) = watched(&bed.lab, guest, || {
        let begun = Instant::now();
        bed.lab.virsh(&from, &words)?;
        Ok(begun.elapsed().as_secs_f64() * 1000.0)
    })?;
    let told = bed.lab.virsh(&to, &["domjobinfo", guest, "--completed"])?;
    bed.settled(guest, &to)?;
    Ok(Took { wall, downtime: downtime(&told).unwrap_or(f64::NAN), seen })
}

/// Begins a move that is slow enough to be stopped. Its end is the child's.
pub(super) fn begin(bed: &Bed, guest: &str, options: &[&str]) -> anyhow::Result<Child> {
    let (from, to) = bed.way(guest)?;
    Command::new("virsh")
        .args(["-q", "-c", &bed.lab.libvirt_uri(&from)])
        .args(words(bed, guest, &to, options)?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start virsh")
}

fn words(bed: &Bed, guest: &str, to: &str, options: &[&str]) -> anyhow::Result<Vec<String>> {
    let (peer, address) = (bed.lab.peer_uri(to)?, bed.lab.address(to)?);
    let uri = format!("tcp://{address}");
    let always = ["migrate", "--live", "--p2p", "--persistent", "--undefinesource", "--unsafe"];
    let ways = [guest, peer.as_str(), "--migrateuri", &uri];
    Ok(always.iter().chain(&ways).chain(options).map(|&word| word.to_owned()).collect())
}

/// The pause in what `domjobinfo` says at the target. The first of its two figures counts
/// until the target's libvirtd has resumed the guest, by both hosts' clocks, which are one
/// here.
fn downtime(told: &str) -> Option<f64> {
    let line = told.lines().find_map(|line| line.strip_prefix("Total downtime:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_read() {
        let told = "Job type:         Completed   \nTotal downtime:   61           ms\n\
                    Downtime w/o network: 60           ms\n";
        assert_eq!(downtime(told), Some(61.0));
        assert_eq!(downtime("Job type:         None"), None);
    }
}
