//! Answers of wgpu that are not there at once.

use crate::error::{Error, Result};
use futures::FutureExt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

/// What an error scope will say.
#[cfg(not(target_family = "wasm"))]
type Answer = Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>;
#[cfg(target_family = "wasm")]
type Answer = Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

/// Something that was made, but whose error scope has not answered yet.
struct Doubt {
    what: String,
    bytes: u64,
    answer: Answer,
}

/// Error scopes whose answers are still out. Natively every answer is there at once, and the list stays empty; a browser
/// answers after the program has given the event loop a turn.
#[derive(Default)]
pub(super) struct Doubts(Mutex<Vec<Doubt>>);

impl std::fmt::Debug for Doubts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Doubts").finish_non_exhaustive()
    }
}

impl Doubts {
    /// The answer about `what`, of this many bytes, if it is there; else it is looked for later.
    pub(super) fn ask<A>(&self, what: &str, bytes: u64, answer: A) -> Result<()>
    where
        A: Future<Output = Option<wgpu::Error>> + wgpu::WasmNotSend + 'static,
    {
        let mut answer: Answer = Box::pin(answer);
        match answer.as_mut().now_or_never() {
            Some(answer) => judge(what, bytes, answer),
            None => {
                self.list().push(Doubt { what: what.into(), bytes, answer });
                Ok(())
            }
        }
    }

    /// An error among the answers that have come meanwhile; the first one.
    pub(super) fn look(&self) -> Result<()> {
        let mut first = Ok(());
        self.list().retain_mut(|doubt| match doubt.answer.as_mut().now_or_never() {
            None => true,
            Some(answer) => {
                let verdict = judge(&doubt.what, doubt.bytes, answer);
                if first.is_ok() {
                    first = verdict;
                }
                false
            }
        });
        first
    }

    /// Waits for all answers; the first error among them.
    pub(super) async fn resolve(&self) -> Result<()> {
        let doubts = std::mem::take(&mut *self.list());
        let mut first = Ok(());
        for Doubt { what, bytes, answer } in doubts {
            let verdict = judge(&what, bytes, answer.await);
            first = first.and(verdict);
        }
        first
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Doubt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a scope's answer means for what was made in it.
fn judge(what: &str, bytes: u64, answer: Option<wgpu::Error>) -> Result<()> {
    match answer {
        None => Ok(()),
        Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::OutOfMemory { what: what.into(), bytes }),
        Some(error) => Err(Error::Device { what: what.into(), reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::oneshot;

    fn refusal() -> wgpu::Error {
        wgpu::Error::Validation { source: "no".into(), description: "refused".into() }
    }

    /// As in a browser: the answer comes after the call.
    #[test]
    fn answers_that_come_later_are_found_later() {
        let doubts = Doubts::default();
        let (tell, answer) = oneshot::channel();
        let later = answer.map(|answer| answer.ok().flatten());
        assert_eq!(doubts.ask("a table", 4, later), Ok(()));
        assert_eq!(doubts.look(), Ok(()));
        tell.send(Some(refusal())).expect("the answer is waited for");
        let refused = Err(Error::Device { what: "a table".into(), reason: "refused".into() });
        assert_eq!(doubts.look().map_err(plain), refused.map_err(plain));
        assert_eq!(doubts.look(), Ok(()), "an error is told once");
    }

    #[test]
    fn all_answers_can_be_waited_for() {
        let doubts = Doubts::default();
        let answers = [None, Some(refusal()), None].map(|answer| {
            let (tell, later) = oneshot::channel();
            (tell, answer, doubts.ask("a kernel", 0, later.map(|answer| answer.ok().flatten())))
        });
        let teller = std::thread::spawn(move || {
            for (tell, answer, asked) in answers {
                assert_eq!(asked, Ok(()));
                tell.send(answer).expect("the answer is waited for");
            }
        });
        assert!(pollster::block_on(doubts.resolve()).is_err());
        teller.join().expect("the teller ends");
        assert_eq!(doubts.look(), Ok(()), "nothing is left");
    }

    /// Errors of wgpu print more than was put into them.
    fn plain(error: Error) -> String {
        match error {
            Error::Device { what, .. } => what,
            other => other.to_string(),
        }
    }
}
