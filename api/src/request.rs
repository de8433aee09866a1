//! `RevalidationRequest`: what to purge, and how it went.
// `KubeSchema` derives from a private copy of each struct; printer columns repeat their keys.
#![allow(unreachable_pub, clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    interval::{Interval, Span},
    status::Conditions,
};

const SELECTS_SOMETHING: (&str, &str) = (
    "(has(self.everything) && self.everything) || (has(self.paths) && size(self.paths) > 0) || (has(self.patterns) && size(self.patterns) > 0) || (has(self.tags) && size(self.tags) > 0)",
    "nothing is selected: add paths, patterns or tags, or ask for every page by name with everything: true",
);
const EVERYTHING_ALONE: (&str, &str) = (
    "!has(self.everything) || !self.everything || !((has(self.paths) && size(self.paths) > 0) || (has(self.patterns) && size(self.patterns) > 0) || (has(self.tags) && size(self.tags) > 0))",
    "everything stands alone: leave out paths, patterns and tags, or leave out everything",
);
const SELECTORS_FIT: (&str, &str) = (
    "(has(self.paths) ? self.paths.map(s, size(s)).sum() : 0) + (has(self.patterns) ? self.patterns.map(s, size(s)).sum() : 0) + (has(self.tags) ? self.tags.map(s, size(s)).sum() : 0) + (has(self.hostnames) ? self.hostnames.map(s, size(s)).sum() : 0) <= 8192",
    "all selectors together are longer than 8192 characters: split the purge into several objects, or use a tag or a pattern",
);

/// A purge: every change of what it selects invalidates the matching pages on all replicas once, and its status says truthfully which replicas did it.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[cfg_attr(feature = "cel", kube(cel))]
#[kube(
    doc = "A purge: every change of what it selects invalidates the matching pages on all replicas once, and its status says truthfully which replicas did it.",
    group = "coppice.dev",
    version = "v1alpha1",
    kind = "RevalidationRequest",
    plural = "revalidationrequests",
    shortname = "isrreq",
    category = "coppice",
    namespaced,
    status = "RevalidationRequestStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Acknowledged",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Acknowledged")].status"#,
        description = "Does every targeted sidecar hold the purge?"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Is it swept and counted, and are the hot pages regenerated?"
    ),
    printcolumn(
        name = "Sidecars",
        type_ = "string",
        json_path = ".status.sidecars.summary",
        description = "Sidecars that hold the purge, of those targeted."
    ),
    printcolumn(
        name = "Pages",
        type_ = "integer",
        json_path = ".status.pages.matched",
        description = "Stored pages that it concerned, over all sidecars.",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new(SELECTS_SOMETHING.0).message(SELECTS_SOMETHING.1))]
#[x_kube(validation = Rule::new(EVERYTHING_ALONE.0).message(EVERYTHING_ALONE.1).field_path(".everything"))]
#[x_kube(validation = Rule::new(SELECTORS_FIT.0).message(SELECTORS_FIT.1))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevalidationRequestSpec {
    /// The route whose pages are purged. None: every route of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_ref: Option<RouteRef>,
    /// Exact paths, as visited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::paths")]
    pub paths: Vec<String>,
    /// Path patterns, such as `/docs/[[...rest]]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::patterns")]
    pub patterns: Vec<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::tags")]
    pub tags: Vec<String>,
    /// Every page of the selected routes; stands alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everything: bool,
    /// Only pages of these hosts. None: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::hostnames")]
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
    #[schemars(schema_with = "crate::schema::nonce")]
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
    #[schemars(schema_with = "crate::schema::object_name")]
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
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct RevalidationRequestStatus {
    /// The generation that this status speaks of; −1 until the operator has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The purge's line in the ledger of its namespace; written before any sidecar is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// Hash of what `sequence` purged: selectors, strategy and nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::word")]
    pub identity: Option<String>,
    /// How many sidecars were targeted and hold the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecars: Option<TargetCounts>,
    /// How many stored pages the purge concerned, over all sidecars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<PageCounts>,
    /// When the line was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::moment")]
    pub start_time: Option<Time>,
    /// When `Ready` became true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::moment")]
    pub completion_time: Option<Time>,
    /// Accepted, Acknowledged, Ready; Reconciling and Stalled only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
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
    #[schemars(schema_with = "crate::schema::word")]
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
