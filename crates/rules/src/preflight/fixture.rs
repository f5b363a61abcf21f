//! A move that nothing speaks against, to be spoilt by tests.

use drover_model::{
    CpuFit, DiskCopy, Guest, GuestInspection, Host, IncomingCheck, Medium, MigrationSettings,
    PortOutcome, PortProbe, PortPurpose,
};
use drover_testkit::{guest, host};

use super::{CHECKS, Facts, Severity, Told, Trouble};
use crate::constraint::Constraint;
use crate::{Initiative, Refusal};

pub(super) struct Case {
    pub(super) guest: Guest,
    pub(super) source: Host,
    pub(super) target: Host,
    pub(super) initiative: Initiative,
    pub(super) settings: MigrationSettings,
    pub(super) copies: Vec<DiskCopy>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) inspection: GuestInspection,
    pub(super) incoming: IncomingCheck,
    pub(super) ports: Vec<PortProbe>,
    pub(super) skew_ms: Option<i64>,
}

impl Case {
    pub(super) fn new() -> Self {
        let (source, target) = (host(1, 4.0, 16), host(2, 4.0, 16));
        let guest = guest(1, 1, 1024);
        let probe = |purpose, port| PortProbe {
            purpose,
            address: "10.77.0.2".to_owned(),
            port,
            outcome: PortOutcome::Open,
        };
        Self {
            inspection: GuestInspection {
                guest: guest.clone(),
                host_uuid: Some(source.id),
                cpu_xml: Some("<cpu/>".to_owned()),
                cpu_features: vec!["avx".to_owned()],
                hugepages_kib: vec![],
                media: vec![Medium {
                    target: "vda".to_owned(),
                    device: "disk".to_owned(),
                    ..Medium::default()
                }],
                ties: vec![],
                files: vec![],
            },
            incoming: IncomingCheck {
                host_uuid: Some(target.id),
                cpu: CpuFit::Fits,
                hugepages: vec![],
                missing_paths: vec![],
            },
            ports: vec![
                probe(PortPurpose::MigrationData, 49215),
                probe(PortPurpose::Libvirt, 16514),
            ],
            skew_ms: Some(12),
            initiative: Initiative::Own,
            settings: MigrationSettings::default(),
            copies: vec![],
            refusals: vec![],
            guest,
            source,
            target,
        }
    }

    pub(super) fn refuse(&mut self, constraint: Constraint, reason: &str) {
        self.refusals.push(Refusal { constraint, reason: reason.to_owned() });
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            guest: &self.guest,
            source: &self.source,
            target: &self.target,
            initiative: self.initiative,
            settings: &self.settings,
            copies: &self.copies,
            refusals: &self.refusals,
            inspection: Told::This(&self.inspection),
            incoming: Told::This(&self.incoming),
            ports: Told::This(&self.ports),
            skew_ms: self.skew_ms,
        }
    }

    /// What one check says.
    pub(super) fn told_by(&self, name: &str) -> Vec<(Severity, String)> {
        let (_, check) = CHECKS.iter().find(|(check, _)| *check == name).unwrap();
        let told = |trouble: Trouble| (trouble.severity, trouble.cause);
        check(&self.facts()).into_iter().map(told).collect()
    }

    /// What one check says, if it says one thing.
    pub(super) fn says(&self, name: &str) -> Option<(Severity, String)> {
        let mut told = self.told_by(name);
        assert!(told.len() < 2, "{told:?}");
        told.pop()
    }
}
