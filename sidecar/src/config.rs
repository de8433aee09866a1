//! What a sidecar is told: environment and flags ([`Args`]) become [`Settings`].

use std::{net::SocketAddr, num::NonZeroU16, path::PathBuf, time::Duration};

use clap::Parser;
use coppice_cache::outcome::Outcome;
use coppice_wire::env;
use http::{Method, StatusCode};
use tokio::sync::mpsc;

/// All that a sidecar must know before it runs; the binary fills it in from environment and flags, `coppice dev` by hand.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where visitors are served; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The admin listener; `None`: no admin.
    pub admin: Option<SocketAddr>,
    /// The app, `host:port`; the host may be a DNS name.
    pub app: String,
    /// The cache's memory budget in bytes: bodies, headers, keys, bookkeeping and flights in the air.
    pub memory: u64,
    /// So many regenerations go on at a time, the rest wait for their turn: the app's share of the work.
    pub regenerations: NonZeroU16,
    /// How long the sidecar goes on accepting once it is told to stop.
    pub drain: Duration,
    /// The operator's stream; `None`: everything passes through.
    pub control: Option<ControlSettings>,
    /// `coppice dev`: visitors come to the sidecar's own address, which is then the host of what nobody has asked for.
    pub dev: bool,
    /// `Cache-Status` names the key: for a developer's eyes.
    pub names_key: bool,
    /// Gets a line for each request that was answered. A full channel drops lines, it never holds a visitor up.
    pub visits: Option<mpsc::Sender<VisitLine>>,
}

/// How to reach the operator. Token and certificates are read at each connection, so that both may be renewed.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// `https://host:port`, or `http://host:port` for an operator in the same process.
    pub url: String,
    /// The bearer token.
    pub token: Option<Token>,
    /// Whose certificates are trusted; needed where the URL is https.
    pub ca: Option<Ca>,
}

/// Where the bearer token comes from.
#[derive(Clone)]
pub enum Token {
    /// A projected ServiceAccount token.
    File(PathBuf),
    /// A fixed one, for an operator in the same process.
    Fixed(String),
}

impl std::fmt::Debug for Token {
    /// Never the token itself.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Fixed(_) => f.write_str("Fixed(..)"),
        }
    }
}

/// Whose certificates are trusted: the file where it exists, else the bundle.
#[derive(Debug, Clone, Default)]
pub struct Ca {
    /// PEM, as it was at admission.
    pub bundle: Option<String>,
    /// A file with PEM, the mounted trust bundle; supersedes `bundle` where it exists and holds a certificate.
    pub file: Option<PathBuf>,
}

/// One answered request, for those who watch: `coppice dev` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitLine {
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in a word of a closed enum; empty where the outcome says it all.
    pub reason: &'static str,
    /// Status of the answer.
    pub status: StatusCode,
    /// Age of the page that was served.
    pub age: Option<Duration>,
    /// From the request's headers to the answer's headers.
    pub duration: Duration,
    /// Method of the request.
    pub method: Method,
    /// Path and query of the request.
    pub path: String,
}

/// The command line of the binary; each flag has an environment variable, which is how the injector says it.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "coppice-sidecar",
    version,
    about = "Serves the pages of one app from memory and regenerates them behind its visitors",
    long_about = "Stands before one app, serves its pages from memory by the rules that the operator sends, regenerates \
                  them behind the visitors, and passes everything else through as it is. It needs nobody to start: \
                  without an operator, or before its first word, everything passes through.",
    after_help = "Examples:\n  \
                  coppice-sidecar --app 127.0.0.1:3000\n      \
                  pass everything through to an app on this machine (try routes with `coppice dev`)\n  \
                  COPPICE_APP=10.0.0.7:3000 COPPICE_OPERATOR=https://coppice-operator-stream.coppice-system.svc:9444 \\\n  \
                  COPPICE_CA_FILE=/ca/ca.crt COPPICE_TOKEN_FILE=/token/token coppice-sidecar\n      \
                  what the operator injects into a pod\n\n\
                  On the admin port: /live, /ready, /metrics; from the pod itself also / and /state (what is stored) and \
                  /log-level (GET, or PUT a filter)."
)]
pub struct Args {
    /// Where visitors are served
    #[arg(long, env = env::LISTEN, default_value = "0.0.0.0:15080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where probes, metrics and the state are served
    #[arg(long, env = env::ADMIN, default_value = "127.0.0.1:9901", value_name = "ADDRESS")]
    pub admin: SocketAddr,
    /// The app: the address on which it listens itself
    #[arg(long, env = env::APP, value_name = "HOST:PORT", value_parser = parse_app)]
    pub app: String,
    /// Memory for pages and for those that are being fetched: bytes, or a quantity such as 128Mi
    #[arg(long, env = env::MEMORY, default_value = "128Mi", value_name = "QUANTITY", value_parser = parse_bytes)]
    pub memory: u64,
    /// How many pages are regenerated at a time; the rest wait for their turn, those visited last go first
    #[arg(long, env = env::REGENERATIONS, default_value = "10", value_name = "NUMBER", value_parser = parse_regenerations)]
    pub regenerations: NonZeroU16,
    /// How long to go on accepting after SIGTERM, while others still send: seconds, or 5s, 1m30s
    #[arg(long, env = env::DRAIN, default_value = "5s", value_name = "DURATION", value_parser = parse_span)]
    pub drain: Duration,
    /// The operator's stream, https://HOST:PORT; without it everything passes through
    #[arg(long, env = env::OPERATOR, value_name = "URL")]
    pub operator: Option<String>,
    /// The operator's CA certificates, PEM, as they were when the pod was made
    #[arg(long, env = env::CA_BUNDLE, value_name = "PEM", hide_env_values = true)]
    pub ca_bundle: Option<String>,
    /// A file with the operator's CA certificates as they are now; goes before --ca-bundle where it exists
    #[arg(long, env = env::CA_FILE, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// A file with the ServiceAccount token, read again at each connection
    #[arg(long, env = env::TOKEN_FILE, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, trace, or a list such as info,hyper=debug
    #[arg(long, env = env::LOG, default_value = "info", value_name = "FILTER")]
    pub log: String,
}

impl From<Args> for Settings {
    fn from(args: Args) -> Self {
        let given = |text: &String| !text.trim().is_empty();
        let ca = Ca {
            bundle: args.ca_bundle.filter(given),
            file: args.ca_file,
        };
        Self {
            listen: args.listen,
            admin: Some(args.admin),
            app: args.app,
            memory: args.memory,
            regenerations: args.regenerations,
            drain: args.drain,
            control: args.operator.filter(given).map(|url| ControlSettings {
                url,
                token: args.token_file.map(Token::File),
                ca: Some(ca),
            }),
            dev: false,
            names_key: false,
            visits: None,
        }
    }
}

/// `host:port`, the host a name, an IPv4 address or an IPv6 address in brackets.
fn parse_app(text: &str) -> Result<String, String> {
    let words =
        || format!("{text:?} is no address of an app: write HOST:PORT, such as 10.0.0.7:3000 or [::1]:3000");
    let (host, port) = text.rsplit_once(':').ok_or_else(words)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let port: u16 = port.parse().map_err(|_| words())?;
    if port == 0 || host.is_empty() || host.contains(['/', '@', ' ']) || (host.contains(':') && !bracketed) {
        return Err(words());
    }
    Ok(text.to_owned())
}

/// Whole bytes, or a Kubernetes quantity without a fraction.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let words =
        || format!("{text:?} is no amount of memory: write bytes, or a quantity such as 128Mi or 1Gi");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| words())?;
    let unit: u64 = match &text[digits..] {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(words()),
    };
    number
        .checked_mul(unit)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(words)
}

/// A number of regenerations at a time.
pub fn parse_regenerations(text: &str) -> Result<NonZeroU16, String> {
    let words = || format!("{text:?} is no number of regenerations: write a whole number from 1 to 65535");
    text.parse().map_err(|_| words())
}

/// Whole seconds, or numbers with units.
fn parse_span(text: &str) -> Result<Duration, String> {
    let words =
        || format!("{text:?} is no duration: write seconds (5), or numbers with units (500ms, 5s, 1m30s)");
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let (mut rest, mut total) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| words())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(words()),
        };
        rest = &rest[letters..];
        let sum = number.checked_mul(unit).and_then(|ms| total.checked_add(ms));
        total = sum.ok_or_else(words)?;
    }
    if text.is_empty() {
        return Err(words());
    }
    Ok(Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn quantities() {
        assert_eq!(parse_bytes("128Mi"), Ok(128 << 20));
        assert_eq!(parse_bytes("1Gi"), Ok(1 << 30));
        assert_eq!(parse_bytes("500M"), Ok(500_000_000));
        assert_eq!(parse_bytes("4096"), Ok(4096));
        for bad in [
            "",
            "0",
            "Mi",
            "1.5Gi",
            "-1",
            "12 Mi",
            "12MB",
            "99999999999999Ti",
            "ä",
        ] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn regenerations() {
        let read = |number: &str| {
            let number = format!("--regenerations={number}");
            let args = ["coppice-sidecar", "--app", "a:1", &number];
            Args::try_parse_from(args).map(|args| Settings::from(args).regenerations.get())
        };
        assert_eq!(read("2").unwrap(), 2);
        for bad in ["", "0", "-1", "1.5", "many", "65536"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("from 1 to 65535"), "{error}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_span("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_span("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_span("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "s", "5x", "1.5s", "-1s", "5 s", "99999999999999999999", "1sä"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_apps() {
        for good in ["10.0.0.7:3000", "app.shop.svc:80", "[::1]:3000", "localhost:1"] {
            assert_eq!(parse_app(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "10.0.0.7",
            ":80",
            "a:0",
            "a:x",
            "http://a:80",
            "::1:80",
            "a:65536",
        ] {
            assert!(parse_app(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn help_names_every_variable() {
        let help = Args::command().render_long_help().to_string();
        for name in [
            env::LISTEN,
            env::ADMIN,
            env::APP,
            env::MEMORY,
            env::REGENERATIONS,
            env::DRAIN,
            env::OPERATOR,
            env::CA_BUNDLE,
            env::CA_FILE,
            env::TOKEN_FILE,
            env::LOG,
        ] {
            assert!(help.contains(name), "{name} is not in {help}");
        }
    }

    #[test]
    fn an_operator_of_no_words_is_none() {
        let args = Args::parse_from(["coppice-sidecar", "--app", "a:1", "--operator", " "]);
        let settings = Settings::from(args);
        assert!(settings.control.is_none());
        assert_eq!(settings.drain, Duration::from_secs(5));
        assert_eq!(settings.memory, 128 << 20);
        assert_eq!(settings.regenerations.get(), 10);
    }
}
