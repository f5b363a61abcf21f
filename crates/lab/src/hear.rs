//! What a host of the lab hears of others' announcements: RARP and ARP frames that reach
//! every host, with who sent them and when.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with};
use serde::{Deserialize, Serialize};

use crate::addresses::Network;
use crate::lab::Lab;
use crate::network;
use crate::tools::run;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Milliseconds since 1970: all hosts of a lab share one clock.
    pub at_ms: u64,
    /// Who sent it, as Ethernet says.
    pub from: String,
    /// Whether all were meant.
    pub broadcast: bool,
    /// `rarp` or `arp`.
    pub protocol: String,
    /// 1 request, 2 reply, 3 reverse request.
    pub operation: u16,
    /// The IPv4 address of which its sender says that it is his.
    pub sender: String,
}

/// An ear in a host's namespace.
#[derive(Debug)]
pub struct HearHandle(Child);

impl HearHandle {
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("start the ear")?;
        Ok(Self(child))
    }

    /// Ends it and returns what it heard.
    pub fn finish(mut self) -> anyhow::Result<Vec<Heard>> {
        drop(self.0.stdin.take());
        let mut text = String::new();
        self.0.stdout.take().context("the ear has no output")?.read_to_string(&mut text)?;
        self.0.wait()?;
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("heard `{line}`")))
            .collect()
    }
}

impl Drop for HearHandle {
    fn drop(&mut self) {
        // Its input ends with it; it is reaped here.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Lab {
    /// Begins to hear announcements at a host: what every host of the network hears.
    pub fn hear(&self, host: &str) -> anyhow::Result<HearHandle> {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &network::namespace(&self.spec().name, host)])
            .arg(self.spec().bin_dir.join("drover-lab"))
            .arg("hear-worker");
        HearHandle::start(command)
    }

    /// The member to whose port the guests' switch sends what is for this Ethernet address;
    /// none where it has not learned one.
    pub fn switch_sends_to(&self, mac: &str) -> anyhow::Result<Option<String>> {
        let (switch, network) = (network::namespace(&self.spec().name, "sw"), Network::Guest);
        let shown = run(&format!("bridge -n {switch} fdb show br {}", network.bridge()))?;
        let port = shown.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == mac).then(|| words.nth(1)).flatten()
        });
        Ok(port.map(|port| port.trim_end_matches(network.letter()).to_owned()))
    }
}

/// The worker: tells each frame on a line of its own until its standard input ends.
pub fn work() -> anyhow::Result<()> {
    let ears = [ear(eth::RARP)?, ear(eth::ARP)?];
    let input = std::io::stdin();
    let mut out = std::io::stdout().lock();
    loop {
        let mut waiting = [
            PollFd::new(&input, PollFlags::IN),
            PollFd::new(&ears[0], PollFlags::IN),
            PollFd::new(&ears[1], PollFlags::IN),
        ];
        poll(&mut waiting, None)?;
        if !waiting[0].revents().is_empty() {
            return Ok(());
        }
        for ear in &ears {
            let mut frame = [0_u8; 64];
            while let Ok((length, _)) = recv(ear, &mut frame, RecvFlags::DONTWAIT) {
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
                if let Some(heard) = read(&frame[..length], u64::try_from(now)?) {
                    writeln!(out, "{}", serde_json::to_string(&heard)?)?;
                }
            }
        }
    }
}

/// Hears on every interface of this namespace; frames for all reach the host's bridge.
fn ear(protocol: rustix::net::Protocol) -> anyhow::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(protocol))
        .context("open a packet socket")
}

fn read(frame: &[u8], at_ms: u64) -> Option<Heard> {
    let octets = frame.get(6..12)?;
    let protocol = match frame.get(12..14)? {
        [0x80, 0x35] => "rarp",
        [0x08, 0x06] => "arp",
        _ => return None,
    };
    let sender: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
    Some(Heard {
        at_ms,
        from: octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":"),
        broadcast: frame[..6] == [0xff; 6],
        protocol: protocol.to_owned(),
        operation: u16::from_be_bytes([frame[20], frame[21]]),
        sender: std::net::Ipv4Addr::from(sender).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read() {
        let mut frame = vec![0xff; 6];
        frame.extend([0x52, 0x54, 0, 0x88, 0, 0x0b, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        frame.extend([0x52, 0x54, 0, 0x88, 0, 0x0b, 10, 88, 0, 11]);
        let heard = read(&frame, 7).unwrap();
        assert_eq!((heard.from.as_str(), heard.operation), ("52:54:00:88:00:0b", 2));
        assert_eq!((heard.protocol.as_str(), heard.sender.as_str()), ("arp", "10.88.0.11"));
        assert!(heard.broadcast);
        assert_eq!(read(&frame[..31], 7), None);
    }
}
