use std::future::Future;
use std::time::Duration;

use tonic::Code;

use crate::message::named;
use crate::v1::bus_service_client::BusServiceClient;
use crate::v1::{Durability, PublishRequest, Receipt, RequestRequest};
use crate::{
    connect_with, DurableOptions, DurableSubscription, Error, Line, LiveOptions, Message, Options, Received, Request, Responder,
    Result, Subscription,
};

const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;
const PUBLISH_TIME: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(100);

/// Carries messages between agents. Clones share one connection.
#[derive(Clone, Debug)]
pub struct Bus(BusServiceClient<Line>);

impl Bus {
    /// Connects to a bus or a sidecar; see [`crate::connect`].
    pub async fn connect(address: &str) -> Result<Self> {
        Self::connect_with(address, Options::default()).await
    }

    /// Connects with options.
    pub async fn connect_with(address: &str, options: Options) -> Result<Self> {
        let stub = BusServiceClient::new(connect_with(address, options).await?);
        Ok(Self(stub.max_decoding_message_size(MAX_FRAME_BYTES)))
    }

    /// Returns the stubs over the same connection, for the calls that have no method here.
    pub fn stub(&self) -> BusServiceClient<Line> {
        self.0.clone()
    }

    /// Publishes live messages: at most once, to who subscribes now.
    pub async fn publish(&self, channel: &str, messages: Vec<Message>) -> Result<Vec<Receipt>> {
        let request = PublishRequest { channel: channel.to_owned(), messages, ..Default::default() };
        Ok(self.stub().publish(request).await?.into_inner().receipts)
    }

    /// Publishes messages to be stored, and returns their receipts after the sync to disk. Where the connection is lost before
    /// they came, the same messages are sent again for 30 s: a message is stored once if its bus is back within its dedup window.
    pub async fn publish_stored(&self, channel: &str, messages: Vec<Message>) -> Result<Vec<Receipt>> {
        let request = PublishRequest {
            channel: channel.to_owned(),
            messages: messages.into_iter().map(named).collect(),
            durability: Durability::Stored.into(),
        };
        let end = tokio::time::Instant::now() + PUBLISH_TIME;
        loop {
            match self.stub().publish(request.clone()).await.map_err(Error::from) {
                Ok(answered) => return Ok(answered.into_inner().receipts),
                Err(error) if error.is_lost() && tokio::time::Instant::now() < end => tokio::time::sleep(RETRY).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Publishes a message and waits for its reply: by [`Bus::respond`], or any message published with its correlation id. Dropping
    /// the future cancels it.
    pub async fn request(&self, channel: &str, message: Message, timeout: Duration) -> Result<Received> {
        let wanted = prost_types::Duration::try_from(timeout).map_err(|_| {
            Error::invalid("INVALID_MESSAGE", "timeout", &format!("{timeout:?}"), "the timeout is beyond any time")
        })?;
        let request = RequestRequest {
            channel: channel.to_owned(),
            message: Some(named(message)),
            timeout: Some(wanted),
            ..Default::default()
        };
        let answered = self.stub().request(request).await?.into_inner();
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
        E: std::fmt::Display + 'static,
    {
        Responder::open(self, pattern, concurrency, handler).await
    }
}
