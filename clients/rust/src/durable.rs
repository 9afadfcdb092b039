use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tonic::Code;

use crate::subscription::{ended, received, Call, Event, Speaker};
use crate::v1::subscribe_request::{Credit, Frame as Said, Start};
use crate::v1::subscribe_response::Frame as Came;
use crate::v1::{Ack, DurableSettings, Extend, Nak, Position, Release, Terminate};
use crate::{Bus, Error, Received, Result};

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
/// what is leased to it then comes again when its time is over, or is given back before by [`DurableSubscription::release`].
pub struct DurableSubscription {
    call: Call,
    holdings: Arc<Holdings>,
    waiting: VecDeque<Leased>,
}

/// What is leased to this client, and is not settled.
struct Holdings {
    speaker: Speaker,
    attempts: Mutex<HashMap<i64, i32>>,
}

impl Holdings {
    /// Takes a message out; tells whether it was still held.
    fn free(&self, sequence: i64, attempt: i32) -> bool {
        let mut attempts = self.attempts.lock().expect("nothing panics with it");
        let is_held = attempts.get(&sequence) == Some(&attempt);
        if is_held {
            attempts.remove(&sequence);
        }
        is_held
    }

    /// Lets all leases begin anew.
    fn extend(&self) {
        let mut by_attempt: HashMap<i32, Vec<i64>> = HashMap::new();
        for (sequence, attempt) in self.attempts.lock().expect("nothing panics with it").iter() {
            by_attempt.entry(*attempt).or_default().push(*sequence);
        }
        for (attempt, sequences) in by_attempt {
            self.speaker.say(Said::Extend(Extend { attempt, sequences, ..Default::default() }));
        }
    }
}

impl DurableSubscription {
    pub(crate) async fn open(bus: &Bus, pattern: &str, name: &str, options: DurableOptions) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::invalid("INVALID_MESSAGE", "durable", name, "a durable subscription has a name"));
        }
        let mut call = Call::begin(
            bus,
            Start {
                pattern: pattern.to_owned(),
                durable: name.to_owned(),
                credit: Some(i32::from(options.credit.max(1))),
                position: options.position,
                settings: options.settings,
                ..Default::default()
            },
        );
        let lease = call.started().await?;
        let holdings = Arc::new(Holdings { speaker: call.speaker.clone(), attempts: Mutex::default() });
        tokio::spawn(keep(Arc::downgrade(&holdings), lease));
        Ok(Self { call, holdings, waiting: VecDeque::new() })
    }

    /// Returns the next message, or why the service ended the subscription.
    pub async fn next(&mut self) -> Result<Leased> {
        loop {
            if let Some(leased) = self.waiting.pop_front() {
                return Ok(leased);
            }
            match self.call.events.recv().await {
                Some(Event::Deliveries(came)) => {
                    let attempt = came.attempt;
                    for received in received(came) {
                        let mut attempts = self.holdings.attempts.lock().expect("nothing panics with it");
                        attempts.insert(received.sequence, attempt);
                        drop(attempts);
                        self.waiting.push_back(Leased { received, attempt, holdings: Arc::clone(&self.holdings) });
                    }
                }
                Some(Event::Started(_)) => self.holdings.extend(),
                Some(Event::Other(Came::Refused(refused))) => {
                    for sequence in refused.sequences {
                        self.holdings.free(sequence, refused.attempt);
                    }
                }
                Some(Event::Other(_) | Event::Lost(_)) => {}
                Some(Event::Ended(why)) => return Err(why),
                None => return Err(ended()),
            }
        }
    }

    /// Gives back what was not returned by [`DurableSubscription::next`] yet: no attempt is counted.
    pub fn release(&mut self) {
        self.waiting.drain(..).for_each(Leased::release);
    }
}

/// Extends all leases at a third of their time, while somebody holds them.
async fn keep(holdings: std::sync::Weak<Holdings>, lease: Duration) {
    loop {
        tokio::time::sleep(lease / 3).await;
        let Some(holdings) = holdings.upgrade() else { return };
        holdings.extend();
    }
}

/// A message that a durable subscription handed to this client. Its lease is extended until it is settled; dropped before, also
/// by a panic, it has failed.
pub struct Leased {
    received: Received,
    /// The how many-th time it is handed out, from 1.
    pub attempt: i32,
    holdings: Arc<Holdings>,
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
        let sequences = vec![self.received.sequence];
        self.settle(Said::Nak(Nak { attempt: self.attempt, sequences, error: why.to_owned(), ..Default::default() }))
    }

    /// Says that it can never be done: it becomes a dead letter now, with the reason.
    pub fn terminate(self, reason: &str) -> Result<()> {
        let sequences = vec![self.received.sequence];
        self.settle(Said::Terminate(Terminate { attempt: self.attempt, sequences, reason: reason.to_owned() }))
    }

    /// Says that it was not begun: somebody else gets it, and no attempt is counted.
    pub fn release(self) {
        let sequences = vec![self.received.sequence];
        let _stale = self.settle(Said::Release(Release { attempt: self.attempt, sequences }));
    }

    fn settle(&self, said: Said) -> Result<()> {
        let (sequence, attempt) = (self.received.sequence, self.attempt);
        if !self.holdings.free(sequence, attempt) {
            let message = format!("message {sequence}, attempt {attempt}, is not held any more");
            return Err(Error::new("STALE_ACK", Code::FailedPrecondition, message));
        }
        self.holdings.speaker.say(said);
        self.holdings.speaker.say(Said::Credit(Credit { messages: 1 }));
        Ok(())
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let (sequences, error) = (vec![self.received.sequence], "it was dropped before it was settled".to_owned());
        let _settled = self.settle(Said::Nak(Nak { attempt: self.attempt, sequences, error, ..Default::default() }));
    }
}
