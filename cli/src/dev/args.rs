//! The command line of `coppice dev`.

use std::{net::SocketAddr, num::NonZeroU16, path::PathBuf, time::Duration};

use clap::Args;
use coppice_api::{Span, quantity::parse_bytes};
use coppice_sidecar::config::parse_regenerations;

const EXAMPLES: &str = "\
Examples:
  coppice dev examples/blog
      the built-in demonstration app, cached as the manifests in examples/blog say
  coppice dev --app http://127.0.0.1:3000 isr.yaml
      an app that runs already
  coppice dev deploy/ -- npm run start
      starts the app with PORT set to a free port; -- sh -c and $(PORT) work too:
  coppice dev isr.yaml -- python3 -m http.server '$(PORT)'

While it runs:
  save a manifest                        applies it; what is wrong is said with file and line, and nothing changes
  save a RevalidationRequest             purges; its status is printed until it is Ready
  curl -I http://127.0.0.1:8080/         x-coppice-cache: MISS, HIT, STALE, REVALIDATED or BYPASS

Exit codes: the app's own; 1 when a port is in use or the app does not answer; 2 when a manifest is broken at the start.";

/// Cache an app on this machine, as its routes say, without a cluster.
///
/// The operator's index, its stream over loopback and the sidecar run in this process; files take the place of the API
/// server. `IsrRoute`, `RevalidationRequest` and Secret documents are read, other kinds are skipped, so a folder with
/// all of an app's manifests works as it is. Every route applies, whatever its podSelector says.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Dev {
    /// Manifests: files, or folders whose .yaml, .yml and .json files are read (not their subfolders). They are watched.
    #[arg(required = true, value_name = "MANIFEST|FOLDER")]
    pub manifests: Vec<PathBuf>,

    /// Where visitors are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Where /live, /ready, /metrics and /state are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    pub admin: SocketAddr,

    /// Memory for pages.
    #[arg(long, value_name = "BYTES", default_value = "256Mi", value_parser = memory)]
    pub memory: u64,

    /// How many pages are regenerated at a time.
    #[arg(long, value_name = "NUMBER", default_value = "10", value_parser = parse_regenerations)]
    pub regenerations: NonZeroU16,

    /// The namespace whose objects count. Default: the only one that the manifests name, else `default`.
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,

    /// An app that runs already, such as <http://127.0.0.1:3000>. Without it and without a command: the built-in
    /// demonstration app.
    #[arg(long, value_name = "URL", conflicts_with = "command", value_parser = app)]
    pub app: Option<String>,

    /// How long the app may take until it answers.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub app_timeout: Duration,

    /// Print no line for each request.
    #[arg(long)]
    pub quiet: bool,

    /// Leave the page's key out of Cache-Status: answers are then a pod's, byte for byte.
    #[arg(long)]
    pub no_key: bool,

    /// Starts the app: PORT is set to a free port, and $(PORT) in the arguments is replaced by it. Ends when it ends.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

fn memory(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 1 << 20;
    match parse_bytes(text).map_err(|error| error.to_string())? {
        bytes if bytes < LEAST => Err("a cache needs at least 1Mi".to_owned()),
        bytes => Ok(bytes),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let text = if text.bytes().all(|b| b.is_ascii_digit()) {
        format!("{text}s")
    } else {
        text.to_owned()
    };
    text.parse()
        .map(|Span(duration)| duration)
        .map_err(|error| error.to_string())
}

/// `host:port` of a URL.
fn app(text: &str) -> Result<String, String> {
    let url: http::Uri = text.parse().map_err(|_| format!("{text:?} is no URL"))?;
    match url.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err("an app that speaks TLS is not supported: give its http:// address".to_owned());
        }
        _ => return Err("write it with its scheme, such as http://127.0.0.1:3000".to_owned()),
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() {
        return Err("leave out the path: the app is asked for what visitors ask for".to_owned());
    }
    let host = url.host().filter(|h| !h.is_empty()).ok_or("it names no host")?;
    Ok(format!("{host}:{}", url.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls_of_apps() {
        assert_eq!(app("http://127.0.0.1:3000").as_deref(), Ok("127.0.0.1:3000"));
        assert_eq!(app("http://localhost/").as_deref(), Ok("localhost:80"));
        assert_eq!(app("http://[::1]:3000").as_deref(), Ok("[::1]:3000"));
        for bad in [
            "127.0.0.1:3000",
            "https://a",
            "http://a/b",
            "localhost",
            "http://a/?x",
            "",
        ] {
            assert!(app(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_the_number_of_regenerations() {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            dev: Dev,
        }
        let read = |args: &[&str]| {
            let args = ["dev", "a.yaml"].iter().chain(args);
            <Command as clap::Parser>::try_parse_from(args).map(|args| args.dev.regenerations.get())
        };
        assert_eq!(read(&[]).unwrap(), 10);
        assert_eq!(read(&["--regenerations", "2"]).unwrap(), 2);
        let error = read(&["--regenerations", "0"]).err().unwrap().to_string();
        assert!(error.contains("a whole number from 1"), "{error}");
    }

    #[test]
    fn reads_sizes_and_durations() {
        assert_eq!(memory("256Mi"), Ok(256 << 20));
        assert!(memory("1Ki").is_err());
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("soon").is_err());
    }
}
