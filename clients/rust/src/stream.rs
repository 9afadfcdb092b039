//! The stream of a bus, with one subscription at the most.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tonic::metadata::MetadataValue;
use tonic::{Request, Streaming};

use crate::line::{ended, Service, MAX_FRAME_BYTES};
use crate::v1::bus_service_client::BusServiceClient;
use crate::v1::open_stream_request::client_item::Item as Said;
use crate::v1::open_stream_request::{Cancel, ClientItem, Ping};
use crate::v1::open_stream_response::server_item::Item;
use crate::v1::subscribe_request::Frame;
use crate::v1::{OpenStreamRequest, OpenStreamResponse, SubscribeRequest};
use crate::{Line, Result};

const SUBSCRIPTION: u64 = 1;
const PING: u64 = 2;

/// The frames that go to the service, as a call takes them.
pub(crate) struct Outgoing<T>(pub(crate) UnboundedReceiver<T>);

impl<T> tokio_stream::Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(context)
    }
}

/// Returns a call that promises to move when the service asks for it; see `Move` in move.proto.
pub(crate) fn promised<T>(call: T) -> Request<T> {
    let mut request = Request::new(call);
    request.metadata_mut().insert("trunkline-moves", MetadataValue::from_static("1"));
    request
}

/// What is said in one stream. What is said after its end is lost.
#[derive(Clone)]
pub(crate) struct Voice(UnboundedSender<OpenStreamRequest>);

impl Voice {
    /// Says something of the subscription.
    pub(crate) fn say(&self, frame: Frame) {
        self.put(SUBSCRIPTION, Said::Subscribe(SubscribeRequest { frame: Some(frame) }));
    }

    /// Ends the subscription.
    pub(crate) fn cancel(&self, how: Cancel) {
        self.put(SUBSCRIPTION, Said::Cancel(how));
    }

    /// Asks for a pong, when all before it was taken, and also sent to other replicas.
    pub(crate) fn ping(&self, sent: bool) {
        self.put(PING, Said::Ping(Ping { sent }));
    }

    /// Tells whether both speak in the same stream.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }

    fn put(&self, id: u64, item: Said) {
        let _ended = self.0.send(OpenStreamRequest { items: vec![ClientItem { id, item: Some(item) }] });
    }
}

/// A stream. Dropped, it ends.
pub(crate) struct Stream {
    pub(crate) voice: Voice,
    frames: Streaming<OpenStreamResponse>,
    items: VecDeque<Item>,
}

impl Stream {
    /// Returns when the service has accepted it.
    pub(crate) async fn open(line: &Line) -> Result<Self> {
        let (say, said) = mpsc::unbounded_channel();
        let mut stub = BusServiceClient::new(line.clone()).max_decoding_message_size(MAX_FRAME_BYTES);
        let frames = stub.open_stream(promised(Outgoing(said))).await?.into_inner();
        Ok(Self { voice: Voice(say), frames, items: VecDeque::new() })
    }

    /// Returns what comes next; an error says that the stream is lost.
    pub(crate) async fn next(&mut self) -> Result<Item> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(item);
            }
            let frame = self.frames.message().await?.ok_or_else(|| ended(Service::Bus))?;
            self.items.extend(frame.items.into_iter().filter_map(|each| each.item));
            // none: of a newer service
        }
    }

    /// Returns when the service has taken what was said before; what else comes waits.
    pub(crate) async fn confirm(&mut self) -> Result<()> {
        self.voice.ping(false);
        let mut before = Vec::new();
        loop {
            match self.next().await? {
                Item::Pong(_) => break,
                item => before.push(item),
            }
        }
        before.into_iter().rev().for_each(|item| self.items.push_front(item));
        Ok(())
    }
}
