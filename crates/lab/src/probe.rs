//! What a client of a guest sees: a 20 Hz ping and one TCP connection with numbered lines
//! that must come back in order.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Time between two pings and between two TCP lines: 20 Hz.
pub const INTERVAL: Duration = Duration::from_millis(50);
/// After the last line its echo may take so long.
const DRAIN: Duration = Duration::from_secs(10);

/// Ping is interrupted so often.
const AGAIN: Duration = Duration::from_millis(20);

/// A gap worth telling is so many intervals long.
const WORTH_TELLING: u32 = 3;
/// Most gaps that are told: a guest that is unreachable for hours has no more to say.
const MOST_GAPS: usize = 10_000;

/// A time without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// When it ended, Unix time in seconds.
    pub ended: f64,
    /// How long it was, milliseconds.
    pub ms: f64,
}

/// What a client saw.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProbeReport {
    /// How long it looked, seconds.
    pub seconds: f64,
    /// Pings sent.
    pub ping_sent: u64,
    /// Pings without an answer.
    pub ping_lost: u64,
    /// Longest time between two answers, milliseconds.
    pub ping_longest_gap_ms: f64,
    /// Lines sent over the one TCP connection.
    pub tcp_sent: u64,
    /// Lines that came back.
    pub tcp_echoed: u64,
    /// Whether every line came back in its order.
    pub tcp_in_order: bool,
    /// Longest time between two lines coming back, milliseconds.
    pub tcp_longest_gap_ms: f64,
    /// Gaps between lines coming back that were three intervals or longer.
    #[serde(default)]
    pub tcp_gaps: Vec<Gap>,
    /// What broke the TCP connection, if anything did.
    pub tcp_error: Option<String>,
}

impl ProbeReport {
    /// Whether the client lost nothing on its connection.
    pub fn is_unbroken(&self) -> bool {
        self.tcp_error.is_none() && self.tcp_in_order && self.tcp_sent == self.tcp_echoed
    }
}

/// A probe that runs in the background.
#[derive(Debug)]
pub struct ProbeHandle(Child);

impl Drop for ProbeHandle {
    fn drop(&mut self) {
        // A probe that nobody finishes ends with its input; it is reaped here.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl ProbeHandle {
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("start the probe")?;
        Ok(Self(child))
    }

    /// Ends the probe and returns what it saw.
    pub fn finish(mut self) -> anyhow::Result<ProbeReport> {
        // The end of its input tells the worker to stop.
        drop(self.0.stdin.take());
        let mut text = String::new();
        let mut out = self.0.stdout.take().context("the probe has no output")?;
        out.read_to_string(&mut text)?;
        self.0.wait()?;
        serde_json::from_str(&text).with_context(|| format!("the probe said `{text}`"))
    }
}

/// The worker: probes `address` every `interval` for `limit` or until its standard input
/// ends.
pub fn work(
    address: &str,
    limit: Option<Duration>,
    interval: Duration,
) -> anyhow::Result<ProbeReport> {
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let pinging = ping(address, interval)?;
    let tcp = {
        let (stop, address) = (Arc::clone(&stop), address.to_owned());
        std::thread::spawn(move || echo(&address, &stop, interval))
    };
    match limit {
        Some(limit) => std::thread::sleep(limit),
        None => {
            let mut sink = Vec::new();
            std::io::stdin().read_to_end(&mut sink)?;
        }
    }
    stop.store(true, Ordering::SeqCst);
    let seconds = begun.elapsed().as_secs_f64();
    let mut report = pinging.finish()?;
    if report.ping_lost == report.ping_sent {
        report.ping_longest_gap_ms = seconds * 1000.0;
    }
    let tcp = tcp.join().map_err(|_| anyhow::anyhow!("the TCP probe panicked"))?;
    report.seconds = begun.elapsed().as_secs_f64();
    report.tcp_sent = tcp.tcp_sent;
    report.tcp_echoed = tcp.tcp_echoed;
    report.tcp_in_order = tcp.tcp_in_order;
    report.tcp_longest_gap_ms = tcp.tcp_longest_gap_ms;
    report.tcp_gaps = tcp.tcp_gaps;
    report.tcp_error = tcp.tcp_error;
    if report.tcp_echoed == 0 {
        report.tcp_longest_gap_ms = seconds * 1000.0;
    }
    Ok(report)
}

struct Pinging {
    child: Child,
    reader: std::thread::JoinHandle<String>,
}

fn ping(address: &str, interval: Duration) -> anyhow::Result<Pinging> {
    let interval = interval.as_secs_f64().to_string();
    let mut child = Command::new("ping")
        .args(["-D", "-n", "-i", &interval, "-W", "5", address])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start ping; iputils-ping is needed")?;
    let out = child.stdout.take().context("ping has no output")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = BufReader::new(out).read_to_string(&mut text);
        text
    });
    Ok(Pinging { child, reader })
}

impl Pinging {
    fn finish(mut self) -> anyhow::Result<ProbeReport> {
        // Interrupted, ping prints its summary with what was sent. It is interrupted until it
        // hears it: one that has just been started does not yet, where its parents ignore the
        // signal.
        let pid = rustix::process::Pid::from_child(&self.child);
        while self.child.try_wait()?.is_none() {
            rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
            std::thread::sleep(AGAIN);
        }
        let text = self.reader.join().map_err(|_| anyhow::anyhow!("the ping reader panicked"))?;
        Ok(read_ping(&text))
    }
}

/// Reads `ping -D`: one line per answer, begun by its time, and a summary.
fn read_ping(text: &str) -> ProbeReport {
    let mut times: Vec<f64> = Vec::new();
    let mut report = ProbeReport::default();
    for line in text.lines() {
        if let Some((time, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            if line.contains("icmp_seq=") && line.contains("time=") {
                times.extend(time.parse::<f64>());
            }
        } else if let Some((sent, _)) = line.split_once(" packets transmitted") {
            report.ping_sent = sent.trim().parse().unwrap_or_default();
        }
    }
    report.ping_lost = report.ping_sent.saturating_sub(times.len() as u64);
    report.ping_longest_gap_ms =
        times.windows(2).map(|pair| (pair[1] - pair[0]) * 1000.0).fold(0.0, f64::max);
    report
}

/// Sends numbered lines and reads them back until it is told to stop.
fn echo(address: &str, stop: &AtomicBool, interval: Duration) -> ProbeReport {
    let mut report = ProbeReport { tcp_in_order: true, ..ProbeReport::default() };
    if let Err(error) = echo_on(address, stop, interval, &mut report) {
        report.tcp_error = Some(format!("{error:#}"));
    }
    report
}

fn echo_on(
    address: &str,
    stop: &AtomicBool,
    interval: Duration,
    report: &mut ProbeReport,
) -> anyhow::Result<()> {
    let target = (address, 7).to_socket_addrs()?.next().context("no address")?;
    let stream = TcpStream::connect_timeout(&target, Duration::from_secs(5)).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DRAIN))?;
    let mut sender = stream.try_clone()?;
    let sent = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let all_sent = Arc::new(AtomicBool::new(false));
    let reading = {
        let (sent, all_sent) = (Arc::clone(&sent), Arc::clone(&all_sent));
        let told = interval * WORTH_TELLING;
        std::thread::spawn(move || read_back(stream, &sent, &all_sent, told))
    };
    let mut next = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        let number = sent.fetch_add(1, Ordering::SeqCst);
        sender.write_all(format!("{number:010}\n").as_bytes()).context("send")?;
        next += interval;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    all_sent.store(true, Ordering::SeqCst);
    let back = reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
    report.tcp_sent = sent.load(Ordering::SeqCst);
    report.tcp_echoed = back.tcp_echoed;
    report.tcp_in_order = back.tcp_in_order;
    report.tcp_longest_gap_ms = back.tcp_longest_gap_ms;
    report.tcp_gaps = back.tcp_gaps;
    report.tcp_error = back.tcp_error;
    Ok(())
}

fn read_back(
    stream: TcpStream,
    sent: &std::sync::atomic::AtomicU64,
    all_sent: &AtomicBool,
    told: Duration,
) -> ProbeReport {
    let mut report = ProbeReport { tcp_in_order: true, ..ProbeReport::default() };
    let mut lines = BufReader::new(stream).lines();
    let mut last = Instant::now();
    loop {
        let complete = report.tcp_echoed == sent.load(Ordering::SeqCst);
        if all_sent.load(Ordering::SeqCst) && complete {
            return report;
        }
        if complete {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        match lines.next() {
            Some(Ok(line)) => {
                report.tcp_in_order &= line.parse() == Ok(report.tcp_echoed);
                let gap = last.elapsed();
                let ms = gap.as_secs_f64() * 1000.0;
                report.tcp_longest_gap_ms = report.tcp_longest_gap_ms.max(ms);
                if gap >= told && report.tcp_gaps.len() < MOST_GAPS {
                    report.tcp_gaps.push(Gap { ended: unix_seconds(), ms });
                }
                last = Instant::now();
                report.tcp_echoed += 1;
            }
            Some(Err(error)) => {
                report.tcp_error = Some(format!("read: {error}"));
                return report;
            }
            None => {
                report.tcp_error = Some("the guest closed the connection".to_owned());
                return report;
            }
        }
    }
}

fn unix_seconds() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ping_output_is_read() {
        let text = "PING 10.88.0.11 (10.88.0.11) 56(84) bytes of data.\n\
            [100.000] 64 bytes from 10.88.0.11: icmp_seq=1 ttl=64 time=0.4 ms\n\
            [100.050] 64 bytes from 10.88.0.11: icmp_seq=2 ttl=64 time=0.4 ms\n\
            [100.300] 64 bytes from 10.88.0.11: icmp_seq=7 ttl=64 time=0.4 ms\n\
            \n--- 10.88.0.11 ping statistics ---\n\
            7 packets transmitted, 3 received, 57% packet loss, time 300ms\n";
        let report = read_ping(text);
        assert_eq!((report.ping_sent, report.ping_lost), (7, 4));
        assert!((report.ping_longest_gap_ms - 250.0).abs() < 0.1);
    }

    #[test]
    fn a_lost_line_breaks_the_report() {
        let whole = ProbeReport {
            tcp_sent: 2,
            tcp_echoed: 2,
            tcp_in_order: true,
            ..ProbeReport::default()
        };
        assert!(whole.is_unbroken());
        assert!(!ProbeReport { tcp_echoed: 1, ..whole.clone() }.is_unbroken());
        assert!(!ProbeReport { tcp_in_order: false, ..whole }.is_unbroken());
    }
}
