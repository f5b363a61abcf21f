//! Somebody who changes something while another waits for an answer.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use drover_controller::records::{Records, Tables, Txn};
use drover_model::{Metric, Timestamp};
use drover_ports::{
    Entity, History, HistoryError, Resolution, Retention, SamplePoint, SeriesPoint,
};

type Change = Box<dyn FnOnce(&Tables, &mut Txn) + Send>;

/// A history that takes long enough to be asked for something to happen meanwhile.
pub(crate) struct Meddling {
    inner: Arc<dyn History>,
    next: Mutex<Option<(Arc<Records>, Change)>>,
}

impl Meddling {
    pub(crate) fn over(inner: Arc<dyn History>) -> Arc<Self> {
        Arc::new(Self { inner, next: Mutex::default() })
    }

    /// Whoever asks next finds this changed when the answer comes.
    pub(crate) fn change(
        &self,
        records: &Arc<Records>,
        change: impl FnOnce(&Tables, &mut Txn) + Send + 'static,
    ) {
        *self.next.lock().unwrap() = Some((Arc::clone(records), Box::new(change)));
    }

    /// Whether somebody has asked since.
    pub(crate) fn was_asked(&self) -> bool {
        self.next.lock().unwrap().is_none()
    }

    async fn meddle(&self) {
        let next = self.next.lock().unwrap().take();
        let Some((records, change)) = next else { return };
        let changed = records.update(|tables| {
            let mut txn = Txn::none();
            change(tables, &mut txn);
            (txn, ())
        });
        changed.await.unwrap();
    }
}

#[async_trait]
impl History for Meddling {
    async fn append(&self, points: Vec<SamplePoint>) -> Result<(), HistoryError> {
        self.inner.append(points).await
    }

    async fn window(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<SamplePoint>, HistoryError> {
        self.meddle().await;
        self.inner.window(from, to).await
    }

    async fn series(
        &self,
        entity: Entity,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        resolution: Resolution,
    ) -> Result<Vec<SeriesPoint>, HistoryError> {
        self.meddle().await;
        self.inner.series(entity, metric, from, to, resolution).await
    }

    async fn compact(&self, now: Timestamp, retention: Retention) -> Result<(), HistoryError> {
        self.inner.compact(now, retention).await
    }
}
