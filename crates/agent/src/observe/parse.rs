//! Parsers of the kernel's text files. Pure: text in, numbers out, none when the kernel does
//! not tell.

use std::collections::BTreeMap;

/// CPU time of the whole machine since boot, in clock ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTicks {
    /// Neither idle nor waiting for IO.
    pub active: u64,
    /// Idle or waiting for IO.
    pub inactive: u64,
}

/// Memory of the whole machine, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryFile {
    /// Installed.
    pub total: u64,
    /// To be had without swapping.
    pub available: u64,
    /// Swap in use.
    pub swap_used: u64,
}

/// Bytes in and out since some beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InOut {
    /// Received or read.
    pub input: u64,
    /// Sent or written.
    pub output: u64,
}

/// What `/proc/[pid]/stat` tells of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// User and system time, clock ticks.
    pub cpu_ticks: u64,
    /// When it started, clock ticks since boot.
    pub started: u64,
}

/// /proc/stat. Steal is in neither part: time that somebody else took from this machine is
/// neither its load nor its capacity. Guest time is part of user time already.
pub fn cpu_ticks(stat: &str) -> Option<CpuTicks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> =
        line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, idle, iowait, irq, softirq, ..] = fields[..] else { return None };
    Some(CpuTicks { active: user + nice + system + irq + softirq, inactive: idle + iowait })
}

/// How many processors /proc/stat has lines for: those online.
pub fn cpu_count(stat: &str) -> usize {
    stat.lines()
        .filter_map(|line| line.strip_prefix("cpu"))
        .filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        .count()
}

/// /proc/meminfo.
pub fn memory(meminfo: &str) -> Option<MemoryFile> {
    let swap_used = match (kibibytes(meminfo, "SwapTotal"), kibibytes(meminfo, "SwapFree")) {
        (Some(total), Some(free)) => total.saturating_sub(free),
        _ => 0,
    };
    Some(MemoryFile {
        total: kibibytes(meminfo, "MemTotal")?,
        available: kibibytes(meminfo, "MemAvailable")?,
        swap_used,
    })
}

/// Line `key:  N kB` of /proc/meminfo or `/proc/[pid]/status`, in bytes.
pub fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let number: u64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(number << 10)
}

/// `avg10` of the `some` line of /proc/pressure/* or of a control group's *.pressure.
pub fn pressure_some(pressure: &str) -> Option<f64> {
    let line = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split_ascii_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

/// /proc/net/dev: bytes by interface.
pub fn network(dev: &str) -> BTreeMap<String, InOut> {
    dev.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let mut fields = rest.split_ascii_whitespace();
            let input = fields.next()?.parse().ok()?;
            let output = fields.nth(7)?.parse().ok()?;
            Some((name.trim().to_owned(), InOut { input, output }))
        })
        .collect()
}

/// /proc/diskstats: bytes by device, partitions among them. A sector is 512 bytes here,
/// whatever the device says.
pub fn disks(diskstats: &str) -> BTreeMap<String, InOut> {
    diskstats
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(2);
            let name = fields.next()?.to_owned();
            let read: u64 = fields.nth(2)?.parse().ok()?;
            let written: u64 = fields.nth(3)?.parse().ok()?;
            Some((name, InOut { input: read << 9, output: written << 9 }))
        })
        .collect()
}

/// `/proc/[pid]/stat`. The name in it may hold spaces and brackets; the last `)` ends it.
pub fn process(stat: &str) -> Option<ProcessStat> {
    let (_, rest) = stat.rsplit_once(')')?;
    // Field 3, the state, is the first here.
    let mut fields = rest.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let started = fields.nth(6)?.parse().ok()?;
    Some(ProcessStat { cpu_ticks: user + system, started })
}

/// `/proc/[pid]/status`: memory that is this process's own, not pages of files that the kernel
/// can drop, bytes.
pub fn process_memory(status: &str) -> Option<u64> {
    let anonymous = kibibytes(status, "RssAnon")?;
    Some(anonymous + kibibytes(status, "RssShmem").unwrap_or(0))
}

/// `/proc/[pid]/io`: bytes that really went to and from disks.
pub fn process_io(io: &str) -> Option<InOut> {
    let field = |key: &str| {
        io.lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|number| number.trim().parse::<u64>().ok())
    };
    Some(InOut { input: field("read_bytes:")?, output: field("write_bytes:")? })
}

/// /proc/uptime: clock ticks since boot.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "ticks since boot are far below 2^53"
)]
pub fn uptime_ticks(uptime: &str, ticks_per_second: u64) -> Option<u64> {
    let seconds: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    Some((seconds * ticks_per_second as f64) as u64)
}

/// Line `key N` of cpu.stat or memory.stat of a control group.
pub fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?.trim().parse().ok()
}

/// `microcode` of /proc/cpuinfo.
pub fn microcode(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("microcode"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// `lock_manager` of libvirt's qemu.conf. libvirt's own default, `nop`, is none.
pub fn lock_manager(qemu_conf: &str) -> Option<String> {
    let mut set = qemu_conf.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "lock_manager").then(|| value.trim().trim_matches('"').to_owned())
    });
    set.next_back().filter(|name| !name.is_empty() && name != "nop")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lock_manager_that_is_set_counts() {
        for (text, name) in [
            ("lock_manager = \"lockd\"\n", Some("lockd")),
            ("user = \"root\"\nlock_manager=\"sanlock\"", Some("sanlock")),
            ("#lock_manager = \"lockd\"\n", None),
            ("lock_manager = \"nop\"\n", None),
            ("", None),
        ] {
            assert_eq!(lock_manager(text).as_deref(), name, "{text}");
        }
    }

    const STAT: &str = "cpu  18209 5 7709 1017947 1165 3 76 17 40 0\n\
        cpu0 8430 0 3183 510606 248 0 21 6 0 0\n\
        cpu1 9778 0 4525 507340 917 0 55 10 0 0\n\
        intr 357628 0 0 0\nctxt 1\nbtime 1\nprocesses 2\n";
    const MEMINFO: &str = "MemTotal:       24684092 kB\nMemFree:        24458248 kB\n\
        MemAvailable:   24392416 kB\nSwapTotal:          2048 kB\nSwapFree:           1024 kB\n";
    const NET: &str = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
        lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0\n  \
        eth0: 214072604    9591    0    0    0     0          0         0   742895    5964    0    0    0     0       0          0\n";
    const DISKS: &str = "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n \
        254       0 vda 59843 19216 16962138 63602 15739 39194 4832328 7337 0 14420 71532 6987 46 492064 526 2172 66\n \
        254       1 vda1 1 2 3 4 5 6 7 8 9 10 11\n";
    const PID: &str = "13671 (a b) c) R 13662 13662 10660 0 -1 4194304 100 0 0 0 12 30 0 0 20 0 1 0 523583 3133440 380 18446744073709551615 94399507353600 0\n";

    #[test]
    fn cpu_time_is_split_in_active_and_inactive_without_steal() {
        assert_eq!(
            cpu_ticks(STAT),
            Some(CpuTicks { active: 18209 + 5 + 7709 + 3 + 76, inactive: 1_017_947 + 1165 })
        );
        assert_eq!(cpu_count(STAT), 2);
        for bad in ["", "cpu  1 2 3\n", "cpu0 1 2 3 4 5 6 7 8\n"] {
            assert_eq!(cpu_ticks(bad), None, "{bad}");
        }
    }

    #[test]
    fn memory_is_in_bytes_and_absent_swap_is_none_used() {
        let file = memory(MEMINFO).unwrap();
        assert_eq!(file.total, 24_684_092 << 10);
        assert_eq!(file.available, 24_392_416 << 10);
        assert_eq!(file.swap_used, 1 << 20);
        assert_eq!(memory("MemTotal: 1 kB\nMemAvailable: 1 kB\n").unwrap().swap_used, 0);
        assert_eq!(memory("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn pressure_is_the_ten_second_average_of_some() {
        let text = "some avg10=1.25 avg60=0.00 avg300=0.05 total=18830668\n\
                    full avg10=9.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(pressure_some(text), Some(1.25));
        assert_eq!(pressure_some(""), None);
    }

    #[test]
    fn interfaces_and_disks_are_listed_with_bytes() {
        let network = network(NET);
        assert_eq!(network.len(), 2);
        assert_eq!(network["eth0"], InOut { input: 214_072_604, output: 742_895 });
        let disks = disks(DISKS);
        assert_eq!(disks.len(), 3);
        assert_eq!(disks["vda"], InOut { input: 16_962_138 * 512, output: 4_832_328 * 512 });
    }

    #[test]
    fn a_process_name_may_hold_anything() {
        assert_eq!(process(PID), Some(ProcessStat { cpu_ticks: 42, started: 523_583 }));
        assert_eq!(process("1 (x) R 1 2"), None);
    }

    #[test]
    fn process_memory_leaves_file_pages_out() {
        let status = "VmRSS: 9 kB\nRssAnon:\t     112 kB\nRssFile:\t 1636 kB\nRssShmem:\t 8 kB\n";
        assert_eq!(process_memory(status), Some(120 << 10));
        // A kernel thread has no such lines.
        assert_eq!(process_memory("Name: kthreadd\n"), None);
        let io = "rchar: 6976\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n";
        assert_eq!(process_io(io), Some(InOut { input: 4096, output: 8192 }));
    }

    #[test]
    fn small_files_are_read() {
        assert_eq!(uptime_ticks("5235.84 10179.48\n", 100), Some(523_584));
        assert_eq!(keyed("usage_usec 12\nuser_usec 3\n", "usage_usec"), Some(12));
        assert_eq!(keyed("usage_usec 12\n", "usage"), None);
        assert_eq!(microcode("flags : x\nmicrocode\t: 0x1\n"), Some("0x1".to_owned()));
    }
}
