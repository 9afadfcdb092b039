use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, Instant};
use tonic::Code;

use crate::again::{again, Turn, PATIENCE};
use crate::line::{Lines, Service, MAX_FRAME_BYTES};
use crate::message::named;
use crate::v1::bus_service_client::BusServiceClient;
use crate::v1::{Durability, PublishRequest, Receipt, RequestRequest};
use crate::{
    DurableOptions, DurableSubscription, Error, Failure, Line, LiveOptions, Message, Options, Received, Request, Responder,
    Result, Subscription,
};

const RETRY: Duration = Duration::from_millis(100);

/// Carries messages between agents. Clones share one connection, which is restored where it is lost, and moves to another replica
/// when the service asks for it: then nothing is lost, doubled or failed. What the service refuses for now is asked again when it
/// says: a request within its timeout, what is published within 30 s; what is published after it waits as long. A new subscription
/// fails at once.
#[derive(Clone, Debug)]
pub struct Bus {
    pub(crate) lines: Arc<Lines>,
    publishing: Arc<Turn>,
}

/// How a request is made.
#[derive(Clone, Debug)]
pub struct RequestOptions {
    /// How long the reply is waited for. Default: 30 s; more than zero, at most a day.
    pub timeout: Duration,
    /// Where nobody subscribes, waits for somebody, within the timeout. Default: false.
    pub wait_for_responder: bool,
    /// It may be done twice: where who held it is lost, it is handed out again. Default: false.
    pub is_repeatable: bool,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), wait_for_responder: false, is_repeatable: false }
    }
}

impl Bus {
    /// Connects to a bus or a sidecar; see [`crate::connect`].
    pub async fn connect(address: &str) -> Result<Self> {
        Self::connect_with(address, Options::default()).await
    }

    /// Connects with options.
    pub async fn connect_with(address: &str, options: Options) -> Result<Self> {
        Ok(Self { lines: Lines::connect(address, options, Service::Bus).await?, publishing: Arc::default() })
    }

    /// Returns the stubs over the connection of now, for the calls that have no method here. They do not move with the client.
    pub fn stub(&self) -> BusServiceClient<Line> {
        stub(self.lines.way().line)
    }

    /// Tells how often the connection was lost and is restored, with all subscriptions.
    pub fn restored(&self) -> watch::Receiver<u64> {
        self.lines.restored()
    }

    /// Publishes live messages: at most once, to who subscribes now.
    pub async fn publish(&self, channel: &str, messages: Vec<Message>) -> Result<Vec<Receipt>> {
        let request = PublishRequest { channel: channel.to_owned(), messages, ..Default::default() };
        self.publishing.again(PATIENCE, |_| self.publish_once(request.clone())).await
    }

    /// Publishes messages to be stored, and returns their receipts after the sync to disk. Where the connection is lost before
    /// they came, the same messages are sent again for 30 s: a message is stored once if its bus is back within its dedup window.
    pub async fn publish_stored(&self, channel: &str, messages: Vec<Message>) -> Result<Vec<Receipt>> {
        let request = PublishRequest {
            channel: channel.to_owned(),
            messages: messages.into_iter().map(named).collect(),
            durability: Durability::Stored.into(),
        };
        self.publishing.again(PATIENCE, |left| self.store_within(left, &request)).await
    }

    async fn store_within(&self, left: Duration, request: &PublishRequest) -> Result<Vec<Receipt>> {
        let end = Instant::now() + left;
        loop {
            match self.publish_once(request.clone()).await {
                Err(error) if error.is_lost() && Instant::now() < end => sleep(RETRY).await,
                answered => return answered,
            }
        }
    }

    async fn publish_once(&self, request: PublishRequest) -> Result<Vec<Receipt>> {
        let (way, _entered) = self.lines.enter().await;
        Ok(stub(way.line).publish(request).await?.into_inner().receipts)
    }

    /// Publishes a message and waits for its reply: by [`Bus::respond`], or any message published with its correlation id. Dropping
    /// the future cancels it.
    pub async fn request(&self, channel: &str, message: Message, options: RequestOptions) -> Result<Received> {
        let request = RequestRequest {
            channel: channel.to_owned(),
            message: Some(named(message)),
            wait_for_responder: options.wait_for_responder,
            repeatable: options.is_repeatable,
            ..Default::default()
        };
        again(options.timeout, |left| self.request_once(request.clone(), left)).await
    }

    async fn request_once(&self, mut request: RequestRequest, timeout: Duration) -> Result<Received> {
        request.timeout = Some(timeout.try_into().map_err(|_| {
            Error::invalid("INVALID_MESSAGE", "timeout", &format!("{timeout:?}"), "the timeout is beyond any time")
        })?);
        let (way, entered) = self.lines.enter().await;
        drop(entered); // it may last longer than the client stays
        let answered = stub(way.line.clone()).request(request).await?.into_inner();
        let missing = || Error::new("INTERNAL", Code::Internal, "the service sent a reply without a message");
        Ok(Received { message: answered.message.ok_or_else(missing)?, channel: answered.channel, sequence: 0 })
    }

    /// Subscribes to live messages of a channel or pattern. It returns when the service has registered it: nothing published after
    /// it is missed.
    pub async fn subscribe(&self, pattern: &str, options: LiveOptions) -> Result<Subscription> {
        Subscription::open(self, pattern, options).await
    }

    /// Subscribes to stored messages of a channel or pattern: the durable subscription of that name keeps them until they are
    /// settled, also while nobody is connected, and is made here where there is none. All who name it share its messages.
    pub async fn subscribe_durable(&self, pattern: &str, name: &str, options: DurableOptions) -> Result<DurableSubscription> {
        DurableSubscription::open(self, pattern, name, options).await
    }

    /// Answers the requests on a channel or pattern, so many at once: what the handler returns is the answer. Its error, or a
    /// panic, fails the request, which who asked hears at once. What is no request is passed over.
    pub async fn respond<H, A, E>(&self, pattern: &str, concurrency: u16, handler: H) -> Result<Responder>
    where
        H: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = std::result::Result<Message, E>> + Send + 'static,
        E: Into<Failure> + 'static,
    {
        Responder::open(self, pattern, concurrency, handler).await
    }
}

fn stub(line: Line) -> BusServiceClient<Line> {
    BusServiceClient::new(line).max_decoding_message_size(MAX_FRAME_BYTES)
}
