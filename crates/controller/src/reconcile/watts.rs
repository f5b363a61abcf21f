//! Asks BMCs what their hosts draw, where settings say that they measure.
//!
//! Each BMC is asked by a task of its own, so that a dead one holds up nobody; a host that is
//! parked is asked as well: what it draws while it is off is part of the bill. One that refuses
//! the login is left alone for a while, or it might lock the account.

use async_trait::async_trait;
use drover_model::{HostId, Metric};
use drover_ports::{Entity, SamplePoint};

use super::Reconcile;
use crate::power::{BmcAnswer, HostTasks, Switchboard, is_measured};

/// BMCs that are asked at once: each holds a process or a TLS connection meanwhile.
const MOST_AT_ONCE: usize = 32;

/// See the module.
#[derive(Debug)]
pub struct MeasureBmcs {
    /// Where BMCs are asked.
    pub board: Switchboard,
    /// BMCs that are being asked.
    pub tasks: HostTasks,
}

#[async_trait]
impl Reconcile for MeasureBmcs {
    fn name(&self) -> &'static str {
        "measure-bmcs"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        let now = self.board.clock.now();
        let forbidden = |host: HostId| {
            let last = self.board.watts.last(host);
            last.is_some_and(|last| last.forbids_more(now))
        };
        let measured: Vec<HostId> = {
            let tables = self.board.records.read();
            let hosts = tables.power.iter().map(|record| record.host);
            hosts.filter(|host| is_measured(&tables, *host) && !forbidden(*host)).collect()
        };
        for host in measured {
            let board = self.board.clone();
            self.tasks.begin(host, MOST_AT_ONCE, async move { ask(&board, host).await });
        }
        Ok(())
    }
}

impl MeasureBmcs {
    /// Over this board.
    pub const fn new(board: Switchboard) -> Self {
        Self { board, tasks: HostTasks::new() }
    }

    /// Waits until nobody is being asked.
    pub async fn idle(&self) {
        self.tasks.idle("asking a BMC").await;
    }
}

async fn ask(board: &Switchboard, host: HostId) {
    let login = || {
        let tables = board.records.read();
        let bmc = tables.power.get(host).and_then(|record| record.settings.bmc.clone());
        (bmc, tables.host_secrets.get(host).cloned())
    };
    let before = login();
    let answer = board.bmcs.reading(&board.records, host).await;
    if login() != before {
        // It answers for what was set before.
        return;
    }
    let at = board.clock.now();
    // Said once, not every few seconds.
    let was_well = board.watts.last(host).is_none_or(|last| last.reading.is_ok());
    match &answer {
        Ok(reading) => {
            let values = vec![(Metric::PowerWatts, reading.watts)];
            let point = SamplePoint { entity: Entity::Host(host), at, values };
            if let Err(error) = board.history.append(vec![point]).await {
                tracing::error!(%host, %error, "a BMC's reading could not be stored");
            }
        }
        Err(error) if was_well => {
            tracing::warn!(%host, %error, "a BMC does not say what its host draws");
        }
        Err(_) => {}
    }
    board.watts.answered(host, BmcAnswer { at, reading: answer });
}
