//! Load: `wrk` on its own core, as fast as the server answers, and what it counted.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::process;

/// How many visitors ask at a time, each on a connection of its own.
pub(super) const CONNECTIONS: u32 = 32;

/// What visitors ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// The page, or what the paths of all pages begin with.
    pub(super) path: &'static str,
    /// Any of so many pages, each by its number behind `path`; none: the one page.
    pub(super) pages: Option<usize>,
    pub(super) headers: &'static [(&'static str, &'static str)],
}

/// What `wrk` counted.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Shot {
    pub(super) requests: u64,
    pub(super) microseconds: u64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Connections and answers that failed, and answers of 400 and above.
    pub(super) failed: u64,
}

/// Prints the counts as JSON; asks for the pages in no order where there are many.
const SCRIPT: &str = r#"
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\n{"requests":%d,"microseconds":%d,"p50":%.1f,"p99":%.1f,"failed":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

const MANY: &str = r"
local requests = {}
function init()
  for page = 0, PAGES - 1 do requests[page] = wrk.format('GET', wrk.path .. page) end
end
function request() return requests[math.random(0, PAGES - 1)] end
";

/// Asks for some seconds.
pub(super) fn shoot(folder: &Path, address: SocketAddr, load: &Load, seconds: u64) -> Result<Shot> {
    let mut script = SCRIPT.to_owned();
    if let Some(pages) = load.pages {
        script += &MANY.replace("PAGES", &pages.to_string());
    }
    let file = folder.join("load.lua");
    fs::write(&file, script)?;
    let mut wrk = process::command("wrk");
    wrk.args(["--threads", "1", "--connections", &CONNECTIONS.to_string()]);
    wrk.args([
        "--duration",
        &format!("{seconds}s"),
        "--timeout",
        "10s",
        "--script",
    ]);
    wrk.arg(&file).args(["--header", "Host: bench.local"]);
    for (name, value) in load.headers {
        wrk.args(["--header", &format!("{name}: {value}")]);
    }
    wrk.arg(format!("http://{address}{}", load.path));
    process::check_interrupt()?;
    let said = process::capture(&mut wrk)?;
    read(&said).with_context(|| format!("wrk printed no counts: {said}"))
}

fn read(said: &str) -> Result<Shot> {
    let Some(line) = said.lines().rfind(|line| line.starts_with('{')) else {
        bail!("no line with counts");
    };
    Ok(serde_json::from_str(line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_wrk_counts() {
        let said = "Running 3s test @ http://127.0.0.1:1/\n  1 threads\n\n\
                    {\"requests\":300,\"microseconds\":3000000,\"p50\":250.0,\"p99\":900.5,\"failed\":0}\n";
        let shot = read(said).unwrap();
        assert_eq!((shot.requests, shot.failed), (300, 0));
        assert!(read("unable to connect").is_err());
    }
}
