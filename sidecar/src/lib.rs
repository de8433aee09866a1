//! The caching sidecar: a listener before one app.
//!
//! ```text
//! config.rs   environment and flags become Settings
//! serve/      visitors: one connection, one request; passing through, upgrades
//! fetch/      the app: connections to it, flights, regenerations
//! sweep.rs    after a purge: finding its pages
//! drain.rs    leaving without losing a request
//! metrics.rs  what is counted
//! site.rs     what every request shares; body.rs, clock.rs: what all of them speak
//! ```

pub mod body;
pub mod clock;
pub mod config;
pub mod drain;
pub mod fetch;
pub mod metrics;
pub mod serve;
pub mod site;
pub mod sweep;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::Settings,
    drain::{Drain, Drained},
    fetch::upstream::Upstream,
    metrics::Metrics,
    serve::{Limits, pass::Passage, upgrade::Tunnels},
    site::Site,
};

/// A port could not be had.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address} for {purpose}: {source}")]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// `visitors` or `admin`.
    pub purpose: &'static str,
    /// What the system said; `AddrInUse` where another process has the port.
    pub source: io::Error,
}

/// What is bound cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("failed to serve on a bound port: {0}")]
pub struct RunError(#[from] io::Error);

/// A sidecar whose ports are bound.
#[derive(Debug)]
pub struct Sidecar {
    site: Arc<Site>,
    listener: TcpListener,
    admin: Option<TcpListener>,
    drain: Duration,
    limits: Limits,
}

impl Sidecar {
    /// Binds the ports; nothing is served before [`Sidecar::run`], but connections already queue.
    pub fn bind(settings: Settings) -> Result<Self, BindError> {
        Self::bind_with(settings, Limits::default())
    }

    /// As [`Sidecar::bind`], with other limits.
    pub fn bind_with(settings: Settings, limits: Limits) -> Result<Self, BindError> {
        let listener = bind(settings.listen, "visitors")?;
        let admin = settings.admin.map(|address| bind(address, "admin")).transpose()?;
        let metrics = Arc::new(Metrics::new());
        metrics
            .budget
            .set(i64::try_from(settings.memory).unwrap_or(i64::MAX));
        let site = Site {
            clock: Clock::start(),
            passage: Passage {
                upstream: Upstream::new(&settings.app),
                tunnels: Tunnels::default(),
                patience: limits.patience,
                metrics: metrics.clone(),
            },
            metrics,
            drain: Drain::default(),
            dev: settings.dev,
            visits: settings.visits,
        };
        Ok(Self {
            site: Arc::new(site),
            listener,
            admin,
            drain: settings.drain,
            limits,
        })
    }

    /// Where visitors are served.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where the admin listener is, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.local_addr().ok())
    }

    /// Serves until `told` to leave, then drains.
    pub async fn run(self, told: CancellationToken) -> Result<Drained, RunError> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let site = self.site;
        let visitors = tokio::spawn(serve::listen(site.clone(), listener, self.limits));
        told.cancelled().await;
        tracing::info!("leaving: accepting for {:?}", self.drain);
        let drained = site
            .drain
            .leave(self.drain, self.limits.drain, &site.passage.tunnels);
        let drained = drained.await;
        // It has returned, or panicked; either way nobody is left to serve.
        let _ = visitors.await;
        Ok(drained)
    }
}

fn bind(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, BindError> {
    let bound = || {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        // A restarted sidecar takes its port over from connections that are still closing.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        Ok(socket.into())
    };
    bound().map_err(|source| BindError {
        address,
        purpose,
        source,
    })
}
