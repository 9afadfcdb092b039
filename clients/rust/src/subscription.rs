use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::Code;

use crate::v1::subscribe_request::{Credit, Frame as Said, Start};
use crate::v1::subscribe_response::{Deliveries, Frame as Came};
use crate::v1::SubscribeRequest;
use crate::{Bus, Error, Received, Result};

const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
const START_TIME: Duration = Duration::from_secs(30);

/// The frames that go to the service, as a call takes them.
struct Outgoing(mpsc::UnboundedReceiver<SubscribeRequest>);

impl Stream for Outgoing {
    type Item = SubscribeRequest;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<SubscribeRequest>> {
        self.0.poll_recv(context)
    }
}

/// Where frames go: to the call of now, or nowhere while there is none.
#[derive(Clone, Default)]
pub(crate) struct Speaker(Arc<Mutex<Option<UnboundedSender<SubscribeRequest>>>>);

impl Speaker {
    /// Says something in the call of now. Without one it is lost: whoever is subscribed anew begins anew.
    pub(crate) fn say(&self, frame: Said) {
        if let Some(to) = self.0.lock().expect("nothing panics with it").as_ref() {
            let _gone = to.send(SubscribeRequest { frame: Some(frame) });
        }
    }

    fn speak_to(&self, to: Option<UnboundedSender<SubscribeRequest>>) {
        *self.0.lock().expect("nothing panics with it") = to;
    }
}

/// What is told of a subscription.
pub(crate) enum Event {
    /// Registered, first or again.
    Started(Duration),
    Deliveries(Deliveries),
    /// Any other frame.
    Other(Came),
    /// The call was lost, and why; it is made anew.
    Lost(Error),
    /// The service ended it.
    Ended(Error),
}

/// A call that is made anew where the connection is lost, until it is dropped.
pub(crate) struct Call {
    pub(crate) speaker: Speaker,
    pub(crate) events: mpsc::UnboundedReceiver<Event>, // bounded by the credit
    runner: JoinHandle<()>,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.runner.abort();
    }
}

impl Call {
    pub(crate) fn begin(bus: &Bus, start: Start) -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        let speaker = Speaker::default();
        let runner = tokio::spawn(run(bus.clone(), start, speaker.clone(), tell));
        Self { speaker, events, runner }
    }

    /// Returns the lease when the service has registered it; it is waited for.
    pub(crate) async fn started(&mut self) -> Result<Duration> {
        let late = tokio::time::sleep(START_TIME);
        tokio::pin!(late);
        let mut lost = ended();
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(Event::Started(lease)) => return Ok(lease),
                    Some(Event::Ended(why)) => return Err(why),
                    Some(Event::Lost(why)) => lost = why,
                    Some(_) => {}
                    None => return Err(ended()),
                },
                () = &mut late => return Err(lost),
            }
        }
    }
}

/// Returns what is said where nothing more comes.
pub(crate) fn ended() -> Error {
    Error::new("BUS_DISCONNECTED", Code::Unavailable, "the service ended the subscription")
}

async fn run(bus: Bus, start: Start, speaker: Speaker, tell: UnboundedSender<Event>) {
    let mut delay = RETRY_MIN;
    let mut has_started = false;
    loop {
        let why = once(&bus, &start, &speaker, &tell, &mut has_started, &mut delay).await;
        speaker.speak_to(None);
        // A limit may be reached since the service does not know yet that the call is lost that was open before.
        let goes_on = why.is_lost() || (has_started && why.reason == "OVERLOADED");
        let told = tell.send(if goes_on { Event::Lost(why) } else { Event::Ended(why) });
        if told.is_err() || !goes_on {
            return;
        }
        tokio::time::sleep(delay).await;
        delay = (2 * delay).min(RETRY_MAX);
    }
}

/// Makes the call and reads it to its end; returns why it ended.
async fn once(
    bus: &Bus, start: &Start, speaker: &Speaker, tell: &UnboundedSender<Event>, has_started: &mut bool, delay: &mut Duration,
) -> Error {
    let (say, outgoing) = mpsc::unbounded_channel();
    let _open = say.send(SubscribeRequest { frame: Some(Said::Start(start.clone())) });
    let mut frames = match bus.stub().subscribe(Outgoing(outgoing)).await {
        Ok(answered) => answered.into_inner(),
        Err(status) => return status.into(),
    };
    loop {
        let frame = match frames.message().await {
            Ok(Some(answer)) => answer.frame,
            Ok(None) => return ended(),
            Err(status) => return status.into(),
        };
        let event = match frame {
            Some(Came::Started(started)) => {
                speaker.speak_to(Some(say.clone()));
                (*has_started, *delay) = (true, RETRY_MIN);
                let lease = started.ack_wait.and_then(|wait| wait.try_into().ok()).unwrap_or(Duration::from_secs(30));
                Event::Started(lease)
            }
            Some(Came::Deliveries(deliveries)) => Event::Deliveries(deliveries),
            Some(other) => Event::Other(other),
            None => continue, // of a newer service
        };
        if tell.send(event).is_err() {
            return ended(); // nobody reads it
        }
    }
}

/// How live messages are received.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Shares the messages with all who subscribe to the same pattern in the same group. Empty: none.
    pub group: String,
    /// Only looks on, and does not count as somebody who could answer a request.
    pub is_observer: bool,
    /// How many messages may be sent ahead of who reads them. Default: 8,192.
    pub credit: u16,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self { group: String::new(), is_observer: false, credit: 8192 }
    }
}

/// Live messages, at most once. Dropping it ends it. What is published while the connection is lost does not come.
pub struct Subscription {
    call: Call,
    credit: i32,
    taken: i32, // since credit was granted last
    waiting: std::collections::VecDeque<Received>,
    dropped: i64,
}

impl Subscription {
    pub(crate) async fn open(bus: &Bus, pattern: &str, options: LiveOptions) -> Result<Self> {
        let credit = i32::from(options.credit.max(1));
        let mut call = Call::begin(
            bus,
            Start {
                pattern: pattern.to_owned(),
                group: options.group,
                observer: options.is_observer,
                credit: Some(credit),
                ..Default::default()
            },
        );
        call.started().await?;
        Ok(Self { call, credit, taken: 0, waiting: Default::default(), dropped: 0 })
    }

    /// Returns how many messages the service dropped so far since this subscriber was too slow.
    pub fn dropped(&self) -> i64 {
        self.dropped
    }

    /// Returns the next message, or why the service ended the subscription.
    pub async fn next(&mut self) -> Result<Received> {
        loop {
            if let Some(came) = self.waiting.pop_front() {
                self.taken += 1;
                if self.taken >= (self.credit + 1) / 2 {
                    self.call.speaker.say(Said::Credit(Credit { messages: std::mem::take(&mut self.taken) }));
                }
                return Ok(came);
            }
            match self.call.events.recv().await {
                Some(Event::Deliveries(came)) => self.waiting.extend(received(came)),
                Some(Event::Started(_)) => self.taken = 0,
                Some(Event::Other(Came::Lagged(lagged))) => self.dropped += lagged.dropped,
                Some(Event::Other(_) | Event::Lost(_)) => {}
                Some(Event::Ended(why)) => return Err(why),
                None => return Err(ended()),
            }
        }
    }
}

/// Returns the messages of a frame.
pub(crate) fn received(came: Deliveries) -> impl Iterator<Item = Received> {
    let (channel, first) = (came.channel, came.first_sequence);
    let numbered = came.messages.into_iter().zip(first..);
    numbered.map(move |(message, sequence)| Received { message, channel: channel.clone(), sequence })
}
