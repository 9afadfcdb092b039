use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{watch, Notify};
use tokio::time::Instant;
use tonic::Code;

use crate::call::{Call, Moved, Role, Unmoved};
use crate::line::{ended, Service, Way, CONFIRM_TIME};
use crate::stream::{Stream, Voice};
use crate::subscription::received;
use crate::v1::open_stream_request::Cancel;
use crate::v1::open_stream_response::server_item::Item;
use crate::v1::subscribe_request::{Credit, Frame as Said, Start};
use crate::v1::subscribe_response::{Frame as Came, Started};
use crate::v1::{Ack, DurableSettings, Extend, Nak, Position, Release, Terminate};
use crate::{Bus, Error, Received, Result};

const MAX_SETTLED: usize = 10_000; // of one frame
const ACKED_TIME: Duration = Duration::from_secs(5); // for which acks are sent again in another stream

/// How a durable subscription is made, where it is made here, and read.
#[derive(Clone, Debug, Default)]
pub struct DurableOptions {
    /// How many messages are leased to this subscriber at once. 0: one, which keeps the order.
    pub credit: u16,
    /// Where it begins. None: with what is published from now on.
    pub position: Option<Position>,
    /// How it delivers. None: the defaults, or as it is.
    pub settings: Option<DurableSettings>,
}

/// Stored messages, at least once: the durable subscription of that name keeps them until they are settled. Dropping it ends it;
/// what is leased to it then comes again when its time is over. [`DurableSubscription::drain`] ends it so that nothing waits.
pub struct DurableSubscription {
    call: Call<Event>,
    holdings: Arc<Holdings>,
    waiting: VecDeque<(Received, i32)>,
}

/// What comes of a durable subscription.
enum Event {
    Messages(Vec<Received>, i32),
    Ended(Error),
}

/// What is leased to this client, and is not settled; and how the service hears of it.
struct Holdings {
    held: Mutex<Held>,
    settled: Notify,
}

struct Held {
    leases: HashMap<i64, Lease>,
    voice: Option<Voice>,
    /// What is to be said when there is a stream again.
    later: Vec<Said>,
    /// What was acked lately, and when: it is acked again in another stream, for the ack may not have arrived.
    acked: VecDeque<(Instant, Ack)>,
    credit: i32,
    /// What was settled since credit was granted last; below 0: more is leased than the credit.
    freed: i32,
    ack_wait: Duration,
    /// Nothing more is to come: it ends as soon as there is a stream on which to say so.
    is_over: bool,
}

struct Lease {
    attempt: i32,
    lost: watch::Sender<Option<Error>>,
}

impl Holdings {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics with it")
    }

    /// Says how a message is settled, where it is still held, and grants credit for another one.
    fn settle(&self, sequence: i64, attempt: i32, said: Said, credit: i32) -> Result<()> {
        let mut held = self.lock();
        if held.leases.get(&sequence).is_none_or(|lease| lease.attempt != attempt) {
            return Err(stale(sequence, attempt));
        }
        held.leases.remove(&sequence);
        held.say(said);
        held.free(credit);
        self.settled.notify_one();
        Ok(())
    }

    /// Takes messages out that are another subscriber's now, or wait for one.
    fn lose(&self, sequences: &[i64], attempt: i32, why: &Error) {
        let mut held = self.lock();
        for sequence in sequences {
            if held.leases.get(sequence).is_some_and(|lease| lease.attempt == attempt) {
                let lease = held.leases.remove(sequence).expect("it is there");
                lease.lost.send_replace(Some(why.clone()));
                held.free(1);
            }
        }
        self.settled.notify_one();
    }

    /// Lets what is said wait: there is no stream.
    fn hold_back(&self) {
        let mut held = self.lock();
        held.forget_acked();
        held.voice = None;
    }
}

impl Held {
    fn free(&mut self, credit: i32) {
        self.freed += credit;
        if let Some(voice) = self.voice.as_ref().filter(|_| self.freed > 0) {
            voice.say(Said::Credit(Credit { messages: std::mem::take(&mut self.freed) }));
        }
    }

    fn end(&mut self) {
        self.is_over = true;
        if let Some(voice) = &self.voice {
            voice.cancel(Cancel { nothing_begun: true, ..Default::default() });
        }
    }

    fn say(&mut self, said: Said) {
        let Some(voice) = &self.voice else { return self.later.push(said) };
        let ack = if let Said::Ack(ack) = &said { Some(ack.clone()) } else { None };
        voice.say(said);
        if let Some(ack) = ack {
            self.forget_acked();
            self.acked.push_back((Instant::now(), ack));
        }
    }

    /// Says again what may not have arrived, and what waited for a stream.
    fn speak_again(&mut self, voice: &Voice) {
        self.voice = Some(voice.clone());
        let acked = std::mem::take(&mut self.acked);
        let each = acked.iter().flat_map(|(_, ack)| ack.sequences.iter().map(|sequence| (*sequence, ack.attempt)));
        for (attempt, sequences) in by_attempt(each) {
            self.say(Said::Ack(Ack { attempt, sequences }));
        }
        std::mem::take(&mut self.later).into_iter().for_each(|said| self.say(said));
        self.extend();
    }

    /// Forgets what was acked so long ago that it has arrived.
    fn forget_acked(&mut self) {
        while self.acked.front().is_some_and(|(at, ..)| at.elapsed() > ACKED_TIME) {
            self.acked.pop_front();
        }
    }

    /// Lets all leases begin anew.
    fn extend(&self) {
        let Some(voice) = &self.voice else { return };
        for (attempt, sequences) in by_attempt(self.leases.iter().map(|(sequence, lease)| (*sequence, lease.attempt))) {
            voice.say(Said::Extend(Extend { attempt, sequences, ..Default::default() }));
        }
    }
}

/// Returns attempts, each with messages of it, as many as one frame may have.
fn by_attempt(messages: impl Iterator<Item = (i64, i32)>) -> Vec<(i32, Vec<i64>)> {
    let mut all: HashMap<_, Vec<_>> = HashMap::new();
    messages.for_each(|(sequence, attempt)| all.entry(attempt).or_default().push(sequence));
    let frames = all.iter().flat_map(|(attempt, sequences)| sequences.chunks(MAX_SETTLED).map(|some| (*attempt, some.to_vec())));
    frames.collect()
}

fn stale(sequence: i64, attempt: i32) -> Error {
    let message = format!("message {sequence}, attempt {attempt}, is not held any more");
    Error::new("STALE_ACK", Code::FailedPrecondition, message)
}

fn release(sequence: i64, attempt: i32) -> Said {
    Said::Release(Release { attempt, sequences: vec![sequence] })
}

impl DurableSubscription {
    pub(crate) async fn open(bus: &Bus, pattern: &str, name: &str, options: DurableOptions) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::invalid("INVALID_MESSAGE", "durable", name, "a durable subscription has a name"));
        }
        let start = Start {
            pattern: pattern.to_owned(),
            durable: name.to_owned(),
            position: options.position,
            settings: options.settings,
            ..Default::default()
        };
        let held = Held {
            leases: HashMap::new(),
            voice: None,
            later: Vec::new(),
            acked: VecDeque::new(),
            credit: i32::from(options.credit.max(1)),
            freed: 0,
            ack_wait: Duration::from_secs(30),
            is_over: false,
        };
        let holdings = Arc::new(Holdings { held: Mutex::new(held), settled: Notify::new() });
        let call = Call::begin(&bus.lines, |tell| Durable { start, tell, holdings: Arc::clone(&holdings) }).await?;
        tokio::spawn(keep(Arc::downgrade(&holdings)));
        Ok(Self { call, holdings, waiting: VecDeque::new() })
    }

    /// Returns the next message, or why the service ended the subscription.
    pub async fn next(&mut self) -> Result<Leased> {
        loop {
            while let Some((received, attempt)) = self.waiting.pop_front() {
                let lost =
                    self.holdings.lock().leases.get(&received.sequence).map(|lease| (lease.attempt, lease.lost.subscribe()));
                if let Some((_, lost)) = lost.filter(|(held, _)| *held == attempt) {
                    return Ok(Leased { received, attempt, holdings: Arc::clone(&self.holdings), lost });
                } // else its lease was lost while it waited here
            }
            match self.call.events.recv().await {
                Some(Event::Messages(came, attempt)) => self.waiting.extend(came.into_iter().map(|each| (each, attempt))),
                Some(Event::Ended(why)) => return Err(why),
                None => return Err(ended(Service::Bus)),
            }
        }
    }

    /// Ends it: takes no more messages, and returns when those that [`DurableSubscription::next`] has returned are settled. What it
    /// has not returned goes to others at once: no attempt is counted.
    pub async fn drain(mut self) {
        loop {
            for (each, attempt) in self.waiting.drain(..) {
                let _lost = self.holdings.settle(each.sequence, attempt, release(each.sequence, attempt), 0);
            }
            if self.holdings.lock().leases.is_empty() {
                break;
            }
            tokio::select! {
                event = self.call.events.recv() => match event {
                    Some(Event::Messages(came, attempt)) => self.waiting.extend(came.into_iter().map(|each| (each, attempt))),
                    Some(Event::Ended(_)) | None => return,
                },
                () = self.holdings.settled.notified() => {}
            }
        }
        self.holdings.lock().end();
        while self.call.events.recv().await.is_some() {} // ends when the service has taken all that was said
    }
}

/// Extends all leases at a third of their time, while somebody holds them.
async fn keep(holdings: Weak<Holdings>) {
    loop {
        let Some(lease) = holdings.upgrade().map(|holdings| holdings.lock().ack_wait) else { return };
        tokio::time::sleep(lease / 3).await;
        let Some(holdings) = holdings.upgrade() else { return };
        holdings.lock().extend();
    }
}

struct Durable {
    start: Start,
    tell: UnboundedSender<Event>,
    holdings: Arc<Holdings>,
}

impl Role for Durable {
    fn start(&mut self) -> Start {
        let mut held = self.holdings.lock();
        let leased = held.leases.len() as i32;
        let credit = (held.credit - leased).max(1);
        held.freed = held.credit - leased - credit;
        Start { credit: Some(credit), ..self.start.clone() }
    }

    fn started(&mut self, started: Started, voice: &Voice) {
        let mut held = self.holdings.lock();
        if let Some(lease) = started.ack_wait.and_then(|lease| lease.try_into().ok()) {
            held.ack_wait = lease;
        }
        held.speak_again(voice);
        held.free(0);
        if held.is_over {
            held.end();
        }
    }

    fn take(&mut self, frame: Came, _: &Voice) {
        match frame {
            Came::Deliveries(came) => {
                let attempt = came.attempt;
                let came: Vec<_> = received(came).collect();
                let mut held = self.holdings.lock();
                for each in &came {
                    let lease = Lease { attempt, lost: watch::Sender::default() };
                    if held.leases.insert(each.sequence, lease).is_some() {
                        held.free(1); // the attempt before is over
                    }
                }
                drop(held);
                let _unread = self.tell.send(Event::Messages(came, attempt));
            }
            Came::Refused(refused) => {
                let why = refused.error.map_or_else(|| stale(0, refused.attempt), Error::from);
                self.holdings.lose(&refused.sequences, refused.attempt, &why);
            }
            Came::Changed(changed) => {
                if let Some(lease) = changed.ack_wait.and_then(|lease| lease.try_into().ok()) {
                    let mut held = self.holdings.lock();
                    held.ack_wait = lease;
                    held.extend();
                }
            }
            _ => {}
        }
    }

    fn lost(&mut self) {
        self.holdings.hold_back();
    }

    fn end(&mut self, why: Error) {
        self.holdings.hold_back();
        let _unread = self.tell.send(Event::Ended(why));
    }

    /// It begins there behind its end here, for nothing of it can be missed. What is leased stays leased. The service may begin it
    /// only when the replica that is left has ended, which waits until nothing of this client is there.
    async fn move_to(&mut self, old: &mut Stream, way: &Way) -> Moved {
        let opened = tokio::time::timeout(CONFIRM_TIME, async {
            let mut new = Stream::open(&way.line).await?;
            new.confirm().await?;
            Ok::<_, Error>(new)
        });
        let Ok(Ok(new)) = opened.await else { return Err(Unmoved::Stays) };
        self.holdings.hold_back();
        old.voice.cancel(Cancel::default());
        loop {
            match old.next().await {
                Ok(Item::Subscription(frame)) => frame.frame.into_iter().for_each(|frame| self.take(frame, &old.voice)),
                Ok(Item::Error(why)) => return Err(Unmoved::Lost(why.into())),
                Ok(Item::Cancelled(_)) | Err(_) => break,
                Ok(_) => {}
            }
        }
        *old = new;
        old.voice.say(Said::Start(self.start()));
        Ok(())
    }
}

/// A message that a durable subscription handed to this client. Its lease is extended until it is settled; dropped before, also
/// by a panic, it has failed.
pub struct Leased {
    received: Received,
    /// The how many-th time it is handed out, from 1.
    pub attempt: i32,
    holdings: Arc<Holdings>,
    lost: watch::Receiver<Option<Error>>,
}

impl Deref for Leased {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.received
    }
}

impl Leased {
    /// Says that it is done. An error `STALE_ACK` says that it was handed on before.
    pub fn ack(self) -> Result<()> {
        let sequences = vec![self.received.sequence];
        self.settle(Said::Ack(Ack { attempt: self.attempt, sequences }))
    }

    /// Says that it failed, and shall be tried again, by the subscription's backoff.
    pub fn nak(self, why: &str) -> Result<()> {
        self.settle(self.failed(why, None))
    }

    /// Says that it failed, and shall be tried again after a delay, which may be zero.
    pub fn nak_for(self, why: &str, delay: Duration) -> Result<()> {
        let delay = delay
            .try_into()
            .map_err(|_| Error::invalid("INVALID_MESSAGE", "delay", &format!("{delay:?}"), "the delay is beyond any time"))?;
        self.settle(self.failed(why, Some(delay)))
    }

    /// Says that it can never be done: it becomes a dead letter now, with the reason.
    pub fn terminate(self, reason: &str) -> Result<()> {
        let sequences = vec![self.received.sequence];
        self.settle(Said::Terminate(Terminate { attempt: self.attempt, sequences, reason: reason.to_owned() }))
    }

    /// Says that it was not begun: somebody else gets it, and no attempt is counted.
    pub fn release(self) {
        let _stale = self.settle(release(self.received.sequence, self.attempt));
    }

    /// Returns when it is not held any more, though it was not settled, and why: its lease was over, as where this process stood
    /// still, or its subscription was moved. Somebody else may be at it.
    pub async fn lost(&self) -> Error {
        let lost = self.lost.clone().wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        lost.unwrap_or_else(|| stale(self.received.sequence, self.attempt)) // it is handed to this client anew
    }

    fn failed(&self, why: &str, delay: Option<prost_types::Duration>) -> Said {
        let sequences = vec![self.received.sequence];
        Said::Nak(Nak { attempt: self.attempt, sequences, error: why.to_owned(), delay })
    }

    fn settle(&self, said: Said) -> Result<()> {
        self.holdings.settle(self.received.sequence, self.attempt, said, 1)
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let _settled = self.settle(self.failed("it was dropped before it was settled", None));
    }
}
