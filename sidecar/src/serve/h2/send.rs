//! An answer's bytes on a stream, as the visitor's windows allow. A piece is held back until there is room for it: what `h2`
//! had it would keep for as long as the visitor likes.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use ::h2::{Reason, SendStream};
use bytes::Bytes;
use http_body::Body as _;
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use super::SEND_BUFFER;
use crate::body::{Body, BoxError};

/// Why an answer was not sent to its end.
#[derive(Debug, Error)]
pub(super) enum SendError {
    #[error(transparent)]
    Http2(#[from] ::h2::Error),
    #[error("the visitor has reset the stream")]
    Reset,
    #[error("the visitor has opened no window in time")]
    Stalled,
    #[error("failed to get the answer's body: {0}")]
    Body(BoxError),
}

/// The sending half of a stream.
#[derive(Debug)]
pub(super) struct Sender {
    stream: SendStream<Bytes>,
    /// How long it waits for room; then the stream is reset.
    patience: Duration,
    /// Since when it waits.
    waiting: Option<Instant>,
    /// Made at the first wait, and set anew only when it runs out.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Sender {
    pub(super) fn new(stream: SendStream<Bytes>, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            waiting: None,
            alarm: None,
        }
    }

    /// Sends all of a body, and its trailers.
    pub(super) async fn send(mut self, body: Body) -> Result<(), SendError> {
        let mut body = pin!(body);
        loop {
            let frame = poll_fn(|cx| match self.stream.poll_reset(cx) {
                Poll::Ready(Ok(_)) => Poll::Ready(Err(SendError::Reset)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                Poll::Pending => body.as_mut().poll_frame(cx).map(Ok),
            });
            let frame = match frame.await? {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.stream.send_reset(reason(&*error));
                    return Err(SendError::Body(error));
                }
                None => return self.end(),
            };
            match frame.into_data() {
                Ok(bytes) => {
                    let is_last = body.is_end_stream();
                    self.send_all(bytes, is_last).await?;
                    if is_last {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Ok(self.stream.send_trailers(trailers)?);
                    }
                }
            }
        }
    }

    async fn send_all(&mut self, mut bytes: Bytes, is_last: bool) -> Result<(), SendError> {
        if bytes.is_empty() && is_last {
            return self.end();
        }
        while !bytes.is_empty() {
            let room = poll_fn(|cx| self.poll_room(cx, bytes.len())).await?;
            let piece = bytes.split_to(room);
            self.stream.send_data(piece, is_last && bytes.is_empty())?;
        }
        Ok(())
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) -> Result<(), SendError> {
        Ok(self.stream.send_data(Bytes::new(), true)?)
    }

    /// Sends a copy of as much of it as there is room for.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, SendError>> {
        let room = ready!(self.poll_room(cx, bytes.len()))?;
        self.stream
            .send_data(Bytes::copy_from_slice(&bytes[..room]), false)?;
        Poll::Ready(Ok(room))
    }

    /// For how many of `wanted` bytes there is room, one at least.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, SendError>> {
        // There never is room for more than the buffer holds.
        self.stream.reserve_capacity(wanted.min(SEND_BUFFER));
        loop {
            let room = self.stream.capacity();
            if room > 0 {
                self.waiting = None;
                return Poll::Ready(Ok(room.min(wanted)));
            }
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(capacity)) => capacity?,
                Poll::Ready(None) => return Poll::Ready(Err(SendError::Reset)),
                Poll::Pending => break,
            };
        }
        ready!(self.poll_stalled(cx));
        self.stream.send_reset(Reason::CANCEL);
        Poll::Ready(Err(SendError::Stalled))
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = *self.waiting.get_or_insert_with(Instant::now) + self.patience;
        let alarm = (self.alarm).get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        loop {
            ready!(alarm.as_mut().poll(cx));
            if alarm.deadline() >= until {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(until);
        }
    }
}

/// What the visitor is told of a body that broke off: what the app said, if it spoke HTTP/2.
fn reason(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Reason {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(reason) = error.downcast_ref::<::h2::Error>().and_then(::h2::Error::reason) {
            return reason;
        }
        cause = error.source();
    }
    Reason::INTERNAL_ERROR
}

#[cfg(test)]
mod tests {
    use ::h2::{RecvStream, client, server};
    use http::{Request, Response};
    use tokio::task::JoinHandle;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);
    const ALMOST: Duration = Duration::from_millis(4999);

    /// Sends three bytes to a visitor whose window is one byte wide: what comes of that, and the bytes as they arrive.
    async fn sending() -> (JoinHandle<Result<(), SendError>>, RecvStream) {
        let (visitor, ours) = tokio::io::duplex(1 << 16);
        let sending = tokio::spawn(async move {
            let mut connection = server::handshake(ours).await.unwrap();
            let (_, mut stream) = connection.accept().await.unwrap().unwrap();
            let stream = stream.send_response(Response::new(()), false).unwrap();
            tokio::spawn(async move { connection.accept().await.is_none() });
            Sender::new(stream, PATIENCE).send(Body::whole("abc")).await
        });
        let mut builder = client::Builder::new();
        let visitor = builder.initial_window_size(1).handshake::<_, Bytes>(visitor);
        let (sender, connection) = visitor.await.unwrap();
        tokio::spawn(connection);
        let mut sender = sender.ready().await.unwrap();
        let request = Request::get("http://a.test/").body(()).unwrap();
        let answer = sender.send_request(request, true).unwrap().0;
        (sending, answer.await.unwrap().into_body())
    }

    #[tokio::test(start_paused = true)]
    async fn a_visitor_who_opens_its_window_now_and_then_gets_everything() {
        let (sending, mut body) = sending().await;
        for expected in ["a", "b", "c"] {
            assert_eq!(body.data().await.unwrap().unwrap(), expected);
            tokio::time::sleep(ALMOST).await;
            body.flow_control().release_capacity(1).unwrap();
        }
        assert!(body.data().await.is_none());
        sending.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_visitor_who_leaves_its_window_closed_is_reset() {
        let (sending, mut body) = sending().await;
        let began = Instant::now();
        assert_eq!(body.data().await.unwrap().unwrap(), "a");
        let error = body.data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::CANCEL));
        assert!(matches!(sending.await.unwrap(), Err(SendError::Stalled)));
        assert!((ALMOST..PATIENCE + PATIENCE).contains(&began.elapsed()));
    }
}
