//! Questions about guests and CPUs, put to the hypervisor and to the kernel.

use std::path::Path;

use drover_agent_api::v1::query_answer::Answer;
use drover_agent_api::v1::{
    BaselineCpu, CheckIncoming, CpuDefined, DefineCpu, DescribeCpu, Failure, FailureKind,
    InspectGuest,
};
use drover_model::{
    CpuFingerprint, CpuFit, CpuOffer, CpuPlatform, Epoch, FreePages, GuestId, IncomingCheck,
    IncomingQuestion, NamedCpu,
};
use drover_ports::{CpuCounts, HypervisorError};
use serde::de::DeserializeOwned;

use super::Queries;
use super::kernel;
use crate::command::failure::{failure, of_hypervisor};
use crate::observe::capabilities::Machine;

/// Longest list of CPUs for one baseline: libvirt takes time for each, and larger groups of
/// hosts are no group.
const MAX_CPUS: usize = 512;

/// Longest list of paths that are looked for.
const MAX_PATHS: usize = 1024;

impl Queries {
    pub(super) async fn inspect_guest(&self, asked: &InspectGuest) -> Result<Answer, Failure> {
        let guest = id(&asked.guest_id)?;
        let found = self.commands.hypervisor.inspect_guest(guest).await;
        let mut found = found.map_err(|error| of_hypervisor(&error))?;
        found.guest.host = self.commands.host;
        Ok(Answer::GuestJson(encode(&found)))
    }

    pub(super) async fn check_incoming(&self, asked: &CheckIncoming) -> Result<Answer, Failure> {
        let question: IncomingQuestion = decode(&asked.question_json)?;
        if question.paths.len() > MAX_PATHS {
            return Err(failure(FailureKind::Refused, format!("more than {MAX_PATHS} paths")));
        }
        let hypervisor = &self.commands.hypervisor;
        let described = hypervisor.describe().await.map_err(|error| of_hypervisor(&error))?;
        let cpu = match &question.cpu_xml {
            None => CpuFit::Fits,
            Some(cpu) => match hypervisor.compare_cpu(&question.platform, cpu).await {
                Ok(fit) => fit,
                Err(
                    error @ (HypervisorError::Retry(_)
                    | HypervisorError::Cancelled(_)
                    | HypervisorError::Gone(_)),
                ) => return Err(of_hypervisor(&error)),
                Err(error) => CpuFit::Unknown { why: error.to_string() },
            },
        };
        let looked = tokio::task::spawn_blocking(move || {
            let missing = |path: &String| !Path::new(path).exists();
            (kernel::free_huge_pages(), question.paths.into_iter().filter(missing).collect())
        });
        let (hugepages, missing_paths): (Vec<FreePages>, Vec<String>) =
            looked.await.map_err(|error| failure(FailureKind::Broken, error.to_string()))?;
        let host_uuid = described.id;
        Ok(Answer::IncomingJson(encode(&IncomingCheck {
            host_uuid,
            cpu,
            hugepages,
            missing_paths,
        })))
    }

    pub(super) async fn describe_cpu(&self, asked: &DescribeCpu) -> Result<Answer, Failure> {
        let platform: CpuPlatform = decode(&asked.platform_json)?;
        let hypervisor = &self.commands.hypervisor;
        let described = hypervisor.describe().await.map_err(|error| of_hypervisor(&error))?;
        let host_model = hypervisor.host_model_cpu(&platform).await;
        let host_model = host_model.map_err(|error| of_hypervisor(&error))?;
        let machine = Machine::read();
        let fingerprint = CpuFingerprint {
            model: described.cpu.model,
            microcode: described.cpu.microcode.or(machine.microcode),
            kernel: machine.kernel,
            kernel_options: kernel::options(),
            kvm: kernel::kvm_parameters(Path::new("/sys/module")),
            qemu: described.qemu,
            libvirt: described.libvirt,
        };
        Ok(Answer::CpuOfferJson(encode(&CpuOffer { host_model, fingerprint })))
    }

    pub(super) async fn baseline_cpu(&self, asked: &BaselineCpu) -> Result<Answer, Failure> {
        let platform: CpuPlatform = decode(&asked.platform_json)?;
        let cpus: Vec<NamedCpu> = decode(&asked.cpus_json)?;
        if cpus.len() > MAX_CPUS {
            return Err(failure(FailureKind::Refused, format!("more than {MAX_CPUS} CPUs")));
        }
        let baseline = self.commands.hypervisor.baseline_cpu(&platform, &cpus).await;
        Ok(Answer::BaselineJson(encode(&baseline.map_err(|error| of_hypervisor(&error))?)))
    }

    /// The one question that writes, so it passes the epoch gate as commands do: a controller
    /// that has been overtaken must not write.
    pub(super) async fn define_cpu(&self, asked: &DefineCpu) -> Result<Answer, Failure> {
        let (guest, cpu): (GuestId, NamedCpu) = (id(&asked.guest_id)?, decode(&asked.cpu_json)?);
        self.commands.admit(guest, Epoch(asked.epoch)).await?;
        let counts = self.commands.hypervisor.define_cpu(guest, &cpu).await;
        let counts = counts.map_err(|error| of_hypervisor(&error))?;
        let at_next_start = counts == CpuCounts::AtNextStart;
        Ok(Answer::CpuDefined(CpuDefined { at_next_start }))
    }
}

fn id(text: &str) -> Result<GuestId, Failure> {
    text.parse().map_err(|error: drover_model::ParseIdError| {
        failure(FailureKind::Refused, error.to_string())
    })
}

fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(json)
        .map_err(|error| failure(FailureKind::Refused, format!("unreadable: {error}")))
}

/// JSON of the model's types cannot fail: they have no maps with other keys than strings.
fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
