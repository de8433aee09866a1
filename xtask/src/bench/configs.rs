//! How each server is configured: as its manual advises for speed, everything from memory where it can, no access log, and
//! the same rules for all: what the app lets be kept is kept, `/pass/` is passed through.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::peers::program;

/// What all servers may use for pages, in MiB.
const MEMORY: u32 = 1024;

/// `coppice dev` with one route, its output unread.
pub(super) fn dev(
    programs: &Path,
    folder: &Path,
    listen: SocketAddr,
    admin: SocketAddr,
    app: SocketAddr,
) -> Result<Command> {
    fs::write(
        folder.join("route.yaml"),
        "apiVersion: coppice.dev/v1alpha1\n\
         kind: IsrRoute\n\
         metadata: { name: bench }\n\
         spec:\n  \
           podSelector: { matchLabels: { app: bench } }\n  \
           rules:\n    \
             - paths: [\"/\", \"/store/[...page]\", \"/gzip/[...page]\", \"/slow/[...page]\"]\n      \
               revalidate: 1d\n",
    )?;
    let mut command = program(programs.join("coppice"));
    command.args(["dev", "--quiet", "--no-key", "--listen", &listen.to_string()]);
    command.args(["--admin", &admin.to_string(), "--memory", &format!("{MEMORY}Mi")]);
    command.args(["--app", &format!("http://{app}")]).arg(folder);
    Ok(command)
}

/// The sidecar without an operator.
pub(super) fn sidecar(programs: &Path, listen: SocketAddr, admin: SocketAddr, app: SocketAddr) -> Command {
    let mut command = program(programs.join("coppice-sidecar"));
    command.args(["--listen", &listen.to_string(), "--admin", &admin.to_string()]);
    command.args(["--app", &app.to_string(), "--drain", "0s"]);
    command
}

/// What the sidecar is built on, and nothing else: `hyper`, or `sockets`.
pub(super) fn bare(floors: Option<&Path>, floor: &str, listen: SocketAddr) -> Result<Command> {
    let mut command = program(floors.context("the floors are not built")?.join("bare"));
    command.args([floor, &listen.to_string()]);
    Ok(command)
}

/// One worker; kept connections to the app. With open files remembered a hit opens none.
pub(super) fn nginx(folder: &Path, listen: SocketAddr, app: SocketAddr, remember: bool) -> Result<Command> {
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let files = if remember {
        "open_file_cache max=12000 inactive=1h; open_file_cache_valid 1h;"
    } else {
        ""
    };
    let at = folder.display();
    let config = format!(
        r"
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {at}/nginx.pid;
error_log {at}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  {files}
  client_body_temp_path {at}/body;
  proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  proxy_cache_path {at}/cache levels=1:2 keys_zone=pages:128m max_size={MEMORY}m inactive=1d use_temp_path=off;
  upstream app {{ server {app}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen {listen} backlog=4096;
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    add_header X-Cache-Status $upstream_cache_status;
    location / {{
      proxy_pass http://app;
      proxy_cache pages;
      proxy_cache_lock on;
      proxy_cache_use_stale updating error timeout;
      proxy_cache_background_update on;
    }}
    location /pass/ {{ proxy_pass http://app; }}
  }}
}}
"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = program("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&file);
    command.arg("-e").arg(folder.join("error.log"));
    Ok(command)
}

/// One pool of threads, since there is one core; pages in memory; bans by tag.
pub(super) fn varnish(folder: &Path, listen: SocketAddr, app: SocketAddr) -> Result<Command> {
    let config = format!(
        r#"vcl 4.1;
backend app {{ .host = "{}"; .port = "{}"; }}
sub vcl_recv {{
  if (req.method == "BAN") {{
    ban("obj.http.cache-tag == " + req.http.x-tag);
    return (synth(200, "Banned"));
  }}
  if (req.url ~ "^/pass/") {{ return (pass); }}
}}
sub vcl_deliver {{
  if (obj.hits > 0) {{ set resp.http.x-cache = "HIT"; }} else {{ set resp.http.x-cache = "MISS"; }}
}}
"#,
        app.ip(),
        app.port()
    );
    let file = folder.join("bench.vcl");
    fs::write(&file, config)?;
    let mut command = program("varnishd");
    // Without a jail, so that its working folder may lie anywhere; it is on loopback and ends with the run.
    command.args(["-j", "none", "-F", "-T", "none", "-a", &listen.to_string(), "-s"]);
    command
        .arg(format!("malloc,{MEMORY}m"))
        .args(["-p", "thread_pools=1", "-f"]);
    command.arg(&file).arg("-n").arg(folder.join("work"));
    Ok(command)
}

/// `next start` of the built app.
pub(super) fn next(built: Option<&Path>, listen: SocketAddr) -> Result<Command> {
    let Some(built) = built else {
        bail!("the app of Next.js is not built");
    };
    let cli = built.join("node_modules/next/dist/bin/next");
    fs::metadata(&cli).with_context(|| format!("{} is not there", cli.display()))?;
    let mut command = program("node");
    command
        .arg(cli)
        .args(["start", "--hostname", &listen.ip().to_string()]);
    command.args(["--port", &listen.port().to_string()]);
    command.env("NEXT_TELEMETRY_DISABLED", "1").current_dir(built);
    Ok(command)
}
