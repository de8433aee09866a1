//! The annotation that purges a whole route.

use coppice_api::{
    IsrRoute, RevalidationRequest, RevalidationRequestSpec,
    names::{GROUP, VERSION, annotation},
    request::RouteRef,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// How long a request made for an annotation lives once it is finished.
const TTL_SECONDS: u64 = 3600;
/// Room for the suffix within the 253 characters of an object's name.
const MAX_STEM: usize = 240;

/// What a status has room for.
const MAX_ECHO: usize = 256;

/// What `status.lastHandledRequestedAt` says of a value of the annotation: the value, or its beginning and a hash where it
/// is longer than a status takes.
pub(crate) fn echo(value: &str) -> String {
    if value.chars().nth(MAX_ECHO).is_none() {
        return value.to_owned();
    }
    let hash = format!("…{:016x}", xxhash_rust::xxh3::xxh3_64(value.as_bytes()));
    let room = MAX_ECHO - hash.chars().count();
    value.chars().take(room).chain(hash.chars()).collect()
}

/// The request that this value of the annotation asks for, owned by the route: everything of the route. Its name is
/// made of the route's uid and the value, so that making it twice makes it once.
pub fn request(route: &IsrRoute) -> Option<RevalidationRequest> {
    let value = (route.metadata.annotations.as_ref()?.get(annotation::REQUESTED_AT))
        .filter(|value| !value.is_empty())?;
    let handled = route
        .status
        .as_ref()
        .and_then(|status| status.last_handled_requested_at.as_ref());
    if handled == Some(&echo(value)) {
        return None;
    }
    let name = route.metadata.name.clone()?;
    let uid = route.metadata.uid.clone().unwrap_or_default();
    Some(RevalidationRequest {
        metadata: ObjectMeta {
            name: Some(request_name(&name, &uid, value)),
            namespace: route.metadata.namespace.clone(),
            owner_references: Some(vec![OwnerReference {
                api_version: format!("{GROUP}/{VERSION}"),
                kind: "IsrRoute".to_owned(),
                name: name.clone(),
                uid,
                controller: Some(true),
                block_owner_deletion: None,
            }]),
            ..ObjectMeta::default()
        },
        spec: RevalidationRequestSpec {
            route_ref: Some(RouteRef { name }),
            everything: true,
            ttl_after_finished: Some(coppice_api::Interval::After(std::time::Duration::from_secs(
                TTL_SECONDS,
            ))),
            ..RevalidationRequestSpec::default()
        },
        status: None,
    })
}

/// The name of the request for one value of the annotation.
pub(crate) fn request_name(route: &str, uid: &str, value: &str) -> String {
    let hash = xxhash_rust::xxh3::xxh3_64(format!("{uid}\n{value}").as_bytes());
    let stem: String = route.chars().take(MAX_STEM).collect();
    // What stands before a dot must end with a letter or a digit (RFC 1123).
    let stem = stem.trim_end_matches(['.', '-']);
    format!("{stem}-{:010x}", hash & 0xff_ffff_ffff)
}
