//! The caching sidecar: a listener before one app.
//!
//! ```text
//! config.rs   environment and flags become Settings
//! serve/      visitors: one connection, one request; from the store, fetched, or passed through
//! fetch/      the app: connections to it, flights, regenerations
//! sweep.rs    after a purge: finding its pages
//! prerender.rs   pages that are fetched before a visitor asks
//! control/    the operator: configurations and purges, applied and acknowledged
//! admin/      probes, metrics, the state
//! drain.rs    leaving without losing a request
//! metrics.rs  what is counted
//! site.rs     what every request shares; body.rs, clock.rs, hop.rs: what all of them speak
//! ```

pub mod admin;
pub mod body;
pub mod clock;
pub mod config;
pub mod control;
pub mod drain;
pub mod fetch;
pub mod hop;
pub mod metrics;
pub mod prerender;
pub mod serve;
pub mod site;
pub mod sweep;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use coppice_cache::{ledger::Ledger, routes::Routes, store::Store};
use tokio::{
    runtime::{self, Runtime},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{Admin, LogLevel, View},
    clock::Clock,
    config::{ControlSettings, Settings},
    control::{Control, Engine, Standing},
    drain::{Drain, Drained},
    fetch::{Fetcher, upstream::Upstream},
    metrics::Metrics,
    prerender::Prerenderer,
    serve::{Limits, pass::Passage, upgrade::Tunnels},
    site::Site,
    sweep::Sweeper,
};

/// Here, so that whatever serves pages has it: the sidecar, and `coppice dev`.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A connection on which nothing has been said for so long is asked whether anybody is there.
const KEEPALIVE: socket2::TcpKeepalive = socket2::TcpKeepalive::new()
    .with_time(Duration::from_mins(1))
    .with_interval(Duration::from_secs(20));

/// More threads than this gain nothing for one app and cost memory on large nodes.
const MAX_THREADS: usize = 8;

/// What everything here runs on: a thread for each core that this process may use. On one core there is nothing to share
/// out, and the scheduler that could costs each visit half a microsecond.
pub fn runtime() -> io::Result<Runtime> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut builder = if threads == 1 {
        runtime::Builder::new_current_thread()
    } else {
        let mut builder = runtime::Builder::new_multi_thread();
        builder.worker_threads(threads.min(MAX_THREADS));
        builder
    };
    builder.enable_all().build()
}

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
    level: Option<LogLevel>,
    control: Option<ControlSettings>,
    standing: watch::Sender<Standing>,
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
        let listener = bind(settings.listen, "visitors", limits.user_timeout)?;
        let admin = (settings.admin)
            .map(|address| bind(address, "admin", limits.user_timeout))
            .transpose()?;
        let standing = Standing {
            configured: settings.control.is_some(),
            ..Standing::default()
        };
        Ok(Self {
            listener,
            admin,
            level: None,
            control: settings.control.clone(),
            standing: watch::Sender::new(standing),
            drain: settings.drain,
            limits,
            site: Arc::new(site(settings, limits)),
        })
    }

    /// Lets the admin listener read and set the process's log filter.
    pub fn with_log_level(mut self, level: LogLevel) -> Self {
        self.level = Some(level);
        self
    }

    /// Where visitors are served.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where the admin listener is, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.local_addr().ok())
    }

    /// How it stands with the operator: the version of the configuration in force among it.
    pub fn ready(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// What all requests share: the store, the routes, the counters.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Serves until `told` to leave, then drains.
    pub async fn run(self, told: CancellationToken) -> Result<Drained, RunError> {
        let Self { site, standing, .. } = self;
        let ended = CancellationToken::new();
        // Whatever way this function is left, nothing of it goes on.
        let _end = ended.clone().drop_guard();
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let address = listener.local_addr()?;
        let port = (site.dev && address.port() != 80).then_some(address.port());
        let visitors = tokio::spawn(serve::listen(site.clone(), listener, self.limits));
        let sweeper = (self.control.as_ref()).map(|_| Sweeper::start(site.clock, site.fetcher.clone()));
        if let Some(admin) = self.admin {
            let view = View {
                site: site.clone(),
                standing: standing.subscribe(),
                sweeper: sweeper.clone(),
                host: site.dev.then(|| address.to_string()),
            };
            Admin::new(view, self.level).start(admin, ended.clone())?;
        }
        if let Some((settings, sweeper)) = self.control.zip(sweeper) {
            let prerenderer = Prerenderer::new(site.fetcher.clone(), port);
            let engine = Engine {
                routes: site.routes.clone(),
                fetcher: site.fetcher.clone(),
                sweeper,
                prerenderer,
                metrics: site.metrics.clone(),
            };
            let control = Control::new(settings, engine, standing, self.limits.reconnect);
            tokio::spawn(control.run(ended.clone()));
        } else {
            tracing::warn!("no operator is configured: everything passes through");
        }
        told.cancelled().await;
        tracing::info!("leaving: accepting for another {:?}", self.drain);
        let tunnels = &site.passage.tunnels;
        let drained = site.drain.leave(self.drain, self.limits.drain, tunnels).await;
        // It has returned, or panicked; either way nobody is left to serve.
        let _ = visitors.await;
        Ok(drained)
    }
}

fn site(settings: Settings, limits: Limits) -> Site {
    let clock = Clock::start();
    let metrics = Arc::new(Metrics::new());
    let budget = i64::try_from(settings.memory).unwrap_or(i64::MAX);
    metrics.budget.set(budget);
    let upstream = Upstream::new(&settings.app);
    let (store, ledger) = (Store::new(settings.memory), Arc::new(Ledger::new()));
    let routes = Arc::new(ArcSwap::from_pointee(Routes::default()));
    Site {
        clock,
        routes: routes.clone(),
        fetcher: Fetcher::new(
            clock,
            routes,
            store,
            ledger,
            upstream.clone(),
            settings.regenerations,
        ),
        passage: Passage {
            upstream,
            tunnels: Tunnels::new(limits.tunnels),
            patience: limits.patience,
            metrics: metrics.clone(),
        },
        metrics,
        drain: Drain::default(),
        dev: settings.dev,
        names_key: settings.names_key,
        visits: settings.visits,
    }
}

fn bind(
    address: SocketAddr,
    purpose: &'static str,
    user_timeout: Duration,
) -> Result<TcpListener, BindError> {
    let bound = || {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        // A restarted sidecar takes its port over from connections that are still closing.
        socket.set_reuse_address(true)?;
        // What is accepted takes it over. Who has vanished while nothing was to be written is found by it: a quiet WebSocket,
        // which the app would have found so itself.
        let _ = socket.set_tcp_keepalive(&KEEPALIVE);
        // The same. A socket that refuses it still works; other systems do not know it.
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_user_timeout(Some(user_timeout));
        #[cfg(not(target_os = "linux"))]
        let _ = user_timeout;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_vanishes_is_asked_whether_anybody_is_there() {
        let listener = bind(([127, 0, 0, 1], 0).into(), "visitors", Duration::from_secs(1)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let visitor = std::net::TcpStream::connect(address).expect("a connection");
        listener.set_nonblocking(false).expect("a listener that waits");
        let (accepted, _) = listener.accept().expect("a visitor");
        let socket = socket2::SockRef::from(&accepted);
        assert!(socket.keepalive().expect("a socket"));
        drop(visitor);
    }
}
