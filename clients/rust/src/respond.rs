use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{AbortHandle, Id, JoinError, JoinHandle, JoinSet};

use crate::call::{Call, Moved, Role, Unmoved};
use crate::line::{Way, CONFIRM_TIME};
use crate::stream::{Stream, Voice};
use crate::v1::life_event::{Accepted, Event as Life, Failure as Failed, Result as Done};
use crate::v1::open_stream_request::Cancel;
use crate::v1::open_stream_response::server_item::Item;
use crate::v1::subscribe_request::{Credit, Frame as Said, Start};
use crate::v1::subscribe_response::{Deliveries, Frame as Came, Started};
use crate::v1::{LifeEvent, RespondRequest};
use crate::{Bus, Error, Message, Received, Result};

const SIGNS_OF_LIFE: u32 = 3; // within the time in which one is expected

/// A request that this client answers.
#[derive(Clone, Debug)]
pub struct Request {
    received: Received,
    /// The how many-th time it is handed out, from 1.
    pub attempt: i32,
    /// What is left of the time to answer, when it came.
    pub timeout: Duration,
    idle_timeout: Option<Duration>,
}

impl Deref for Request {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.received
    }
}

/// Why a request is not answered, as whoever asked hears it. Any error becomes one, with its text.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// For programs: a word of whoever answers. Empty: none.
    pub code: String,
    /// For people.
    pub text: String,
    /// Whether the same request may succeed later.
    pub is_retryable: bool,
    kind: &'static str,
}

impl Failure {
    /// Returns a failure with a word for programs.
    pub fn new(code: &str, text: &str, is_retryable: bool) -> Self {
        Self { code: code.to_owned(), text: text.to_owned(), is_retryable, kind: "Failure" }
    }
}

impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { text: error.to_string(), kind: "error", ..Default::default() }
    }
}

/// Answers requests until it is dropped. What runs then is called off: whoever asked hears that the responder is lost.
pub struct Responder(JoinHandle<()>);

impl Drop for Responder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Responder {
    pub(crate) async fn open<H, A, E>(bus: &Bus, pattern: &str, concurrency: u16, handler: H) -> Result<Self>
    where
        H: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = std::result::Result<Message, E>> + Send + 'static,
        E: Into<Failure> + 'static,
    {
        let concurrency = concurrency.max(1);
        let credit = Some(concurrency.into());
        let start = Start { pattern: pattern.to_owned(), responder: true, credit, ..Default::default() };
        let call = Call::begin(&bus.lines, |tell| Answering { start, tell, voice: None, leaving: JoinSet::new() }).await?;
        let handler = Arc::new(handler);
        let answer = move |request, voice| answer(request, voice, Arc::clone(&handler));
        Ok(Self(tokio::spawn(Desk::default().work(call, concurrency.into(), answer))))
    }
}

/// What comes of a responder.
enum Event {
    Deliveries(Deliveries, Voice),
    CalledOff(String, Voice),
    Refused(String, Error, Voice),
    /// It takes no more by this voice, and answers there what it has begun.
    Left(Voice),
    /// It answers nothing more by this voice.
    Lost(Voice),
}

/// What a responder has.
#[derive(Default)]
struct Desk {
    waiting: VecDeque<(Request, Voice)>,
    running: JoinSet<()>, // its end calls off what runs
    begun: HashMap<Id, Begun>,
    left: Vec<Voice>,
}

struct Begun {
    id: String,
    voice: Voice,
    task: AbortHandle,
}

impl Desk {
    async fn work<A>(mut self, mut call: Call<Event>, concurrency: usize, answer: impl Fn(Request, Voice) -> A)
    where
        A: Future<Output = ()> + Send + 'static,
    {
        loop {
            while self.begun.len() < concurrency {
                let Some((request, voice)) = self.waiting.pop_front() else { break };
                let id = request.message.correlation_id.clone();
                report(&voice, &id, Life::Accepted(Accepted::default()));
                let task = self.running.spawn(answer(request, voice.clone()));
                self.begun.insert(task.id(), Begun { id, voice, task });
            }
            tokio::select! {
                event = call.events.recv() => match event {
                    Some(event) => self.take(event),
                    None => return,
                },
                Some(ended) = self.running.join_next_with_id() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    if let Some(Begun { voice, .. }) = self.begun.remove(&id) {
                        grant(&voice, 1);
                    }
                }
            }
            self.left.retain(|left| {
                let is_answering = self.begun.values().any(|begun| begun.voice.is(left));
                if !is_answering {
                    left.cancel(Cancel::default()); // behind the last answer
                }
                is_answering
            });
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Deliveries(came, voice) => {
                if self.left.iter().any(|left| left.is(&voice)) {
                    return; // the service takes it back, and gives it to others
                }
                let count = came.messages.len();
                let new: Vec<_> = requests(came).filter(|request| !self.has(&request.message.correlation_id)).collect();
                grant(&voice, count - new.len());
                self.waiting.extend(new.into_iter().map(|request| (request, voice.clone())));
            }
            Event::CalledOff(id, voice) => self.call_off(&id, &voice),
            Event::Refused(id, why, voice) => {
                self.call_off(&id, &voice);
                if why.reason != "REQUEST_NOT_FOUND" {
                    // Who asked would wait for what was refused.
                    report(
                        &voice,
                        &id,
                        failed(Failure { kind: "error", ..Failure::new(&why.reason, &why.message, why.is_retryable()) }),
                    );
                }
            }
            Event::Left(voice) => {
                self.waiting.retain(|(_, by)| !by.is(&voice));
                voice.cancel(Cancel { finish: true, ..Default::default() });
                self.left.push(voice);
            }
            Event::Lost(voice) => {
                self.left.retain(|left| !left.is(&voice));
                self.waiting.retain(|(_, by)| !by.is(&voice));
                self.begun.values().filter(|begun| begun.voice.is(&voice)).for_each(|begun| begun.task.abort());
            }
        }
    }

    fn has(&self, id: &str) -> bool {
        self.begun.values().any(|begun| begun.id == id) || self.waiting.iter().any(|(each, _)| each.message.correlation_id == id)
    }

    fn call_off(&mut self, id: &str, voice: &Voice) {
        let before = self.waiting.len();
        self.waiting.retain(|(each, by)| !(each.message.correlation_id == id && by.is(voice)));
        grant(voice, before - self.waiting.len());
        self.begun.values().filter(|begun| begun.id == id && begun.voice.is(voice)).for_each(|begun| begun.task.abort());
    }
}

fn grant(voice: &Voice, messages: usize) {
    if messages > 0 {
        voice.say(Said::Credit(Credit { messages: messages as i32 }));
    }
}

/// Returns what is a request of a frame.
fn requests(came: Deliveries) -> impl Iterator<Item = Request> {
    let (channel, first) = (came.channel, came.first_sequence);
    let messages = came.messages;
    came.requests.into_iter().filter_map(move |said| {
        let message = messages.get(said.index as usize)?.clone();
        let received = Received { message, channel: channel.clone(), sequence: first + i64::from(said.index) };
        let timeout = said.timeout.and_then(|left| left.try_into().ok()).unwrap_or(Duration::ZERO);
        let idle_timeout = said.idle_timeout.and_then(|idle| idle.try_into().ok());
        Some(Request { received, attempt: said.attempt, timeout, idle_timeout })
    })
}

/// Says what happens in a request's life. Nothing: it is at work.
fn report(voice: &Voice, request_id: &str, event: impl Into<Option<Life>>) {
    let events = event.into().into_iter().map(|event| LifeEvent { event: Some(event), ..Default::default() }).collect();
    voice.say(Said::Respond(RespondRequest { request_id: request_id.to_owned(), events, ..Default::default() }));
}

fn failed(failure: Failure) -> Life {
    let Failure { code, text, is_retryable, kind } = failure;
    Life::Failure(Failed { r#type: kind.to_owned(), text, code, retryable: is_retryable, ..Default::default() })
}

async fn answer<H, A, E>(request: Request, voice: Voice, handler: Arc<H>)
where
    H: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = std::result::Result<Message, E>> + Send + 'static,
    E: Into<Failure> + 'static,
{
    let id = request.message.correlation_id.clone();
    let late = tokio::time::sleep(request.timeout);
    tokio::pin!(late);
    let often = request.idle_timeout.map_or(Duration::MAX, |idle| idle / SIGNS_OF_LIFE);
    let mut work = JoinSet::new(); // so that a panic fails its request alone, and its end calls the handler off
    work.spawn(async move { handler(request).await.map_err(Into::<Failure>::into) });
    let ended = loop {
        tokio::select! {
            ended = work.join_next() => break ended,
            () = tokio::time::sleep(often) => report(&voice, &id, None),
            () = &mut late => return, // whoever asked knows
        }
    };
    let event = match ended {
        Some(Ok(Ok(mut message))) => {
            message.correlation_id.clone_from(&id);
            Life::Result(Done { message: Some(message), ..Default::default() })
        }
        Some(Ok(Err(failure))) => failed(failure),
        Some(Err(error)) => failed(Failure { kind: "panic", text: panic_text(error), ..Default::default() }),
        None => return,
    };
    report(&voice, &id, event);
}

fn panic_text(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "the handler was called off".to_owned() };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "the handler panicked".to_owned())
}

struct Answering {
    start: Start,
    tell: UnboundedSender<Event>,
    voice: Option<Voice>,
    leaving: JoinSet<()>, // its end ends the streams that were left
}

/// Tells what came for a responder.
fn tell(to: &UnboundedSender<Event>, frame: Came, voice: &Voice) {
    let voice = voice.clone();
    let event = match frame {
        Came::Deliveries(came) => Event::Deliveries(came, voice),
        Came::CalledOff(off) => Event::CalledOff(off.request_id, voice),
        Came::RefusedResponse(refused) => match refused.error {
            Some(why) => Event::Refused(refused.request_id, why.into(), voice),
            None => Event::CalledOff(refused.request_id, voice),
        },
        _ => return,
    };
    let _unread = to.send(event);
}

impl Role for Answering {
    fn start(&mut self) -> Start {
        self.start.clone()
    }

    fn started(&mut self, _: Started, voice: &Voice) {
        self.voice = Some(voice.clone());
    }

    fn take(&mut self, frame: Came, voice: &Voice) {
        tell(&self.tell, frame, voice);
    }

    fn lost(&mut self) {
        if let Some(voice) = self.voice.take() {
            let _unread = self.tell.send(Event::Lost(voice)); // whoever asked hears so
        }
    }

    fn end(&mut self, _: Error) {
        self.lost();
    }

    /// It answers there what comes from then on, and here what it has begun. Until then whoever asks finds it at both.
    async fn move_to(&mut self, old: &mut Stream, way: &Way) -> Moved {
        let Ok(mut new) = Stream::open(&way.line).await else { return Err(Unmoved::Stays) };
        new.voice.say(Said::Start(self.start.clone()));
        let late = tokio::time::sleep(CONFIRM_TIME);
        tokio::pin!(late);
        let mut held = Vec::new();
        loop {
            tokio::select! {
                item = old.next() => match item {
                    Ok(Item::Subscription(frame)) => frame.frame.into_iter().for_each(|frame| self.take(frame, &old.voice)),
                    Ok(Item::Error(why)) => return Err(Unmoved::Lost(why.into())),
                    Err(why) => return Err(Unmoved::Lost(why)),
                    Ok(_) => {}
                },
                item = new.next() => match item {
                    Ok(Item::Subscription(frame)) => match frame.frame {
                        Some(Came::Started(_)) => break,
                        other => held.extend(other),
                    },
                    Ok(Item::Error(_)) | Err(_) => return Err(Unmoved::Stays),
                    Ok(_) => {}
                },
                () = &mut late => return Err(Unmoved::Stays),
            }
        }
        let left = std::mem::replace(old, new);
        let _unread = self.tell.send(Event::Left(left.voice.clone()));
        self.voice = Some(old.voice.clone());
        held.into_iter().for_each(|frame| self.take(frame, &old.voice));
        while self.leaving.try_join_next().is_some() {}
        self.leaving.spawn(read_out(left, self.tell.clone()));
        Ok(())
    }
}

/// Reads a stream that was left, until the last answer there is given.
async fn read_out(mut left: Stream, to: UnboundedSender<Event>) {
    while let Ok(item) = left.next().await {
        match item {
            Item::Subscription(frame) => frame.frame.into_iter().for_each(|frame| tell(&to, frame, &left.voice)),
            Item::Cancelled(_) | Item::Error(_) => break,
            _ => {}
        }
    }
    let _unread = to.send(Event::Lost(left.voice.clone()));
}
