use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::call::{Call, Moved, Role, Unmoved};
use crate::line::{ended, Service, Way, CONFIRM_TIME};
use crate::stream::{Stream, Voice};
use crate::v1::open_stream_request::Cancel;
use crate::v1::open_stream_response::server_item::Item;
use crate::v1::subscribe_request::{Credit, Frame as Said, Start};
use crate::v1::subscribe_response::{Deliveries, Frame as Came, Started};
use crate::{Bus, Error, Received, Result};

const KNOWN_TIME: Duration = Duration::from_secs(60); // for which it is known what came on the stream before

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
    call: Call<Event>,
    credit: i32,
    voice: Option<Voice>,
    taken: i32, // of what came by this voice, since credit was granted last
    waiting: VecDeque<(Received, Voice)>,
    dropped: i64,
}

/// What comes of a live subscription.
enum Event {
    Started(Voice),
    Messages(Vec<Received>, Voice),
    Lagged(i64),
    Ended(Error),
}

impl Subscription {
    pub(crate) async fn open(bus: &Bus, pattern: &str, options: LiveOptions) -> Result<Self> {
        let credit = i32::from(options.credit.max(1));
        let start = Start {
            pattern: pattern.to_owned(),
            group: options.group,
            observer: options.is_observer,
            credit: Some(credit),
            ..Default::default()
        };
        let call = Call::begin(&bus.lines, |tell| Live { start, tell, known: Vec::new() }).await?;
        Ok(Self { call, credit, voice: None, taken: 0, waiting: VecDeque::new(), dropped: 0 })
    }

    /// Returns how many messages the service dropped so far since this subscriber was too slow.
    pub fn dropped(&self) -> i64 {
        self.dropped
    }

    /// Returns the next message, or why the service ended the subscription.
    pub async fn next(&mut self) -> Result<Received> {
        loop {
            if let Some((came, voice)) = self.waiting.pop_front() {
                self.grant(&voice);
                return Ok(came);
            }
            match self.call.events.recv().await {
                Some(Event::Messages(came, voice)) => self.waiting.extend(came.into_iter().map(|each| (each, voice.clone()))),
                Some(Event::Started(voice)) => (self.voice, self.taken) = (Some(voice), 0),
                Some(Event::Lagged(dropped)) => self.dropped += dropped,
                Some(Event::Ended(why)) => return Err(why),
                None => return Err(ended(Service::Bus)),
            }
        }
    }

    /// Lets the service send as many more as were taken, when that is half of the credit; what a stream before has brought had the
    /// credit of that one.
    fn grant(&mut self, by: &Voice) {
        let Some(voice) = self.voice.as_ref().filter(|voice| voice.is(by)) else { return };
        self.taken += 1;
        if self.taken >= (self.credit + 1) / 2 {
            voice.say(Said::Credit(Credit { messages: std::mem::take(&mut self.taken) }));
        }
    }
}

/// Returns the messages of a frame.
pub(crate) fn received(came: Deliveries) -> impl Iterator<Item = Received> {
    let (channel, first) = (came.channel, came.first_sequence);
    let numbered = came.messages.into_iter().zip(first..);
    numbered.map(move |(message, sequence)| Received { message, channel: channel.clone(), sequence })
}

struct Live {
    start: Start,
    tell: UnboundedSender<Event>,
    /// What came on a stream before, and may come again, by its sequences, which are the same at all replicas; and until when.
    known: Vec<(Instant, HashSet<i64>)>,
}

impl Live {
    fn tell(&self, event: Event) {
        let _unread = self.tell.send(event);
    }

    /// Gives out what is not known.
    fn give(&mut self, came: Deliveries, voice: &Voice) {
        let now = Instant::now();
        self.known.retain(|(until, _)| now < *until);
        let count = came.messages.len();
        let is_new = |each: &Received| self.known.iter().all(|(_, known)| !known.contains(&each.sequence));
        let new: Vec<_> = received(came).filter(is_new).collect();
        if new.len() < count {
            voice.say(Said::Credit(Credit { messages: (count - new.len()) as i32 }));
        }
        self.tell(Event::Messages(new, voice.clone()));
    }
}

/// What waits while two streams have a subscription. Of a group each stream brings what the other does not: both wait, and what
/// has come is put in order, for one publisher's sequences rise. Of others both may bring the same: the new one waits, and what is
/// known from the old one is left out.
#[derive(Default)]
struct Both {
    held: Vec<(Deliveries, Voice)>,
    by_old: HashSet<i64>,
}

impl Role for Live {
    fn start(&mut self) -> Start {
        self.start.clone()
    }

    fn started(&mut self, _: Started, voice: &Voice) {
        self.tell(Event::Started(voice.clone()));
    }

    fn take(&mut self, frame: Came, voice: &Voice) {
        match frame {
            Came::Deliveries(came) => self.give(came, voice),
            Came::Lagged(lagged) => self.tell(Event::Lagged(lagged.dropped)),
            _ => {}
        }
    }

    fn lost(&mut self) {}

    fn end(&mut self, why: Error) {
        self.tell(Event::Ended(why));
    }

    async fn move_to(&mut self, old: &mut Stream, way: &Way) -> Moved {
        let Ok(mut new) = Stream::open(&way.line).await else { return Err(Unmoved::Stays) };
        new.voice.say(Said::Start(self.start.clone()));
        let mut both = Both::default();
        let moved = self.meet(old, &mut new, &mut both).await;
        if !self.start.group.is_empty() {
            both.held.sort_by_key(|(came, _)| came.first_sequence);
        } else if matches!(moved, Err(Unmoved::Stays)) {
            return moved; // the old one brings what the new one has brought
        } else {
            self.known.push((Instant::now() + KNOWN_TIME, both.by_old));
        }
        if moved.is_ok() {
            self.tell(Event::Started(new.voice.clone()));
        }
        both.held.into_iter().for_each(|(came, voice)| self.give(came, &voice));
        moved.map(|()| *old = new)
    }
}

impl Live {
    /// Reads both streams, until the old one has brought its last.
    async fn meet(&mut self, old: &mut Stream, new: &mut Stream, both: &mut Both) -> Moved {
        let is_group = !self.start.group.is_empty();
        let late = tokio::time::sleep(CONFIRM_TIME);
        tokio::pin!(late);
        let mut is_confirmed = false;
        loop {
            tokio::select! {
                item = old.next() => match item {
                    Ok(Item::Subscription(frame)) => match frame.frame {
                        Some(Came::Deliveries(came)) if is_group => both.held.push((came, old.voice.clone())),
                        Some(Came::Deliveries(came)) => {
                            both.by_old.extend((came.first_sequence..).take(came.messages.len()));
                            self.give(came, &old.voice);
                        }
                        Some(other) => self.take(other, &old.voice),
                        None => {}
                    },
                    Ok(Item::Cancelled(_)) => return Ok(()),
                    Ok(Item::Error(_)) | Err(_) if is_confirmed => return Ok(()), // it goes on with the new one
                    Ok(Item::Error(why)) => return Err(Unmoved::Lost(why.into())),
                    Err(why) => return Err(Unmoved::Lost(why)),
                    Ok(_) => {}
                },
                item = new.next() => match item {
                    Ok(Item::Subscription(frame)) => match frame.frame {
                        Some(Came::Started(_)) => {
                            is_confirmed = true;
                            old.voice.cancel(Cancel { finish: true, ..Default::default() });
                        }
                        Some(Came::Deliveries(came)) => both.held.push((came, new.voice.clone())),
                        Some(other) => self.take(other, &new.voice),
                        None => {}
                    },
                    Ok(Item::Error(why)) if is_confirmed => return Err(Unmoved::Lost(why.into())),
                    Err(why) if is_confirmed => return Err(Unmoved::Lost(why)),
                    Ok(Item::Error(_)) | Err(_) => return Err(Unmoved::Stays),
                    Ok(_) => {}
                },
                () = &mut late, if !is_confirmed => return Err(Unmoved::Stays),
            }
        }
    }
}
