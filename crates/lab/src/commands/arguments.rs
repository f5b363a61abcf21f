//! What drover-lab is told.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use drover_lab::fault::MoveBy;
use drover_lab::{GuestDisk, Locks, Network, Release, Releases};

/// Where a lab is unless said otherwise, and how it is called.
pub(super) const DEFAULT_DIR: &str = "/var/lib/drover-lab";
pub(super) const DEFAULT_NAME: &str = "lab";

/// A cluster of real hypervisors on one machine: for evaluation, drills and tests.
#[derive(Debug, Parser)]
#[command(name = "drover-lab", version, max_term_width = 100)]
pub(super) struct Arguments {
    /// Directory of the lab.
    #[arg(long, global = true, default_value = DEFAULT_DIR, env = "DROVER_LAB_DIR")]
    pub(super) dir: PathBuf,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Bring up a lab, or complete one.
    Up(Up),
    /// Take the lab down; nothing is left but the cached guest image.
    Down {
        /// Also remove the guest image.
        #[arg(long)]
        purge: bool,
    },
    /// Show hosts and guests.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a command inside a host or the controller.
    Exec {
        /// `h1`, `h2`, … or `controller`.
        host: String,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Run `drover` with the administrator's configuration.
    Drover {
        /// Arguments of `drover`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Give the lab guests of another kind.
    Guest {
        #[command(subcommand)]
        command: GuestCommand,
    },
    /// Cut a host's power: everything in it dies at once.
    PowerOff {
        /// The host, or `st`, the storage server.
        host: String,
    },
    /// Switch a host on.
    PowerOn {
        /// The host, or `st`, the storage server.
        host: String,
    },
    /// The hosts' BMCs, and what wakes them.
    Bmc {
        #[command(subcommand)]
        command: super::bmc::BmcCommand,
    },
    /// Pull or plug in a host's cable.
    Link {
        /// The host, or `st`, the storage server.
        host: String,
        /// `up` or `down`.
        state: UpDown,
        /// Which cable.
        #[arg(long, default_value = "management")]
        network: Network,
    },
    /// Keep a guest's vCPU busy.
    Load {
        /// The guest.
        guest: String,
        /// 0 to 100.
        percent: u8,
    },
    /// Let a guest dirty memory.
    Dirty {
        /// The guest.
        guest: String,
        /// MiB each second; 0 stops it.
        mib_per_s: u32,
        /// Size of the memory that is written over and over, MiB.
        #[arg(long, default_value_t = 16)]
        working_set: u32,
    },
    /// Let a guest write memory as a kernel does, so that a move which loses writes loses some
    /// of these.
    Watch {
        /// The guest.
        guest: String,
        /// 0 to 100 percent of its vCPU; 0 stops it.
        percent: u8,
    },
    /// Let a guest check its memory and its kernel's log; ends with 1 when something is wrong.
    Check {
        /// The guest.
        guest: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check that live moves by a release's QEMU lose no memory on this machine: two bare QEMUs,
    /// no lab. Ends with 1 when they do.
    CheckMachine {
        /// Whose QEMU.
        #[arg(long, value_enum, default_value = "trixie")]
        release: Release,
        /// How many moves; each takes some seconds.
        #[arg(long, default_value_t = 20)]
        moves: u64,
        /// For so many percent of its vCPU the guest writes memory as a kernel does.
        #[arg(long, default_value_t = 80)]
        watch: u8,
    },
    /// Look at a guest as a client does: ping and an ordered TCP echo.
    Probe {
        /// The guest.
        guest: String,
        /// For how long.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a shell command in a guest.
    GuestExec {
        /// The guest.
        guest: String,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Kill a daemon with SIGKILL; it starts again by itself.
    Restart {
        /// `controller`, `agent` or `libvirtd`.
        what: Restarted,
        /// The host, for `agent` and `libvirtd`.
        host: Option<String>,
    },
    /// Show the main job: three hosts, a rule, a load, a live migration, a client that
    /// notices nothing. Takes everything down afterwards.
    Demo {
        /// Leave the cluster running.
        #[arg(long)]
        keep: bool,
        /// Show power instead: a host that sleeps is woken by a magic packet when another draws
        /// too much, takes a guest, and sleeps again.
        #[arg(long)]
        power: bool,
    },
    /// Move a guest and lose the reply that says that it has arrived: does it run twice?
    /// Takes up to two minutes; ends with 1 when it does.
    LoseReply {
        /// The guest.
        guest: String,
        /// The target.
        #[arg(long)]
        to: String,
        /// Who moves it.
        #[arg(long, value_enum, default_value = "virsh")]
        by: MoveBy,
    },
    #[command(hide = true)]
    HostInit {
        #[arg(long)]
        member: String,
    },
    #[command(hide = true)]
    CheckMachineWorker { check: String },
    #[command(hide = true)]
    HearWorker,
    #[command(hide = true)]
    ProbeWorker {
        #[arg(long)]
        address: String,
        #[arg(long)]
        seconds: Option<u64>,
        #[arg(long, default_value_t = 50)]
        interval_ms: u64,
    },
    #[command(hide = true)]
    ProxyWorker {
        #[arg(long)]
        listen: String,
        #[arg(long)]
        server: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum GuestCommand {
    /// Define one more guest and start it.
    Add {
        /// `vm` and a number, e.g. `vm20`.
        guest: String,
        /// The host that it starts on.
        #[arg(long, default_value = "h1")]
        host: String,
        /// Where its disk is.
        #[arg(long, value_enum, default_value_t)]
        disk: GuestDisk,
        /// Its definition names a lease.
        #[arg(long)]
        lease: bool,
        /// Define it and leave it off.
        #[arg(long)]
        off: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum UpDown {
    Up,
    Down,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Restarted {
    Controller,
    Agent,
    Libvirtd,
}

#[derive(Debug, clap::Args)]
pub(super) struct Up {
    /// Number of hosts.
    #[arg(long, default_value_t = 3)]
    pub(super) hosts: u8,
    /// Number of guests.
    #[arg(long, default_value_t = 6)]
    pub(super) guests: u8,
    /// First part of the namespaces' names.
    #[arg(long, default_value = DEFAULT_NAME)]
    pub(super) name: String,
    /// Cores that count as 100 % of a host.
    #[arg(long, default_value_t = 1.0)]
    pub(super) host_cores: f64,
    /// Memory budget of a host, MiB.
    #[arg(long, default_value_t = 2048)]
    pub(super) host_memory: u64,
    /// Memory of a guest, MiB.
    #[arg(long, default_value_t = 128)]
    pub(super) guest_memory: u64,
    /// Agents sample so often.
    #[arg(long, default_value = "2s")]
    pub(super) sample_interval: String,
    /// Where the disks of the lab's own guests are.
    #[arg(long, value_enum, default_value_t)]
    pub(super) storage: GuestDisk,
    /// The definitions of the lab's own guests name leases.
    #[arg(long)]
    pub(super) lease: bool,
    /// The lock daemon of every host.
    #[arg(long, value_enum, default_value_t)]
    pub(super) locks: Locks,
    /// Give every host a BMC (IPMI and Redfish) and a network card that wakes it.
    #[arg(long)]
    pub(super) bmc: bool,
    /// Debian releases that the hosts run.
    #[arg(long, value_enum, default_value_t)]
    pub(super) release: Releases,
    /// Give guests plain memory also where a host's QEMU loses pages of it in live moves, as
    /// that of bookworm does. By default such guests get 8 KiB more, which avoids it.
    #[arg(long)]
    pub(super) plain_memory: bool,
    /// Hypervisors and guests only: no droverd, no agents.
    #[arg(long)]
    pub(super) bare: bool,
    /// Directory of Drover's programs; default: where drover-lab is.
    #[arg(long)]
    pub(super) bin_dir: Option<PathBuf>,
}
