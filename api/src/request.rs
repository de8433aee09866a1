//! `RevalidationRequest`: what to purge, and how it went.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    interval::{Interval, Span},
    status::Conditions,
};

/// A purge: every change of what it selects invalidates the matching pages on all replicas once, and its status says truthfully which replicas did it.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "coppice.dev",
    version = "v1alpha1",
    kind = "RevalidationRequest",
    plural = "revalidationrequests",
    shortname = "isrreq",
    category = "coppice",
    namespaced,
    status = "RevalidationRequestStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevalidationRequestSpec {
    /// The route whose pages are purged. None: every route of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_ref: Option<RouteRef>,
    /// Exact paths, as visited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Path patterns, such as `/docs/[[...rest]]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Every page of the selected routes; stands alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everything: bool,
    /// Only pages of these hosts. None: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// What the next visitor gets.
    #[serde(default)]
    pub strategy: Strategy,
    /// Purge again once after this long, for webhooks that fire before the content system is consistent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_after: Option<Span>,
    /// When the status says that the purge is late; delivery goes on. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
    /// Any new value purges again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// When the finished object is deleted, or `never`. Omitted: 1h for objects made with generateName, else never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_after_finished: Option<Interval>,
}

/// An IsrRoute of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteRef {
    /// Name of the IsrRoute.
    pub name: String,
}

/// What the next visitor of a purged page gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum Strategy {
    /// The old page until the new one is stored; hot pages are regenerated at once.
    #[default]
    Refresh,
    /// The new page; the old one if the app fails.
    Expire,
    /// The new page; the app's error if it fails.
    Delete,
}

/// How a purge went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevalidationRequestStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The purge's line in the ledger of its namespace; written before any sidecar is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// Hash of what `sequence` purged: selectors, strategy and nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// How many sidecars were targeted and hold the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecars: Option<TargetCounts>,
    /// How many stored pages the purge concerned, over all sidecars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<PageCounts>,
    /// When the line was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When `Ready` became true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Accepted, Acknowledged, Ready; Reconciling and Stalled only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// How many sidecars were targeted and hold the line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetCounts {
    /// Pods whose sidecar ran when the line was committed.
    pub targeted: i32,
    /// Of these, how many hold the line.
    pub acknowledged: i32,
    /// `acknowledged/targeted`, the printer column.
    pub summary: String,
}

/// How many stored pages a purge concerned, over all sidecars.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageCounts {
    /// Pages that the selectors matched.
    pub matched: i64,
    /// Of these, how many were regenerated at once.
    pub regenerated: i64,
    /// Of these, how many could not be regenerated; their old page is kept where the strategy allows.
    pub failed: i64,
}

impl Conditions for RevalidationRequestStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}
