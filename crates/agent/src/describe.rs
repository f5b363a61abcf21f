//! Keeps the description of what the host can do current.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use drover_model::{HostCapabilities, HostId, PowerSource};
use drover_ports::{HostDescription, Hypervisor, HypervisorError, HypervisorEvent};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::config::Config;
use crate::observe::capabilities::{Machine, capabilities};
use crate::observe::power::meter::PowerMeter;

/// How often the host is described anew: pools, networks and versions change while it runs.
const INTERVAL: Duration = Duration::from_secs(600);

/// How long after the agent's start a host may still be getting what it needs: file servers
/// and bridges come after libvirt, and whoever woke the host waits for them.
const SETTLES: Duration = Duration::from_secs(600);

/// The same for a host with a pool or network that is not started: somebody may mend it. Many
/// have one that never is, and a description takes libvirt some milliseconds.
const LACKING_INTERVAL: Duration = Duration::from_secs(60);

/// How soon to ask again while a host settles, or when libvirt did not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Longest wait for libvirt's answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long to wait at start for the connection to libvirt, which is made in the background.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// How often to look for it.
const FIRST_INTERVAL: Duration = Duration::from_millis(50);

/// Describes the host as soon as the connection is there.
pub(crate) async fn first_description(
    hypervisor: &dyn Hypervisor,
) -> Result<HostDescription, HypervisorError> {
    let deadline = Instant::now() + FIRST_PATIENCE;
    loop {
        match hypervisor.describe().await {
            Err(HypervisorError::Retry(_)) if Instant::now() < deadline => {
                sleep(FIRST_INTERVAL).await;
            }
            answer => return answer,
        }
    }
}

/// Describes the host.
pub(crate) struct Describer {
    pub(crate) config: Config,
    pub(crate) host: HostId,
    pub(crate) hypervisor: Arc<dyn Hypervisor>,
    pub(crate) published: watch::Sender<HostCapabilities>,
    power: Arc<PowerMeter>,
    last: Option<HostDescription>,
    begun: Instant,
}

impl Describer {
    pub(crate) fn new(
        config: Config,
        host: HostId,
        hypervisor: Arc<dyn Hypervisor>,
        power: Arc<PowerMeter>,
    ) -> (Self, watch::Receiver<HostCapabilities>) {
        let (published, capabilities) = watch::channel(HostCapabilities::default());
        let (last, begun) = (None, Instant::now());
        (Self { config, host, hypervisor, published, power, last, begun }, capabilities)
    }

    /// Describes it for the first time. Goes on without libvirt if that does not answer.
    pub(crate) async fn begin(&mut self) -> Result<()> {
        let _ = first_description(&*self.hypervisor).await;
        self.refresh().await
    }

    /// Describes it now. What libvirt does not tell stays as it was; an error means that this
    /// is not the host that joined.
    async fn refresh(&mut self) -> Result<()> {
        match timeout(TIMEOUT, self.hypervisor.describe()).await {
            Ok(Ok(description)) => {
                check_identity(self.host, description.id)?;
                self.last = Some(description);
            }
            Ok(Err(error)) => warn!(%error, "libvirt does not describe this host"),
            Err(_) => warn!("libvirt has not described this host for {TIMEOUT:?}"),
        }
        let description = self.last.clone().unwrap_or_default();
        let power = Arc::clone(&self.power);
        let read = move || (Machine::read(), power.look());
        let (machine, sources) = tokio::task::spawn_blocking(read).await?;
        let fresh = capabilities(description, machine, sources, &self.config);
        self.published.send_if_modified(|known| {
            let changed = *known != fresh;
            *known = fresh;
            changed
        });
        Ok(())
    }

    /// Keeps it current until it turns out that this is another host.
    pub(crate) async fn run(mut self) -> Result<std::convert::Infallible> {
        let mut events = self.hypervisor.events();
        let mut sources = self.power.present();
        loop {
            tokio::select! {
                () = sleep(pause(self.last.as_ref(), self.begun.elapsed())) => {}
                () = reconnected(&mut events) => {}
                () = changed(&mut sources) => {}
            }
            self.refresh().await?;
        }
    }
}

/// How long what was described is taken for true.
fn pause(last: Option<&HostDescription>, age: Duration) -> Duration {
    let is_whole = |of: &HostDescription| {
        of.pools.iter().all(|pool| pool.active) && of.networks.iter().all(|one| one.active)
    };
    match last {
        None => RETRY_INTERVAL,
        Some(_) if age < SETTLES => RETRY_INTERVAL,
        Some(last) if !is_whole(last) => LACKING_INTERVAL,
        Some(_) => INTERVAL,
    }
}

fn check_identity(joined: HostId, found: Option<HostId>) -> Result<()> {
    match found {
        Some(found) if found != joined => bail!(
            "this host joined as {joined}, but libvirt says it is {found}\n\
             hint: a copied state directory, or a changed host UUID; join again"
        ),
        _ => Ok(()),
    }
}

/// Waits until another source measures power.
async fn changed(sources: &mut watch::Receiver<Vec<PowerSource>>) {
    if sources.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn reconnected(events: &mut tokio::sync::broadcast::Receiver<HypervisorEvent>) {
    loop {
        match events.recv().await {
            Ok(HypervisorEvent::Connected) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use drover_model::PoolDescription;

    use super::*;

    #[test]
    fn a_host_that_is_not_whole_yet_is_looked_at_often() {
        let pool = |active| PoolDescription {
            name: "fast".to_owned(),
            kind: "netfs".to_owned(),
            path: None,
            active,
        };
        let with = |active| HostDescription { pools: vec![pool(active)], ..Default::default() };
        let (whole, lacking) = (with(true), with(false));
        assert_eq!(pause(Some(&whole), SETTLES), INTERVAL);
        assert_eq!(pause(Some(&whole), Duration::ZERO), RETRY_INTERVAL, "it has just started");
        assert_eq!(pause(Some(&lacking), SETTLES), LACKING_INTERVAL, "its pool may come any time");
        assert_eq!(pause(None, SETTLES), RETRY_INTERVAL, "libvirt did not answer");
    }

    #[test]
    fn a_copied_state_directory_is_found_out() {
        let (one, other) = (HostId::from_u128(1), HostId::from_u128(2));
        assert!(check_identity(one, Some(one)).is_ok());
        assert!(check_identity(one, None).is_ok());
        let error = check_identity(one, Some(other)).unwrap_err().to_string();
        assert!(error.contains("join again"), "{error}");
    }
}
