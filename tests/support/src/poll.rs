//! Whether a call waits, told by the call itself and not by a clock.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// What a call answers when it is polled for the first time; `None` when it waits for something. It is dropped then.
pub async fn at_once<T>(call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
