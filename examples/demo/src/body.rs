//! Bodies: whole ones, and ones that fall silent or break off.

use std::{io, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, channel::Channel, combinators::UnsyncBoxBody};

use crate::behaviour::{Behaviour, Behaviours};

/// The body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A body of known length.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The body as this behaviour sends it. A body that stalls or breaks off has no length of its own: chunked, without an end.
pub(crate) fn scripted(bytes: Bytes, behaviour: &Behaviour, behaviours: &Arc<Behaviours>) -> Body {
    if behaviour.stall_after.is_none() && behaviour.close_after.is_none() {
        return full(bytes);
    }
    let (mut sender, body) = Channel::new(1);
    let mut changes = behaviours.watch();
    let Behaviour {
        path,
        stall_after,
        close_after,
        ..
    } = behaviour.clone();
    tokio::spawn(async move {
        let mut rest = bytes;
        let mut sent = 0;
        if let Some(stall) = stall_after {
            let first = rest.split_to(stall.min(rest.len()));
            sent = first.len();
            if sender.send_data(first).await.is_err() {
                return;
            }
            let released = changes.wait_for(|all| all.get(&path).is_none_or(|b| b.stall_after.is_none()));
            if released.await.is_err() {
                return;
            }
        }
        if let Some(close) = close_after {
            let part = rest.split_to(close.saturating_sub(sent).min(rest.len()));
            if sender.send_data(part).await.is_ok() {
                // Let the part leave before the connection does: the channel holds one frame, so a second one that
                // fits means that the first was taken.
                let _ = sender.send_data(Bytes::new()).await;
            }
            sender.abort(io::Error::other("told to break off"));
            return;
        }
        let _ = sender.send_data(rest).await;
    });
    body.boxed_unsync()
}
