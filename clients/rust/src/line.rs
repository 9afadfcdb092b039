//! The connection of a client, and how it moves to another replica, when the service asks for it, without anything lost, doubled
//! or failed.
//!
//! Each client has one stream that is its home: it hears there that it shall move. Then it opens another connection, which may
//! reach another replica, and a home there. Calls that publish, or of a state, wait until those before them are answered, and,
//! of a bus, until what they published has arrived at all replicas: from then on all calls go by the new connection. Streams
//! follow by themselves, and calls that last longer end where they began; the old home stays until all of them have.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{watch, RwLock, RwLockReadGuard};
use tokio::task::JoinHandle;
use tonic::{Code, Streaming};

use crate::address::Target;
use crate::again::Pauses;
use crate::stream::{promised, Outgoing, Stream};
use crate::v1::open_state_stream_response::server_item::Item as StateItem;
use crate::v1::open_stream_response::server_item::Item;
use crate::v1::state_service_client::StateServiceClient;
use crate::v1::{OpenStateStreamRequest, OpenStateStreamResponse};
use crate::{Error, Line, Options, Result};

pub(crate) const RETRY_MIN: Duration = Duration::from_millis(50);
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(5);
pub(crate) const CONFIRM_TIME: Duration = Duration::from_secs(10); // what another replica has to confirm what begins there
pub(crate) const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

/// What a client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Bus,
    State,
}

impl Service {
    /// Returns the reason of a lost connection.
    pub(crate) fn lost(self) -> &'static str {
        match self {
            Self::Bus => "BUS_DISCONNECTED",
            Self::State => "STATE_DISCONNECTED",
        }
    }
}

/// A connection. Whoever has it keeps the home there open.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) line: Line,
    pub(crate) number: u64,
    _used: mpsc::Sender<Infallible>,
}

/// The connection of a client.
#[derive(Debug)]
pub(crate) struct Lines {
    target: Target,
    gate: RwLock<()>, // who passes it holds back a move
    now: watch::Sender<Way>,
    asked: watch::Sender<u64>, // the newest connection that is to be left
    restored: watch::Sender<u64>,
    losses: Mutex<usize>,
    home: OnceLock<JoinHandle<()>>,
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.home.get().into_iter().for_each(JoinHandle::abort);
    }
}

impl Lines {
    pub(crate) async fn connect(address: &str, options: Options, service: Service) -> Result<Arc<Self>> {
        let target = Target::new(address, options, service)?;
        let (line, home) = target
            .reach(|| async {
                let line = target.dial().await?;
                let home = Home::open(&line, service).await?;
                Ok((line, home))
            })
            .await?;
        let (way, used) = way(line, 1);
        let made = Arc::new(Self {
            target,
            gate: RwLock::default(),
            now: watch::Sender::new(way),
            asked: watch::Sender::default(),
            restored: watch::Sender::default(),
            losses: Mutex::default(),
            home: OnceLock::new(),
        });
        let tended = tokio::spawn(tend(Arc::downgrade(&made), Place { home, used, number: 1 }, made.asked.subscribe()));
        made.home.set(tended).expect("it is set once");
        Ok(made)
    }

    /// Returns the connection of now.
    pub(crate) fn way(&self) -> Way {
        self.now.borrow().clone()
    }

    /// Returns the connection of now, for a call that ends before the client moves.
    pub(crate) async fn enter(&self) -> (Way, RwLockReadGuard<'_, ()>) {
        let entered = self.gate.read().await;
        (self.way(), entered)
    }

    /// Tells of each other connection that takes the place of the one before.
    pub(crate) fn ways(&self) -> watch::Receiver<Way> {
        self.now.subscribe()
    }

    /// Says that a stream of this connection was asked to move, as one with a durable subscription is when the replica stops that
    /// has it: then the client does, as if its home had heard it.
    pub(crate) fn ask(&self, number: u64) {
        self.asked.send_if_modified(|asked| number > std::mem::replace(asked, number.max(*asked)));
    }

    /// Counts how often what was lost is all restored.
    pub(crate) fn restored(&self) -> watch::Receiver<u64> {
        self.restored.subscribe()
    }

    /// Says that a stream is lost, until what is returned is dropped: then it is restored.
    pub(crate) fn lose(self: &Arc<Self>) -> Loss {
        *self.losses.lock().expect("nothing panics with it") += 1;
        Loss(Arc::downgrade(self))
    }
}

/// A stream that is lost.
pub(crate) struct Loss(Weak<Lines>);

impl Drop for Loss {
    fn drop(&mut self) {
        let Some(lines) = self.0.upgrade() else { return };
        let mut losses = lines.losses.lock().expect("nothing panics with it");
        *losses -= 1;
        if *losses == 0 {
            lines.restored.send_modify(|times| *times += 1);
        }
    }
}

fn way(line: Line, number: u64) -> (Way, mpsc::Receiver<Infallible>) {
    let (_used, used) = mpsc::channel(1);
    (Way { line, number, _used }, used)
}

/// The home at a connection, and who uses that.
struct Place {
    home: Home,
    used: mpsc::Receiver<Infallible>,
    number: u64,
}

/// Keeps a home open, until the client is dropped.
async fn tend(client: Weak<Lines>, mut place: Place, mut asked: watch::Receiver<u64>) {
    loop {
        let heard = tokio::select! {
            heard = place.home.asked() => heard,
            Ok(_) = asked.wait_for(|asked| *asked >= place.number) => Ok(()),
        };
        let Some(lines) = client.upgrade() else { return };
        let moved = match heard {
            Ok(()) => move_on(&lines, &mut place).await,
            Err(_) => None,
        };
        if let Some(made) = moved {
            let mut left = std::mem::replace(&mut place, made);
            tokio::spawn(async move {
                left.used.recv().await; // comes when nobody uses it any more
                drop(left.home);
            });
            continue;
        }
        let (loss, line, service) = (lines.lose(), lines.way().line, lines.target.service);
        drop(lines);
        match restore(&client, &line, service).await {
            Some(home) => place.home = home,
            None => return std::mem::forget(loss), // it stays lost
        }
    }
}

/// Opens a home that was lost, as often as it takes. None: the client is dropped, or is not let in any more.
async fn restore(lines: &Weak<Lines>, line: &Line, service: Service) -> Option<Home> {
    let (mut pauses, mut why) = (Pauses::default(), ended(service));
    loop {
        pauses.pass(&why).await;
        lines.upgrade()?;
        match Home::open(line, service).await {
            Ok(home) => return Some(home),
            Err(why) if ["UNAUTHENTICATED", "PERMISSION_DENIED"].contains(&why.reason.as_str()) => return None,
            Err(other) => why = other,
        }
    }
}

/// Moves to another connection, where one can be made before the home of now is lost.
async fn move_on(lines: &Arc<Lines>, place: &mut Place) -> Option<Place> {
    let (line, home) = tokio::select! {
        made = elsewhere(&lines.target) => made,
        () = place.home.until_lost() => return None,
    };
    let _closed = lines.gate.write().await;
    let _lost = place.home.ping(true).await; // then nothing of it is on its way any more
    let (way, used) = way(line, place.number + 1);
    lines.now.send_replace(way);
    Some(Place { home, used, number: place.number + 1 })
}

async fn elsewhere(target: &Target) -> (Line, Home) {
    let mut pauses = Pauses::default();
    loop {
        let made = tokio::time::timeout(CONFIRM_TIME, async {
            let line = target.dial().await?;
            let mut home = Home::open(&line, target.service).await?;
            home.ping(false).await?; // one that was let in can have been refused a moment later
            Ok::<_, Error>((line, home))
        });
        let why = match made.await {
            Ok(Ok(made)) => return made,
            Ok(Err(why)) => why,
            Err(_) => ended(target.service),
        };
        pauses.pass(&why).await; // it may have been the replica that stops
    }
}

/// A stream on which a client hears that it shall move.
struct Home {
    frames: Frames,
    is_asked: bool,
}

enum Frames {
    Bus(Stream),
    State(Streaming<OpenStateStreamResponse>, #[allow(dead_code)] UnboundedSender<OpenStateStreamRequest>), // which keeps it open
}

impl Home {
    /// Returns when the service has accepted it.
    async fn open(line: &Line, service: Service) -> Result<Self> {
        let frames = match service {
            Service::Bus => Frames::Bus(Stream::open(line).await?),
            Service::State => {
                let (say, said) = mpsc::unbounded_channel();
                let opened = StateServiceClient::new(line.clone()).open_state_stream(promised(Outgoing(said))).await;
                Frames::State(opened.map_err(|status| Error::of(service, status))?.into_inner(), say)
            }
        };
        Ok(Self { frames, is_asked: false })
    }

    /// Hears what comes next; tells whether it is a pong. An error says that it is lost.
    async fn hear(&mut self) -> Result<bool> {
        match &mut self.frames {
            Frames::Bus(stream) => {
                let item = stream.next().await?;
                self.is_asked |= matches!(item, Item::Move(_));
                Ok(matches!(item, Item::Pong(_)))
            }
            Frames::State(frames, _) => {
                let came = frames.message().await.map_err(|status| Error::of(Service::State, status))?;
                let items = came.ok_or_else(|| ended(Service::State))?.items;
                self.is_asked |= items.iter().any(|each| matches!(each.item, Some(StateItem::Move(_))));
                Ok(false)
            }
        }
    }

    /// Returns when the service has asked it to move.
    async fn asked(&mut self) -> Result<()> {
        while !self.is_asked {
            self.hear().await?;
        }
        Ok(())
    }

    async fn until_lost(&mut self) {
        while self.hear().await.is_ok() {}
    }

    /// Returns when the service has taken all before it, and also has sent it to all replicas. A state has nothing to send.
    async fn ping(&mut self, sent: bool) -> Result<()> {
        let Frames::Bus(stream) = &self.frames else { return Ok(()) };
        stream.voice.ping(sent);
        while !self.hear().await? {}
        Ok(())
    }
}

/// Returns what is said where nothing more comes.
pub(crate) fn ended(service: Service) -> Error {
    Error::new(service.lost(), Code::Unavailable, "the service ended the stream")
}
