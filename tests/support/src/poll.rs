//! Checking whether a call waits, without a clock.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// The result of a call's first poll; `None` if the call waits. It is dropped then.
pub async fn at_once<T>(call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
