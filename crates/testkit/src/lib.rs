//! Fixtures shared by tests: clusters that read like a table.

use std::collections::BTreeMap;

use drover_model::{
    Bytes, ClusterView, Cores, CpuDescription, Disk, DiskSource, Guest, GuestId, GuestState,
    GuestView, Host, HostCapabilities, HostId, HostState, HostView, LineBasis, Metric, Mib,
    NetworkDescription, Nic, NicSource, PowerLine, Reading, Timestamp, Vcpus,
};

/// The moment at which fixture pictures are taken.
pub const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Host number `n`.
pub const fn host_id(n: u128) -> HostId {
    HostId::from_u128(n)
}

/// Guest number `n`.
pub const fn guest_id(n: u128) -> GuestId {
    GuestId::from_u128(0x6000 + n)
}

/// A host `hN` with so many cores and GiB, all alike otherwise.
pub fn host(n: u128, cores: f64, memory_gib: u64) -> Host {
    Host {
        id: host_id(n),
        name: format!("h{n}"),
        state: HostState::Online,
        last_seen: NOW,
        capabilities: HostCapabilities {
            cpu: CpuDescription {
                arch: "x86_64".to_owned(),
                model: "EPYC".to_owned(),
                vendor: "AMD".to_owned(),
                features: vec![],
                microcode: Some("0x1".to_owned()),
            },
            cores: Cores(cores),
            memory: Bytes(memory_gib << 30),
            kernel: "6.1.0".to_owned(),
            qemu: "7.2.22".to_owned(),
            libvirt: "9.0.0".to_owned(),
            virt_types: vec!["kvm".to_owned(), "qemu".to_owned()],
            machine_types: vec!["pc-q35-7.2".to_owned()],
            pools: vec![],
            networks: vec![NetworkDescription {
                name: "br0".to_owned(),
                kind: "bridge".to_owned(),
                active: true,
            }],
            shared_paths: vec!["/srv/shared".to_owned()],
            migration_tls: false,
            lock_manager: None,
            nics: vec![],
            power_sources: vec![],
        },
        migration_address: format!("10.77.0.{n}"),
        peer_uri: format!("qemu+tls://10.77.0.{n}/system"),
        agent_version: "0.1.0".to_owned(),
    }
}

/// A running guest `vmN` on host `on` with one disk on shared storage.
pub fn guest(n: u128, on: u128, memory_mib: u64) -> Guest {
    Guest {
        id: guest_id(n),
        name: format!("vm{n}"),
        host: host_id(on),
        state: GuestState::Running,
        vcpus: Vcpus(4),
        memory: Mib(memory_mib),
        current_memory: Mib(memory_mib),
        virt_type: "kvm".to_owned(),
        qemu: None,
        arch: "x86_64".to_owned(),
        machine: "pc-q35-7.2".to_owned(),
        cpu_mode: "custom".to_owned(),
        cpu_model: Some("qemu64".to_owned()),
        disks: vec![Disk {
            cache: Some("none".to_owned()),
            ..Disk::new("vda", DiskSource::File { path: format!("/srv/shared/vm{n}.img") })
        }],
        leases: Vec::new(),
        nics: vec![Nic {
            mac: format!("52:54:00:88:00:{n:02x}"),
            source: NicSource::Bridge { name: "br0".to_owned() },
            tap: Some(format!("vnet{n}")),
            addresses: vec![],
        }],
        host_devices: 0,
        persistent: true,
    }
}

/// A value measured just now.
pub const fn known(value: f64) -> Reading {
    Reading::Known { value, samples: 24, newest: NOW }
}

/// Builds a picture of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    view: ClusterView,
}

impl Cluster {
    /// An empty cluster, seen at [`NOW`].
    pub fn new() -> Self {
        Self { view: ClusterView { at: NOW, ..ClusterView::default() } }
    }

    /// Adds host `hN` with cores and memory, its CPU use in percent and free memory in GiB.
    #[must_use]
    pub fn host(self, n: u128, cores: f64, gib: u64, cpu_percent: f64, free_gib: f64) -> Self {
        let readings = BTreeMap::from([
            (Metric::CpuUsageActive, known(cpu_percent)),
            (Metric::MemAvailable, known(free_gib * f64::from(1u32 << 30))),
        ]);
        self.host_view(HostView { host: host(n, cores, gib), readings, lines: BTreeMap::new() })
    }

    /// Adds or replaces a host.
    #[must_use]
    pub fn host_view(mut self, view: HostView) -> Self {
        self.view.hosts.insert(view.host.id, view);
        self
    }

    /// Adds guest `vmN` on host `on`, using so many host cores and MiB.
    #[must_use]
    pub fn guest(self, n: u128, on: u128, memory_mib: u64, cores: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "fixture sizes are small")]
        let resident = (memory_mib << 20) as f64;
        let readings = BTreeMap::from([
            (Metric::GuestCpuCores, known(cores)),
            (Metric::GuestResident, known(resident)),
        ]);
        self.guest_view(GuestView { guest: guest(n, on, memory_mib), readings, last_moved: None })
    }

    /// Adds or replaces a guest.
    #[must_use]
    pub fn guest_view(mut self, view: GuestView) -> Self {
        self.view.guests.insert(view.guest.id, view);
        self
    }

    /// Says what host `hN` draws now, and the line that was learned of it.
    #[must_use]
    pub fn power(mut self, n: u128, watts: f64, idle: f64, full: f64) -> Self {
        let learned =
            LineBasis::Learned { points: 1440, least_use: 0.0, most_use: 1.0, error: 1.0 };
        if let Some(host) = self.view.hosts.get_mut(&host_id(n)) {
            host.readings.insert(Metric::PowerWatts, known(watts));
            host.lines.insert(Metric::PowerWatts, PowerLine { idle, full, basis: learned });
        }
        self
    }

    /// Changes the picture by hand.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut ClusterView)) -> Self {
        change(&mut self.view);
        self
    }

    /// The picture.
    pub fn view(self) -> ClusterView {
        self.view
    }
}
