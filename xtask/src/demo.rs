//! `cargo xtask demo`: Coppice on a cluster of its own, with three replicas of a blog, shown to work.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::build::Profile;
use crate::cluster::Cluster;
use crate::install;
use crate::paths::Paths;
use crate::process;

const MANIFESTS: &str = "examples/cluster";
const NAMESPACE: &str = "blog";
const PAGE: &str = "/blog/hello";
const REPLICAS: usize = 3;
/// Where the sidecar listens in each pod.
const SIDECAR_PORT: u16 = 15080;
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Args)]
pub(crate) struct Arguments {
    /// How the images are built: `dist` is what is released, `release` is built in a fraction of the time
    #[arg(long, value_enum, default_value = "release")]
    profile: Profile,
}

/// The command. The cluster goes on afterwards, to be played with.
pub(crate) fn run(paths: &Paths, arguments: &Arguments) -> Result<ExitCode> {
    let cluster = Cluster::find(paths)?;
    if cluster.is_existing() {
        bail!("the demonstration runs on a cluster of its own: unset COPPICE_E2E_KUBECONFIG");
    }
    step("a cluster");
    cluster.up()?;
    step("Coppice on it");
    install::install(paths, &cluster, &arguments.profile.into())?;
    let demo = Demo {
        cluster,
        manifests: paths.root.join(MANIFESTS).to_string_lossy().into_owned(),
    };

    step("a blog with three replicas; its namespace is labelled coppice.dev/inject=enabled");
    demo.deploy()?;
    step("a route: its pages are kept for ten minutes");
    demo.show(&["apply", "-f", &demo.manifest("route.yaml")])?;
    let wait = ["wait", "--for=condition=Ready", "--timeout=60s", "isrroute/blog"];
    demo.kubectl(&wait)?;
    demo.show(&["get", "isrroutes"])?;

    step("visitors: each replica renders the page once, then serves it from memory");
    let pods = demo.pods()?;
    let before = demo.visit_all(&pods, |visits| visits.iter().all(|visit| visit.outcome == "HIT"))?;

    step("a purge");
    let began = Instant::now();
    let created = demo.kubectl(&["create", "-f", &demo.manifest("purge.yaml"), "-o", "name"])?;
    let request = created.trim();
    demo.kubectl(&["wait", "--for=condition=Acknowledged", "--timeout=60s", request])?;
    println!(
        "  acknowledged {} ms after kubectl create began",
        began.elapsed().as_millis()
    );
    demo.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", request])?;
    demo.show(&["get", request])?;

    step("visitors again: a new page on every replica");
    demo.visit_all(&pods, |visits| {
        visits
            .iter()
            .zip(&before)
            .all(|(visit, old)| visit.outcome == "HIT" && visit.render > old.render)
    })?;
    next(&demo.service()?);
    Ok(ExitCode::SUCCESS)
}

fn step(what: &str) {
    println!("\n=== {what}");
}

fn next(service: &str) {
    let cluster = "cargo xtask cluster";
    let system = install::NAMESPACE;
    println!("It goes on. What to type next:");
    for (what, command) in [
        (
            "a visit",
            format!("{cluster} exec -- curl -i http://{service}{PAGE}"),
        ),
        (
            "routes and purges",
            format!("{cluster} kubectl -n {NAMESPACE} get isrroutes,isrreq"),
        ),
        (
            "another purge",
            format!("{cluster} kubectl create -f {MANIFESTS}/purge.yaml"),
        ),
        (
            "change the route",
            format!("{cluster} kubectl -n {NAMESPACE} edit isrroute blog"),
        ),
        (
            "the operator's log",
            format!("{cluster} kubectl -n {system} logs deployment/coppice-operator"),
        ),
        ("end it all", format!("{cluster} down")),
    ] {
        println!("\n  # {what}\n  {command}");
    }
}

struct Demo {
    cluster: Cluster,
    manifests: String,
}

/// A pod by its name and address.
struct Pod {
    name: String,
    address: IpAddr,
}

/// What a visitor got.
#[derive(Eq, PartialEq)]
struct Visit {
    outcome: String,
    render: u64,
}

impl Demo {
    fn manifest(&self, name: &str) -> String {
        format!("{}/{name}", self.manifests)
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut kubectl = self.cluster.inside("kubectl")?;
        process::capture(kubectl.args(["--namespace", NAMESPACE]).args(arguments))
    }

    /// The same, showing what was asked and answered.
    fn show(&self, arguments: &[&str]) -> Result<()> {
        println!("  $ kubectl -n {NAMESPACE} {}", arguments.join(" "));
        for line in self.kubectl(arguments)?.lines() {
            println!("  {line}");
        }
        Ok(())
    }

    fn deploy(&self) -> Result<()> {
        let deployed = self.kubectl(&["get", "deployment", "blog"]).is_ok();
        self.show(&["apply", "-f", &self.manifest("app.yaml")])?;
        if deployed {
            // Pods of an earlier demonstration have an earlier sidecar.
            self.kubectl(&["rollout", "restart", "deployment/blog"])?;
        }
        self.kubectl(&["rollout", "status", "deployment/blog", "--timeout=120s"])?;
        // Pods that are ending are no replicas any more.
        let ended = Instant::now() + PATIENCE;
        while self.pods()?.len() != REPLICAS {
            process::check_interrupt()?;
            if Instant::now() > ended {
                bail!("there are still pods of the former deployment");
            }
            thread::sleep(Duration::from_millis(200));
        }
        self.show(&["get", "pods"])?;
        let injected = self.kubectl(&[
            "get",
            "pods",
            "--selector=app=blog,coppice.dev/injected=true",
            "--output=name",
        ])?;
        if injected.lines().count() != REPLICAS {
            bail!(
                "not every pod has a sidecar: the operator was away when they were created; run this again"
            );
        }
        Ok(())
    }

    fn pods(&self) -> Result<Vec<Pod>> {
        let template = "-o=jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{\"\\n\"}{end}";
        let said = self.kubectl(&["get", "pods", "--selector=app=blog", template])?;
        said.lines()
            .map(|line| {
                let (name, address) = line.split_once(' ').context("a pod has no address")?;
                Ok(Pod {
                    name: name.to_owned(),
                    address: address
                        .parse()
                        .with_context(|| format!("pod {name} has no address"))?,
                })
            })
            .collect()
    }

    fn service(&self) -> Result<String> {
        self.kubectl(&["get", "service", "blog", "-o=jsonpath={.spec.clusterIP}"])
    }

    /// Visits the page on every replica until the answers are as wanted; prints them whenever they change.
    fn visit_all(&self, pods: &[Pod], wanted: impl Fn(&[Visit]) -> bool) -> Result<Vec<Visit>> {
        let end = Instant::now() + PATIENCE;
        let mut last = Vec::new();
        loop {
            process::check_interrupt()?;
            let visits = pods
                .iter()
                .map(|pod| self.visit(pod))
                .collect::<Result<Vec<_>>>()?;
            if visits != last {
                for (pod, visit) in pods.iter().zip(&visits) {
                    println!("  {}  {:<12} render {}", pod.name, visit.outcome, visit.render);
                }
                println!();
            }
            if wanted(&visits) {
                return Ok(visits);
            }
            if Instant::now() > end {
                bail!("this is not what was to be shown");
            }
            last = visits;
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn visit(&self, pod: &Pod) -> Result<Visit> {
        let address = SocketAddr::new(pod.address, SIDECAR_PORT);
        let head = self
            .cluster
            .within(move || get(address))
            .with_context(|| format!("failed to visit pod {}", pod.name))?;
        let field = |name: &str| {
            head.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(field, _)| field.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
        };
        Ok(Visit {
            outcome: field("x-coppice-cache").with_context(|| format!("pod {} has no sidecar", pod.name))?,
            render: field("x-demo-render")
                .and_then(|number| number.parse().ok())
                .unwrap_or_default(),
        })
    }
}

/// Asks for the page, and returns the head of the answer.
fn get(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "GET {PAGE} HTTP/1.1\r\nHost: blog\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.split("\r\n\r\n").next().unwrap_or_default().to_owned())
}
