//! One connection to the app, moved by whoever uses it.
//!
//! hyper's connection is a future of its own. As a task of its own it would be woken for each step of an exchange, and wake
//! in turn who waits for it; here it is polled by the one who waits, in the same turn. While it is idle nobody polls it:
//! whoever takes it next finds out first whether the app has closed it.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{AHEAD, upload::Timer};
use crate::body::Body;

/// A connection to the app; dropping it closes it.
pub(super) struct Connection {
    pub(super) sender: http1::SendRequest<Body>,
    /// `None`: it has ended.
    driver: Option<Driver>,
    /// Of the last request; none before the first.
    pub(super) timer: Option<Timer>,
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

impl Connection {
    pub(super) async fn new(stream: TcpStream) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(AHEAD)
            // Most requests are a head alone, which costs less as one piece than as a list of one.
            .writev(false)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self {
            sender,
            driver: Some(Box::pin(connection.with_upgrades())),
            timer: None,
        })
    }

    /// It can take a request; an error: it has ended.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        // Mostly it is; and who is about to send is to be woken by the answer, not by the sending.
        let mut quiet = Context::from_waker(Waker::noop());
        self.drive(&mut quiet);
        if let Poll::Ready(is_ready) = self.sender.poll_ready(&mut quiet) {
            return Poll::Ready(is_ready);
        }
        self.drive(cx);
        self.sender.poll_ready(cx)
    }

    /// Moves the connection, and polls an answer, which asks for nothing and waits for nothing else.
    pub(super) fn poll_answer<T>(
        &mut self,
        cx: &mut Context<'_>,
        answer: Pin<&mut impl Future<Output = T>>,
    ) -> Poll<T> {
        self.drive(cx);
        answer.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Polls `work`, and moves the connection where that has not yet given what the work asks for.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // Only the driver gets the work on, and it is polled here: it need not wake this task for that.
        let mut quiet = Context::from_waker(Waker::noop());
        if let Poll::Ready(done) = work(&mut quiet) {
            return Poll::Ready(done);
        }
        self.drive(cx);
        work(&mut quiet)
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        // How it ended is told to whoever waits for an answer.
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(cx).is_ready()
        {
            self.driver = None;
        }
    }

    /// It has changed its protocol: what is left is to hand the socket over.
    pub(super) fn let_go(self) {
        if let Some(driver) = self.driver {
            tokio::spawn(driver);
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("ended", &self.driver.is_none())
            .finish_non_exhaustive()
    }
}
