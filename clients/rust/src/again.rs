//! What a service refuses for now is asked again when it says; and when what was lost is tried anew.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{sleep, sleep_until, Instant};

use crate::line::{RETRY_MAX, RETRY_MIN};
use crate::{Error, Result};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30); // of a call whose caller gives no time

/// Asks, and again when the service says, within a time. `ask` is told how long is left.
///
/// It is an error `OVERLOADED` where the service does not say when, or it is not by then.
pub(crate) async fn again<T, A: Future<Output = Result<T>>>(within: Duration, ask: impl Fn(Duration) -> A) -> Result<T> {
    Turn::default().again(within, ask).await
}

/// What a service refused for now of several calls: until it takes more, those that come after wait, too.
#[derive(Debug, Default)]
pub(crate) struct Turn(Mutex<Option<(Instant, Error)>>);

impl Turn {
    /// Does as the function does, and not before what others were refused may be asked again.
    pub(crate) async fn again<T, A>(&self, within: Duration, ask: impl Fn(Duration) -> A) -> Result<T>
    where
        A: Future<Output = Result<T>>,
    {
        let begun = Instant::now();
        let mut left = within;
        loop {
            while let Some((until, why)) = self.refused() {
                if until - Instant::now() >= left {
                    return Err(why);
                }
                sleep_until(until).await;
                left = within.saturating_sub(begun.elapsed());
                if left.is_zero() {
                    return Err(why); // it was woken late
                }
            }
            let why = match ask(left).await {
                Err(why) => why,
                answered => return answered,
            };
            left = within.saturating_sub(begun.elapsed());
            match why.retry_after() {
                Some(wait) if wait < left => self.refuse(Instant::now() + wait, why),
                _ => return Err(why),
            }
        }
    }

    /// Returns until when the service takes nothing more, and why.
    fn refused(&self) -> Option<(Instant, Error)> {
        let mut refused = self.0.lock().expect("nothing panics with it");
        if refused.as_ref().is_some_and(|(until, _)| *until <= Instant::now()) {
            *refused = None;
        }
        refused.clone()
    }

    fn refuse(&self, until: Instant, why: Error) {
        let mut refused = self.0.lock().expect("nothing panics with it");
        if refused.as_ref().is_none_or(|(before, _)| *before < until) {
            *refused = Some((until, why));
        }
    }
}

/// The pauses before what was lost is tried anew: they grow, and last as long as the service says, where it does.
pub(crate) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(RETRY_MIN)
    }
}

impl Pauses {
    /// Waits, after an error.
    pub(crate) async fn pass(&mut self, why: &Error) {
        sleep(self.0.max(why.retry_after().unwrap_or_default())).await;
        self.0 = (2 * self.0).min(RETRY_MAX);
    }
}
