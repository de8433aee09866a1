//! A look at a route.

use std::time::Duration;

use coppice_api::{IsrRoute, RevalidationRequest, route::IsrRouteStatus};
use jiff::Timestamp;
use kube::{Api, api::PostParams};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::{CALL_LIMIT, Outcome, Writer};
use crate::{
    ObjectName,
    cluster::{brief, seen::Observed},
    status,
};

/// One write per IsrRoute in this time.
const ROUTE_PAUSE: Duration = Duration::from_secs(5);

impl Writer {
    pub(super) async fn look_at_route(&self, name: &ObjectName, written: Option<Instant>) -> Outcome {
        let Some(observed) = self.routes.get(name) else {
            return Outcome::Gone;
        };
        // A purge that cannot be made is tried again, and keeps no status back.
        let asked = match &observed.object {
            Some(route) if observed.problem.is_none() => self.request_by_annotation(route).await,
            _ => true,
        };
        match self.write_route(name, &observed, written).await {
            Outcome::Same | Outcome::Written if !asked => Outcome::Failed,
            outcome => outcome,
        }
    }

    async fn write_route(
        &self,
        name: &ObjectName,
        observed: &Observed<IsrRoute>,
        written: Option<Instant>,
    ) -> Outcome {
        if !self.differs(name, observed) {
            return Outcome::Same;
        }
        if let Some(later) = Self::pause(written, ROUTE_PAUSE) {
            return later;
        }
        self.pace.turn().await;
        // Something may have changed while it waited for its turn.
        let Some(observed) = self.routes.get(name) else {
            return Outcome::Gone;
        };
        let Some(status) = self.status_of_route(name, &observed) else {
            return Outcome::Gone;
        };
        if status::same(observed.status.as_ref(), &status) {
            return Outcome::Same;
        }
        let written = self.apply(&self.routes, name, &observed, &status, None).await;
        if written.is_ok() {
            self.report(&observed, name, &status);
        }
        self.outcome::<IsrRoute>(name, written)
    }

    fn differs(&self, name: &ObjectName, observed: &Observed<IsrRoute>) -> bool {
        self.status_of_route(name, observed)
            .is_some_and(|status| !status::same(observed.status.as_ref(), &status))
    }

    fn status_of_route(&self, name: &ObjectName, observed: &Observed<IsrRoute>) -> Option<IsrRouteStatus> {
        let now = Timestamp::now();
        let written = observed.status.as_ref();
        match &observed.problem {
            None => self.state.route_status(name, written, now),
            Some(problem) => {
                let generation = observed.metadata.generation.unwrap_or_default();
                let status = (self.state).unreadable_route_status(name, generation, problem, written, now);
                Some(status)
            }
        }
    }

    /// Makes the request that the purge annotation asks for. Its name is made of the annotation's value, so making it
    /// twice makes it once. False: it must be tried again.
    async fn request_by_annotation(&self, route: &IsrRoute) -> bool {
        let Some(request) = self.state.requested(route) else {
            return true;
        };
        let namespace = request.metadata.namespace.clone().unwrap_or_default();
        let name = request.metadata.name.clone().unwrap_or_default();
        let api: Api<RevalidationRequest> = Api::namespaced(self.client.clone(), &namespace);
        let params = PostParams::default();
        match timeout(CALL_LIMIT, api.create(&params, &request)).await {
            Ok(Ok(_)) => {
                info!(
                    namespace,
                    request = name,
                    "made the purge that an annotation asks for"
                );
                true
            }
            Ok(Err(kube::Error::Api(error))) if error.code == 409 => true,
            Ok(Err(error)) => {
                warn!(
                    namespace,
                    request = name,
                    error = brief(&error),
                    "failed to make the purge that an annotation asks for"
                );
                false
            }
            Err(_) => false,
        }
    }
}
