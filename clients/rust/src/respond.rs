use std::collections::HashMap;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::subscription::{Call, Event, Speaker};
use crate::v1::life_event::{Accepted, Event as Life, Failure, Result as Done};
use crate::v1::subscribe_request::{Credit, Frame as Said, Start};
use crate::v1::subscribe_response::{Deliveries, Frame as Came};
use crate::v1::{LifeEvent, RespondRequest};
use crate::{Bus, Message, Received, Result};

/// A request that this client answers.
#[derive(Clone, Debug)]
pub struct Request {
    received: Received,
    /// The how many-th time it is handed out, from 1.
    pub attempt: i32,
    /// What is left of the time to answer, when it came.
    pub timeout: Duration,
}

impl Deref for Request {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.received
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
        E: std::fmt::Display + 'static,
    {
        let concurrency = concurrency.max(1);
        let start =
            Start { pattern: pattern.to_owned(), responder: true, credit: Some(concurrency.into()), ..Default::default() };
        let mut call = Call::begin(bus, start);
        call.started().await?;
        Ok(Self(tokio::spawn(answer_all(call, concurrency.into(), handler))))
    }
}

async fn answer_all<H, A, E>(mut call: Call, concurrency: usize, handler: H)
where
    H: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = std::result::Result<Message, E>> + Send + 'static,
    E: std::fmt::Display + 'static,
{
    let (handler, places) = (Arc::new(handler), Arc::new(Semaphore::new(concurrency)));
    let mut running = JoinSet::new(); // its end calls off what runs
    let mut by_id = HashMap::new();
    while let Some(event) = call.events.recv().await {
        while running.try_join_next().is_some() {}
        match event {
            Event::Deliveries(came) => {
                for request in requests(came, &call.speaker) {
                    let id = request.message.correlation_id.clone();
                    let one = answer(request, Arc::clone(&handler), call.speaker.clone(), Arc::clone(&places));
                    by_id.retain(|_, each: &mut tokio::task::AbortHandle| !each.is_finished());
                    by_id.insert(id, running.spawn(one));
                }
            }
            Event::Other(Came::CalledOff(off)) => {
                by_id.remove(&off.request_id).iter().for_each(tokio::task::AbortHandle::abort);
            }
            Event::Lost(_) => running.abort_all(), // whoever asked hears so
            Event::Other(_) | Event::Started(_) => {}
            Event::Ended(_) => return,
        }
    }
}

/// Returns what is a request of a frame; what is none is done with.
fn requests(came: Deliveries, speaker: &Speaker) -> Vec<Request> {
    let passed_over = came.messages.len() - came.requests.len();
    if passed_over > 0 {
        speaker.say(Said::Credit(Credit { messages: passed_over as i32 }));
    }
    let (channel, first) = (came.channel, came.first_sequence);
    let found = came.requests.into_iter().filter_map(|said| {
        let message = came.messages.get(said.index as usize)?.clone();
        let received = Received { message, channel: channel.clone(), sequence: first + i64::from(said.index) };
        let timeout = said.timeout.and_then(|left| left.try_into().ok()).unwrap_or(Duration::ZERO);
        Some(Request { received, attempt: said.attempt, timeout })
    });
    found.collect()
}

/// Grants credit for one more when a request is over, however it ends.
struct Place(Speaker);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.say(Said::Credit(Credit { messages: 1 }));
    }
}

async fn answer<H, A, E>(request: Request, handler: Arc<H>, speaker: Speaker, places: Arc<Semaphore>)
where
    H: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = std::result::Result<Message, E>> + Send + 'static,
    E: std::fmt::Display + 'static,
{
    let _place = Place(speaker.clone());
    let Ok(_permit) = places.acquire().await else { return };
    let id = request.message.correlation_id.clone();
    let say = |event| {
        let event = LifeEvent { event: Some(event), ..Default::default() };
        speaker.say(Said::Respond(RespondRequest { request_id: id.clone(), events: vec![event], ..Default::default() }));
    };
    say(Life::Accepted(Accepted::default()));
    let timeout = request.timeout;
    let mut work = JoinSet::new(); // so that a panic fails its request alone, and its end calls the handler off
    work.spawn(async move { handler(request).await.map_err(|error| error.to_string()) });
    let failed = |kind: &str, text: String| Life::Failure(Failure { r#type: kind.to_owned(), text, ..Default::default() });
    let event = match tokio::time::timeout(timeout, work.join_next()).await {
        Err(_) => return, // whoever asked knows
        Ok(Some(Ok(Ok(mut message)))) => {
            message.correlation_id.clone_from(&id);
            Life::Result(Done { message: Some(message), ..Default::default() })
        }
        Ok(Some(Ok(Err(text)))) => failed("error", text),
        Ok(Some(Err(error))) => failed("panic", panic_text(error)),
        Ok(None) => return,
    };
    say(event);
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "the handler was called off".to_owned() };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "the handler panicked".to_owned())
}
