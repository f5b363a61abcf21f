//! A controller over in-memory ports.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use drover_api::v1::Role;
use drover_controller::ca::Authority;
use drover_controller::engine::Engine;
use drover_controller::events::Events;
use drover_controller::http::{Api, router};
use drover_controller::live::Live;
use drover_controller::power::{BmcWatts, Bmcs, Switchboard, Vault};
use drover_controller::records::{Records, Tables, Txn};
use drover_controller::tokens::new_token;
use drover_model::Timestamp;
use drover_ports::memory::{MemoryClock, MemoryHistory, MemoryPower, MemoryStore};
use drover_ports::{Clock, History, Store};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::meddling::Meddling;

pub(crate) struct World {
    pub(crate) records: Arc<Records>,
    pub(crate) live: Arc<Live>,
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<MemoryClock>,
    pub(crate) api: Arc<Api>,
    /// The same as `api` has.
    pub(crate) history: Arc<Meddling>,
    /// Kinds of events that a test collected itself.
    pub(crate) said: Mutex<Vec<String>>,
    /// Machines behind BMCs.
    pub(crate) machines: MemoryPower,
    /// The state directory.
    pub(crate) dir: Arc<tempfile::TempDir>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(MemoryClock::at(Timestamp::from_millis(1_800_000_000_000)));
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let history = Meddling::over(Arc::new(MemoryHistory::default()));
        let machines = MemoryPower::default();
        Self::over(Arc::new(MemoryStore::default()), clock, history, machines, dir).await
    }

    /// The controller after a restart: only what is stored is left.
    pub(crate) async fn restarted(&self) -> Self {
        let store = Arc::clone(self.records.store());
        let history = Arc::clone(&self.history);
        let (machines, dir) = (self.machines.clone(), Arc::clone(&self.dir));
        Self::over(store, Arc::clone(&self.clock), history, machines, dir).await
    }

    async fn over(
        store: Arc<dyn Store>,
        clock: Arc<MemoryClock>,
        history: Arc<Meddling>,
        machines: MemoryPower,
        dir: Arc<tempfile::TempDir>,
    ) -> Self {
        let as_clock: Arc<dyn Clock> = clock.clone();
        let as_history: Arc<dyn History> = history.clone();
        let records = Arc::new(Records::load(Arc::clone(&store)).await.unwrap());
        let live = Arc::new(Live::default());
        let events = Arc::new(Events::load(store, Arc::clone(&as_clock)).await.unwrap());
        let engine = Engine::new(
            Arc::clone(&records),
            Arc::clone(&live),
            Arc::clone(&events),
            Arc::clone(&as_clock),
        );
        let sample_interval = Duration::from_secs(5);
        let power = Switchboard {
            records: Arc::clone(&records),
            live: Arc::clone(&live),
            events: Arc::clone(&events),
            history: Arc::clone(&as_history),
            clock: Arc::clone(&as_clock),
            bmcs: Arc::new(Bmcs::new(Arc::new(machines.clone()), Vault::in_dir(dir.path()))),
            watts: Arc::new(BmcWatts::default()),
            sample_interval,
            unreachable_after: Duration::from_secs(15),
            asked: Arc::default(),
            searching: Arc::default(),
        };
        let api = Arc::new(Api {
            records: Arc::clone(&records),
            live: Arc::clone(&live),
            events,
            engine: engine.clone(),
            history: as_history,
            clock: as_clock,
            power,
            authority: Arc::new(Authority::open(dir.path()).unwrap()),
            sample_interval,
            api_url: "https://ctl:7440".to_owned(),
            agent_url: "https://ctl:7441".to_owned(),
        });
        Self { records, live, engine, clock, api, history, said: Mutex::default(), machines, dir }
    }

    /// Lets all that is under way come as far as it can without time: tokio moves paused time
    /// only when no task can go on and nothing runs on a thread beside. For tests with
    /// `start_paused`; panics in others.
    pub(crate) async fn settle(&self) {
        tokio::time::advance(Duration::ZERO).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// A new token with this role.
    pub(crate) async fn token(&self, role: Role) -> String {
        let (record, text) = new_token(format!("{role:?}"), role, self.clock.now());
        self.update(|txn| txn.put(record)).await;
        text
    }

    /// Stores something.
    pub(crate) async fn update(&self, change: impl FnOnce(&mut Txn)) {
        self.update_with(|_, txn| change(txn)).await;
    }

    /// Stores something that depends on what there is.
    pub(crate) async fn update_with(&self, change: impl FnOnce(&Tables, &mut Txn)) {
        self.records
            .update(|tables| {
                let mut txn = Txn::none();
                change(tables, &mut txn);
                (txn, ())
            })
            .await
            .unwrap();
    }

    /// Calls the API; an answer that is no JSON is null.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        self.call_for(method, path, token, body, 1 << 20).await
    }

    /// The same for an answer of at most so many bytes.
    pub(crate) async fn call_for(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
        most: usize,
    ) -> (StatusCode, Value) {
        let (status, bytes) = self.bytes(method, path, token, body, most).await;
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// The lines of what Prometheus is told that begin so.
    pub(crate) async fn metrics(&self, begin: &str) -> Vec<String> {
        let token = self.token(Role::Viewer).await;
        let (status, bytes) = self.bytes("GET", "/metrics", Some(&token), None, 1 << 20).await;
        assert_eq!(status, StatusCode::OK);
        let text = String::from_utf8(bytes).unwrap();
        text.lines().filter(|line| line.starts_with(begin)).map(str::to_owned).collect()
    }

    async fn bytes(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
        most: usize,
    ) -> (StatusCode, Vec<u8>) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Some(value) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(value.to_string())
            }
            None => Body::empty(),
        };
        let response =
            router(Arc::clone(&self.api)).oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        if path == "/v1/watch" {
            return (status, Vec::new());
        }
        (status, axum::body::to_bytes(response.into_body(), most).await.unwrap().to_vec())
    }
}
