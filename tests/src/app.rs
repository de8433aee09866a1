//! The demonstration app on the cluster: its addresses, and its bad days.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use coppice_api::{
    IsrRoute,
    names::{condition, label, object, port},
    status::Conditions as _,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use kube::{ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use crate::{
    build::{APP_PORT, mk_app, mk_service},
    space::{Space, eventually},
    visit::{Answer, get, visit},
};

/// An app that runs.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name: of Deployment, Service and label.
    pub name: String,
    /// Its Service.
    pub service: SocketAddr,
    /// Its pods.
    pub pods: Vec<Replica>,
}

/// A pod of an app.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Name of the pod.
    pub name: String,
    /// Uid of the pod.
    pub uid: String,
    ip: IpAddr,
}

impl Replica {
    /// Where its sidecar listens for visitors.
    pub fn sidecar(&self) -> SocketAddr {
        (self.ip, port::SIDECAR).into()
    }

    /// Where its app listens.
    pub fn app(&self) -> SocketAddr {
        (self.ip, APP_PORT).into()
    }

    /// Where its sidecar answers probes and metrics.
    pub fn admin(&self) -> SocketAddr {
        (self.ip, port::ADMIN).into()
    }

    /// Scripts how the app answers (see the README of `examples/demo`), past the sidecar.
    pub async fn behave(&self, script: Value) -> Result<()> {
        let request = visit(self.app(), "/_demo/behaviour").method(http::Method::POST);
        let answer = request
            .body("application/json", script.to_string())
            .send()
            .await?;
        crate::check!(
            answer.status.is_success(),
            "{script}: {} {}",
            answer.status,
            answer.body
        );
        Ok(())
    }

    /// Changes a post, past the sidecar (which would see the edit as an unsafe request).
    pub async fn edit(&self, slug: &str, text: &str) -> Result<()> {
        let request = visit(self.app(), &format!("/edit/{slug}")).method(http::Method::POST);
        let form = format!("text={}", text.replace(' ', "+"));
        let answer = request
            .body("application/x-www-form-urlencoded", form)
            .send()
            .await?;
        crate::check!(answer.status == 303, "edit: {} {}", answer.status, answer.body);
        Ok(())
    }

    /// How often the app was asked for this path.
    pub async fn renders(&self, path: &str) -> Result<u64> {
        let answer = get(self.app(), "/_demo/renders").await?;
        let renders: Value = serde_json::from_str(&answer.body)?;
        Ok(renders[path].as_u64().unwrap_or(0))
    }

    /// Visits its sidecar.
    pub async fn get(&self, target: &str) -> Result<Answer> {
        get(self.sidecar(), target).await
    }

    /// Visits its sidecar until the answer is as wanted.
    pub async fn get_until(
        &self,
        target: &str,
        what: &str,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<Answer> {
        eventually(&format!("GET {target} at pod {}: {what}", self.name), || async {
            match self.get(target).await {
                Ok(answer) if wanted(&answer) => Ok(answer),
                Ok(answer) => Err(format!("{} {:?}", answer.status, answer.headers)),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await
    }
}

impl App {
    /// The only pod of an app with one replica.
    pub fn pod(&self) -> &Replica {
        &self.pods[0]
    }
}

/// Does this pod carry a sidecar?
pub fn is_injected(pod: &Pod) -> bool {
    let containers = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    pod.labels().get(label::INJECTED).is_some_and(|v| v == "true")
        && containers
            .into_iter()
            .any(|c| c.name == object::SIDECAR_CONTAINER)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
}

impl Space {
    /// The demonstration app with this many replicas and a Service, once all of it is ready.
    pub async fn app(&self, name: &str, replicas: u32) -> Result<App> {
        self.app_of(mk_app(name, replicas), mk_service(name)).await
    }

    /// An app of this Deployment and Service, once all of it is ready.
    pub async fn app_of(&self, deployment: Deployment, service: Service) -> Result<App> {
        self.create(&service).await?;
        let deployment = self.create(&deployment).await?;
        self.running(&deployment.name_any()).await
    }

    /// The app as it runs now, once its Deployment is rolled out and its former pods are gone.
    pub async fn running(&self, name: &str) -> Result<App> {
        let deployment: Deployment = self
            .wait(name, "it is rolled out", |d: &Deployment| {
                let wanted = d.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
                d.status.as_ref().is_some_and(|s| {
                    s.observed_generation >= d.metadata.generation
                        && s.updated_replicas.unwrap_or(0) == wanted
                        && s.ready_replicas.unwrap_or(0) == wanted
                })
            })
            .await?;
        let wanted = deployment.spec.and_then(|s| s.replicas).unwrap_or(1) as usize;
        let pods = eventually(&format!("exactly {wanted} pods of {name} run"), || async {
            let all = self.pods(name).await.map_err(|error| format!("{error:#}"))?;
            let ready = all.iter().filter(|p| is_ready(p)).count();
            if ready == wanted && all.len() == wanted {
                Ok(all)
            } else {
                Err(format!("{ready} ready of {}", all.len()))
            }
        })
        .await?;
        let service = self.api::<Service>().get(name).await?;
        let address = service
            .spec
            .and_then(|s| s.cluster_ip)
            .context("a Service without an address")?;
        Ok(App {
            name: name.to_owned(),
            service: SocketAddr::new(address.parse()?, 80),
            pods: pods.iter().map(replica).collect::<Result<_>>()?,
        })
    }

    /// The pods of an app, those that end included.
    pub async fn pods(&self, app: &str) -> Result<Vec<Pod>> {
        let listed = self
            .api::<Pod>()
            .list(&ListParams::default().labels(&format!("app={app}")))
            .await?;
        Ok(listed.items)
    }

    /// Applies a route and waits until every sidecar of its pods serves it.
    pub async fn route(&self, route: &IsrRoute, sidecars: usize) -> Result<IsrRoute> {
        let created = self.create(route).await?;
        self.route_ready(&created.name_any(), sidecars).await
    }

    /// Waits until a route is served by so many sidecars, for its present generation.
    pub async fn route_ready(&self, name: &str, sidecars: usize) -> Result<IsrRoute> {
        let summary = format!("{sidecars}/{sidecars}");
        self.wait(
            name,
            &format!("Ready is True and {summary} serve it"),
            |route: &IsrRoute| {
                route.status.as_ref().is_some_and(|status| {
                    status.observed_generation == route.metadata.generation
                        && status.is_true(condition::READY)
                        && status.sidecars.as_ref().is_some_and(|s| s.summary == summary)
                })
            },
        )
        .await
    }

    /// The Service's answer to a path, asked until it is as wanted: endpoints take a moment.
    pub async fn get_until(
        &self,
        app: &App,
        target: &str,
        what: &str,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<Answer> {
        eventually(
            &format!("GET {target} at Service {}: {what}", app.name),
            || async {
                match get(app.service, target).await {
                    Ok(answer) if wanted(&answer) => Ok(answer),
                    Ok(answer) => Err(format!("{} {:?}", answer.status, answer.headers)),
                    Err(error) => Err(format!("{error:#}")),
                }
            },
        )
        .await
    }
}

/// Where a running pod can be reached.
pub fn replica(pod: &Pod) -> Result<Replica> {
    let ip = pod
        .status
        .as_ref()
        .and_then(|s| s.pod_ip.as_deref())
        .context("a pod without an address")?;
    Ok(Replica {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        ip: ip.parse()?,
    })
}

/// A script that makes a path behave again.
pub fn well(path: &str) -> Value {
    json!({"path": path})
}
