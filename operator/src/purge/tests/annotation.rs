//! The annotation that purges a route.

use super::*;

#[test]
fn the_annotation_asks_once_for_a_purge_of_the_route() {
    let mut route = mk_route("web", 1, json!({}));
    assert_eq!(requested(&route), None);
    let annotate = |route: &mut IsrRoute, value: &str| {
        route.metadata.annotations = Some([("coppice.dev/requested-at".to_owned(), value.to_owned())].into());
    };
    annotate(&mut route, "");
    assert_eq!(requested(&route), None);
    annotate(&mut route, "2026-01-01T00:00:00Z");
    let request = requested(&route).unwrap();
    assert_eq!(
        requested(&route),
        Some(request.clone()),
        "making it twice makes it once: the name is the same"
    );
    assert!(request.spec.everything && selector(&request.spec).is_ok());
    assert_eq!(request.spec.route_ref.as_ref().unwrap().name, "web");
    let owner = &request.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("IsrRoute", "uid-web"));
    annotate(&mut route, "again");
    assert_ne!(requested(&route).unwrap().metadata.name, request.metadata.name);
    route.status = Some(coppice_api::IsrRouteStatus {
        last_handled_requested_at: Some("again".to_owned()),
        ..Default::default()
    });
    assert_eq!(requested(&route), None);

    let long = request_name(&"a".repeat(253), "uid", "v");
    assert!(long.len() <= 253);
    let dotted = request_name(&format!("{}.{}", "a".repeat(239), "b".repeat(13)), "uid", "v");
    assert!(!dotted.contains(".-"), "{dotted}");
}

#[test]
fn a_value_longer_than_a_status_takes_is_echoed_short() {
    assert_eq!(echo("now"), "now");
    let (one, other) = ("ä".repeat(256), format!("{}b", "ä".repeat(256)));
    assert_eq!(echo(&one), one);
    assert_eq!(echo(&other).chars().count(), 256);
    assert_ne!(echo(&other), echo(&format!("{}c", "ä".repeat(256))));
    let mut route = mk_route("web", 1, json!({}));
    route.metadata.annotations = Some([("coppice.dev/requested-at".to_owned(), other.clone())].into());
    assert!(requested(&route).is_some());
    route.status = Some(coppice_api::IsrRouteStatus {
        last_handled_requested_at: Some(echo(&other)),
        ..Default::default()
    });
    assert_eq!(requested(&route), None, "it was handled");
}
