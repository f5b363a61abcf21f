//! A controller that does what the test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use drover_agent_api::v1::agent_link_server::{AgentLink, AgentLinkServer};
use drover_agent_api::v1::{
    Command, CommandResult, FromAgent, FromController, Hello, Inventory, MigrationUpdate, Query,
    QueryAnswer, Samples, SamplesAck, Welcome, command::Action, from_agent, from_controller,
    migration_update, query,
};
use drover_model::{GuestId, OperationId};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use super::PATIENCE;
use super::pki::Pki;

type Answers = UnboundedReceiverStream<Result<FromController, Status>>;
type ToAgent = mpsc::UnboundedSender<Result<FromController, Status>>;

pub struct Controller {
    pub address: SocketAddr,
    messages: mpsc::UnboundedReceiver<from_agent::Body>,
    to_agent: Arc<Mutex<Option<ToAgent>>>,
    stop: Option<oneshot::Sender<()>>,
    server: tokio::task::JoinHandle<()>,
}

struct Link {
    messages: mpsc::UnboundedSender<from_agent::Body>,
    to_agent: Arc<Mutex<Option<ToAgent>>>,
    sample_interval_ms: u32,
}

#[tonic::async_trait]
impl AgentLink for Link {
    type SessionStream = Answers;

    async fn session(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Answers>, Status> {
        assert!(request.peer_certs().is_some_and(|certificates| !certificates.is_empty()));
        let (sender, receiver) = mpsc::unbounded_channel();
        // Something else may come before the welcome.
        let nothing = from_controller::Body::SamplesAck(SamplesAck { sequence: 0 });
        sender.send(Ok(say(nothing))).unwrap();
        let now_ms = 0;
        let welcome = Welcome { sample_interval_ms: self.sample_interval_ms, now_ms };
        sender.send(Ok(say(from_controller::Body::Welcome(welcome)))).unwrap();
        *self.to_agent.lock().unwrap() = Some(sender);
        let (messages, to_agent) = (self.messages.clone(), Arc::clone(&self.to_agent));
        let mut incoming = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                let _ = messages.send(message.body.unwrap());
            }
            *to_agent.lock().unwrap() = None;
        });
        Ok(Response::new(UnboundedReceiverStream::new(receiver)))
    }
}

fn say(body: from_controller::Body) -> FromController {
    FromController { body: Some(body) }
}

impl Controller {
    pub async fn start(pki: &Pki) -> Self {
        Self::start_at(pki, "127.0.0.1:0".parse().unwrap(), 100).await
    }

    pub async fn start_at(pki: &Pki, address: SocketAddr, sample_interval_ms: u32) -> Self {
        super::install_tls_provider();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (certificate, key) = pki.issue("controller", &["127.0.0.1"]);
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(pki.ca_pem()));
        let (sender, messages) = mpsc::unbounded_channel();
        let to_agent = Arc::new(Mutex::new(None));
        let link = Link { messages: sender, to_agent: Arc::clone(&to_agent), sample_interval_ms };
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let serving = Server::builder()
                .tls_config(tls)
                .unwrap()
                .add_service(AgentLinkServer::new(link))
                .serve_with_incoming(TcpListenerStream::new(listener));
            tokio::select! {
                result = serving => result.unwrap(),
                _ = stopped => {}
            }
        });
        Self { address, messages, to_agent, stop: Some(stop), server }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Dies with all its connections; gives its address for the next one.
    pub async fn die(mut self) -> SocketAddr {
        self.stop.take().unwrap().send(()).unwrap();
        self.server.await.unwrap();
        *self.to_agent.lock().unwrap() = None;
        self.address
    }

    pub fn send(&self, body: from_controller::Body) {
        let to_agent = self.to_agent.lock().unwrap();
        to_agent.as_ref().expect("a session").send(Ok(say(body))).unwrap();
    }

    pub fn acknowledge(&self, sequence: u64) {
        self.send(from_controller::Body::SamplesAck(SamplesAck { sequence }));
    }

    pub fn order(
        &self,
        id: &str,
        operation: OperationId,
        guest: GuestId,
        epoch: u64,
        action: Action,
    ) {
        self.send(from_controller::Body::Command(Command {
            command_id: id.to_owned(),
            operation_id: operation.to_string(),
            guest_id: guest.to_string(),
            epoch,
            action: Some(action),
        }));
    }

    async fn next<T>(&mut self, what: &str, wanted: impl Fn(from_agent::Body) -> Option<T>) -> T {
        let search = async {
            loop {
                if let Some(found) = wanted(self.messages.recv().await.expect("a live agent")) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("no {what}"))
    }

    pub async fn hello(&mut self) -> Hello {
        self.next("hello", |body| match body {
            from_agent::Body::Hello(hello) => Some(hello),
            _ => None,
        })
        .await
    }

    pub async fn inventory(&mut self) -> Inventory {
        self.next("inventory", |body| match body {
            from_agent::Body::Inventory(inventory) => Some(inventory),
            _ => None,
        })
        .await
    }

    pub async fn samples(&mut self) -> Samples {
        self.next("samples", |body| match body {
            from_agent::Body::Samples(samples) => Some(samples),
            _ => None,
        })
        .await
    }

    pub async fn result(&mut self, id: &str) -> CommandResult {
        self.next(id, |body| match body {
            from_agent::Body::Result(result) if result.command_id == id => Some(result),
            _ => None,
        })
        .await
    }

    pub fn ask(&self, query_id: &str, question: query::Question) {
        let query = Query { query_id: query_id.to_owned(), question: Some(question) };
        self.send(from_controller::Body::Query(query));
    }

    pub async fn answer(&mut self, id: &str) -> QueryAnswer {
        self.next(id, |body| match body {
            from_agent::Body::QueryAnswer(answer) if answer.query_id == id => Some(answer),
            _ => None,
        })
        .await
    }

    /// The next update that is not mere progress.
    pub async fn update(&mut self) -> migration_update::Body {
        loop {
            let body = self.any_update().await;
            if !matches!(body, migration_update::Body::ProgressJson(_)) {
                return body;
            }
        }
    }

    pub async fn any_update(&mut self) -> migration_update::Body {
        let update: MigrationUpdate = self
            .next("update", |body| match body {
                from_agent::Body::Migration(update) => Some(update),
                _ => None,
            })
            .await;
        update.body.unwrap()
    }

    /// Everything that came so far and nobody asked for.
    pub fn backlog(&mut self) -> Vec<from_agent::Body> {
        std::iter::from_fn(|| self.messages.try_recv().ok()).collect()
    }
}
