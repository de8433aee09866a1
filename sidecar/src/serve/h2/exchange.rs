//! One stream: a request, and its answer.

use std::{
    future::{poll_fn, ready},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime},
};

use ::h2::{Reason, RecvStream, server::SendResponse};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, DATE},
};
use http_body::Body as _;

use super::{
    Peer, Reply,
    send::{SendError, Sender},
    tunnel::Tunnel,
    upload,
};
use crate::{
    body::Body,
    hop,
    serve::{self, Visitor, interim::Way, upgrade::Room, websocket},
    site::Site,
};

/// Whose request it is, and how it is answered.
pub(super) struct Back {
    site: Arc<Site>,
    visitor: Visitor,
    reply: Reply,
    /// How long a visitor may take nothing.
    patience: Duration,
}

impl Peer<'_> {
    pub(super) fn visitor(&self, stream: SendResponse<Bytes>) -> Back {
        let reply = Reply::new(stream);
        Back {
            site: self.site.clone(),
            visitor: Visitor {
                address: self.address.clone(),
                interim: Way::Http2(reply.clone()),
                exchanges: self.exchanges.clone(),
            },
            reply,
            patience: self.limits.user_timeout,
        }
    }
}

/// Answers a request. A visitor who resets the stream ends it; what flies for others flies on.
pub(super) async fn run(back: Back, request: Request<RecvStream>) {
    let method = request.method().clone();
    let (mut parts, stream) = request.into_parts();
    let (body, tunnel) = if method == Method::CONNECT {
        if announces_body(&parts.headers) {
            // What follows is no body (RFC 9113 section 8.5), and whoever is told of one might take it for that.
            if let Some(mut stream) = back.reply.take() {
                stream.send_reset(Reason::PROTOCOL_ERROR);
            }
            return;
        }
        (Body::empty(), Some(stream))
    } else {
        (upload::body(stream, &parts.headers, &back.reply), None)
    };
    websocket::open(&mut parts);
    let answered = {
        let mut answering = pin!(serve::answer(
            &back.site,
            &back.visitor,
            Request::from_parts(parts, body)
        ));
        poll_fn(|cx| match answering.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => back.reply.poll_reset(cx).map(|()| None),
        })
        .await
    };
    let (Some(stream), Some(answer)) = (back.reply.take(), answered) else {
        return;
    };
    if let Err(error) = back.send(stream, answer, &method, tunnel).await {
        tracing::debug!(%error, "a stream broke");
    }
}

impl Back {
    async fn send(
        self,
        mut stream: SendResponse<Bytes>,
        answer: Response<Body>,
        method: &Method,
        tunnel: Option<RecvStream>,
    ) -> Result<(), SendError> {
        let (parts, body) = answer.into_parts();
        let mut head = Response::from_parts(parts, ());
        let status = head.status();
        let room = head.extensions_mut().remove::<Room>();
        let headers = head.headers_mut();
        hop::strip(headers);
        date(headers);
        if let Some(receiver) = tunnel
            && status.is_success()
            && let Some(room) = room
        {
            headers.remove(CONTENT_LENGTH);
            let app = hyper::upgrade::on(&mut head);
            let sender = Sender::new(stream.send_response(head, false)?, self.patience);
            let visitor = ready(Ok(Tunnel::new(sender, receiver, body)));
            self.site.passage.tunnels.join(room, visitor, app);
            return Ok(());
        }
        let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if has_none || method == Method::HEAD || body.is_end_stream() {
            stream.send_response(head, true)?;
            return Ok(());
        }
        if let Some(length) = body.size_hint().exact() {
            let length = || HeaderValue::from(length);
            headers.entry(CONTENT_LENGTH).or_insert_with(length);
        }
        let stream = stream.send_response(head, false)?;
        Sender::new(stream, self.patience).send(body).await
    }
}

fn announces_body(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    lengths.any(|length| length != "0")
}

/// RFC 9110 section 6.6.1: a page has the app's, or its own.
fn date(headers: &mut HeaderMap) {
    if !headers.contains_key(DATE)
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now()))
    {
        headers.insert(DATE, date);
    }
}
