//! A subscription's stream: it is made anew where the connection is lost, and follows the client to another one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Code;

use crate::again::Pauses;
use crate::line::{ended, Lines, Service, Way, RETRY_MIN};
use crate::stream::{Stream, Voice};
use crate::v1::open_stream_response::server_item::Item;
use crate::v1::subscribe_request::{Frame as Said, Start};
use crate::v1::subscribe_response::{Frame as Came, Started};
use crate::{Error, Result};

const START_TIME: Duration = Duration::from_secs(30);
const MOVE_AGAIN: Duration = Duration::from_millis(500); // after a move that did not succeed

/// What distinguishes a live subscription, a durable one and a responder.
pub(crate) trait Role: Send + 'static {
    /// Returns what is asked of the service, as it is now.
    fn start(&mut self) -> Start;
    /// Takes note that the service has registered it, first or again, in the stream of this voice.
    fn started(&mut self, started: Started, voice: &Voice);
    /// Takes any other frame.
    fn take(&mut self, frame: Came, voice: &Voice);
    /// Takes note that the stream is lost; it is made anew.
    fn lost(&mut self);
    /// Takes note that the service ended it, and why.
    fn end(&mut self, why: Error);
    /// Goes on in a stream of another connection, which takes the place of this one, and waits for nothing there that may wait for
    /// who is left. Whatever comes of it, nothing is lost but with the stream.
    fn move_to(&mut self, stream: &mut Stream, way: &Way) -> impl Future<Output = Moved> + Send;
}

/// Whether a subscription has moved.
pub(crate) type Moved = std::result::Result<(), Unmoved>;

/// Why a subscription did not move.
pub(crate) enum Unmoved {
    /// It goes on where it is.
    Stays,
    /// Its stream is lost, or the service ended it.
    Lost(Error),
}

/// A subscription's stream, and what comes on it. Dropped, it ends.
pub(crate) struct Call<E> {
    pub(crate) events: mpsc::UnboundedReceiver<E>, // bounded by the credit
    runner: JoinHandle<()>,
}

impl<E> Drop for Call<E> {
    fn drop(&mut self) {
        self.runner.abort();
    }
}

impl<E: Send + 'static> Call<E> {
    /// Returns when the service has registered it.
    pub(crate) async fn begin<R: Role>(lines: &Arc<Lines>, role: impl FnOnce(UnboundedSender<E>) -> R) -> Result<Self> {
        let (tell, events) = mpsc::unbounded_channel();
        let (begun, registered) = oneshot::channel();
        let runner = tokio::spawn(run(Arc::clone(lines), role(tell), begun));
        let made = Self { events, runner };
        match registered.await {
            Ok(Ok(())) => Ok(made),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(ended(Service::Bus)),
        }
    }
}

/// Keeps a subscription until it is ended.
async fn run<R: Role>(lines: Arc<Lines>, mut role: R, begun: oneshot::Sender<Result<()>>) {
    let end = Instant::now() + START_TIME;
    let mut open = loop {
        match Open::new(&lines, &mut role).await {
            Ok(open) => break open,
            Err(why) if why.is_lost() && Instant::now() < end => tokio::time::sleep(RETRY_MIN).await,
            Err(why) => return drop(begun.send(Err(why))),
        }
    };
    if begun.send(Ok(())).is_err() {
        return; // nobody waits for it any more
    }
    while let Err(mut why) = open.carry(&lines, &mut role).await {
        // A limit may be reached since the service does not know yet that the stream is lost that was open before.
        let is_restored = |why: &Error| why.is_lost() || why.reason == "OVERLOADED";
        if !is_restored(&why) {
            return role.end(why);
        }
        role.lost();
        let _loss = lines.lose();
        let mut pauses = Pauses::default();
        open = loop {
            pauses.pass(&why).await;
            match Open::new(&lines, &mut role).await {
                Ok(open) => break open,
                Err(other) if is_restored(&other) => why = other,
                Err(why) => return role.end(why),
            }
        };
    }
}

/// A stream that has started, and the connection that it is on.
struct Open {
    stream: Stream,
    way: Way,
}

impl Open {
    /// Returns when the service has registered the subscription.
    async fn new<R: Role>(lines: &Lines, role: &mut R) -> Result<Self> {
        let way = lines.way();
        let opened = tokio::time::timeout(START_TIME, async {
            let mut open = Self { stream: Stream::open(&way.line).await?, way };
            open.stream.voice.say(Said::Start(role.start()));
            loop {
                let item = open.stream.next().await?;
                if matches!(open.take(item, lines, role)?, Taken::Started) {
                    return Ok(open);
                }
            }
        });
        opened.await.unwrap_or_else(|_| Err(unconfirmed()))
    }

    /// Reads it, and goes on elsewhere when the client does. It ends without an error when the subscription was cancelled.
    async fn carry<R: Role>(&mut self, lines: &Lines, role: &mut R) -> Result<()> {
        let mut ways = lines.ways();
        let mut look_at = Instant::now();
        loop {
            let number = self.way.number;
            let elsewhere = async {
                tokio::time::sleep_until(look_at).await;
                ways.wait_for(|way| way.number != number).await.map(|way| way.clone())
            };
            tokio::select! {
                item = self.stream.next() => if matches!(self.take(item?, lines, role)?, Taken::Cancelled) {
                    return Ok(());
                },
                Ok(way) = elsewhere => match role.move_to(&mut self.stream, &way).await {
                    Ok(()) => self.way = way,
                    Err(Unmoved::Lost(why)) => return Err(why),
                    Err(Unmoved::Stays) => look_at = Instant::now() + MOVE_AGAIN,
                },
            }
        }
    }

    /// Takes what came on the stream.
    fn take<R: Role>(&self, item: Item, lines: &Lines, role: &mut R) -> Result<Taken> {
        match item {
            Item::Subscription(frame) => match frame.frame {
                Some(Came::Started(started)) => {
                    role.started(started, &self.stream.voice);
                    return Ok(Taken::Started);
                }
                Some(frame) => role.take(frame, &self.stream.voice),
                None => {} // of a newer service
            },
            Item::Error(why) => return Err(why.into()),
            Item::Cancelled(_) => return Ok(Taken::Cancelled),
            Item::Move(_) => lines.ask(self.way.number),
            _ => {}
        }
        Ok(Taken::Other)
    }
}

/// What came on a stream.
enum Taken {
    Started,
    Cancelled,
    Other,
}

fn unconfirmed() -> Error {
    Error::new(Service::Bus.lost(), Code::Unavailable, "the service did not register the subscription in time")
}
