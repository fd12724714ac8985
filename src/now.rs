//! Work that is written once, whether a caller waits for it or awaits it.

use crate::error::{Error, Result};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The result of what awaits nothing, as where each call in it waits.
pub(crate) fn now<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::order("work that waits", "nothing in it may be awaited")),
    }
}
