//! Asks BMCs what their hosts draw, where settings say that they measure.
//!
//! Each BMC is asked by a task of its own, so that a dead one holds up nobody; a host that is
//! parked is asked as well: what it draws while it is off is part of the bill.

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
        let measured: Vec<HostId> = {
            let tables = self.board.records.read();
            let hosts = tables.power.iter().map(|record| record.host);
            hosts.filter(|host| is_measured(&tables, *host)).collect()
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
    let answer = board.bmcs.reading(&board.records, host).await;
    let at = board.clock.now();
    let reading = answer.map_err(|error| error.to_string());
    // Said once, not every few seconds.
    let was_well = board.watts.last(host).is_none_or(|last| last.reading.is_ok());
    match &reading {
        Ok(reading) => {
            let values = vec![(Metric::PowerWatts, reading.watts)];
            let point = SamplePoint { entity: Entity::Host(host), at, values };
            if let Err(error) = board.history.append(vec![point]).await {
                tracing::error!(%host, %error, "a BMC's reading could not be stored");
            }
        }
        Err(why) if was_well => {
            tracing::warn!(%host, why, "a BMC does not say what its host draws");
        }
        Err(_) => {}
    }
    board.watts.answered(host, BmcAnswer { at, reading });
}
