//! A namespace for one test, and waiting in it.

use std::{fmt::Debug, future::Future, panic::AssertUnwindSafe, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use futures::FutureExt as _;
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Namespace};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{build, cluster, dump};

/// How long a condition may take where the test does not say; generous, because a time-out is a failure.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at something that cannot be watched.
const LOOK: Duration = Duration::from_millis(50);

/// A namespace of a test's own.
#[derive(Clone)]
pub struct Space {
    /// The cluster.
    pub client: Client,
    /// Name of the namespace.
    pub name: String,
}

/// Runs a test in a namespace that is opted in to injection and enforces restricted pod security. See [`run_with`].
pub async fn run<F: Future<Output = Result<()>>>(name: &str, test: impl FnOnce(Space) -> F) {
    run_with(name, build::opted_in(), test).await;
}

/// Runs a test in a namespace with these labels. Whatever becomes of it, the namespace is deleted; if it fails, what
/// was in the namespace is printed first: objects, events, logs.
pub async fn run_with<F: Future<Output = Result<()>>>(
    name: &str,
    labels: Value,
    test: impl FnOnce(Space) -> F,
) {
    let space = match Space::make(name, labels).await {
        Ok(space) => space,
        Err(error) => panic!("{name}: no namespace for the test: {error:?}"),
    };
    let ended = AssertUnwindSafe(test(space.clone())).catch_unwind().await;
    let failed = match &ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:?}")),
        Err(_) => Some("it panicked (above)".to_owned()),
    };
    if failed.is_some() {
        dump::print(&space).await;
    }
    let namespaces: Api<Namespace> = Api::all(space.client.clone());
    if let Err(error) = namespaces.delete(&space.name, &DeleteParams::background()).await {
        eprintln!("{name}: failed to delete namespace {}: {error}", space.name);
    }
    if let Some(why) = failed {
        panic!("{name}: {why}");
    }
}

impl Space {
    async fn make(name: &str, labels: Value) -> Result<Self> {
        let client = cluster::client().await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace =
            build::from_json(json!({"metadata": {"generateName": format!("{name}-"), "labels": labels}}));
        let created = namespaces.create(&PostParams::default(), &namespace).await?;
        let name = created.metadata.name.context("a namespace without a name")?;
        Ok(Self { client, name })
    }

    /// Objects of this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Creates an object; returns it as the API server made it.
    pub async fn create<K>(&self, object: &K) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let name = object.meta().name.clone().unwrap_or_default();
        let created = self.api().create(&PostParams::default(), object).await;
        created.with_context(|| format!("failed to create {}/{name}", K::kind(&())))
    }

    /// Merges this into an object.
    pub async fn merge<K>(&self, name: &str, patch: Value) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let patched = self
            .api()
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        patched.with_context(|| format!("failed to patch {}/{name} with {patch}", K::kind(&())))
    }

    /// Waits until the object is as the condition wants it, watching it; returns it. The time-out says how it was.
    pub async fn wait<K>(&self, name: &str, what: &str, condition: impl Fn(&K) -> bool) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Send
            + Serialize
            + DeserializeOwned
            + 'static,
    {
        self.wait_for(PATIENCE, name, what, condition).await
    }

    /// [`wait`](Self::wait) with a time of its own.
    pub async fn wait_for<K>(
        &self,
        patience: Duration,
        name: &str,
        what: &str,
        condition: impl Fn(&K) -> bool,
    ) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Send
            + Serialize
            + DeserializeOwned
            + 'static,
    {
        let kind = K::kind(&());
        let met = |object: Option<&K>| object.is_some_and(&condition);
        match timeout(patience, wait::await_condition(self.api(), name, met)).await {
            Ok(Ok(Some(object))) => Ok(object),
            Ok(Ok(None)) => bail!("{kind}/{name} went away while the test waited until {what}"),
            Ok(Err(error)) => Err(anyhow!(error).context(format!("failed to watch {kind}/{name}"))),
            Err(_) => {
                let there = match self.api::<K>().get_opt(name).await {
                    Ok(Some(object)) => dump::yaml(&object),
                    Ok(None) => "it does not exist".to_owned(),
                    Err(error) => format!("it cannot be read: {error}"),
                };
                bail!("{kind}/{name}: waited {patience:?} until {what}, but it is:\n{there}")
            }
        }
    }
}

/// Looks again and again until `look` finds something, for what cannot be watched; `Err` with what it saw last.
pub async fn eventually<T, S: Debug, F>(what: &str, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T, S>>,
{
    let start = Instant::now();
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(saw) if start.elapsed() > PATIENCE => {
                bail!("waited {PATIENCE:?} until {what}; the last look saw {saw:?}")
            }
            Err(_) => sleep(LOOK).await,
        }
    }
}
