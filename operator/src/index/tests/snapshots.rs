//! What is published to a pod, and when.

use super::*;

#[test]
fn nothing_is_published_when_nothing_changed() {
    let route = mk_route("a", 1, json!({}));
    let mut index = mk_index(std::slice::from_ref(&route));
    let mut seen = index.namespaces["shop"].pods["web-1"].config.subscribe();
    seen.mark_unchanged();
    index.take_dirty();

    assert!(!index.apply_route(&route));
    assert!(!index.apply_pod(mk_pod("web-1"), at(1)));
    assert!(!index.reset_routes(std::slice::from_ref(&route)));
    assert!(!index.reset_pods(vec![mk_pod("web-1")], at(1)));
    assert!(index.take_dirty().is_empty(), "no status is looked at");

    // Changes that say nothing new to a sidecar: a label, a selector that selects the same, a route of other pods.
    let mut labelled = mk_pod("web-1");
    labelled
        .labels
        .insert("pod-template-hash".to_owned(), "1".to_owned());
    assert!(index.apply_pod(labelled, at(1)));
    assert!(index.apply_route(&mk_route(
        "a",
        2,
        json!({"podSelector": {"matchExpressions": [
        {"key": "app", "operator": "Exists"}]}})
    )));
    assert!(index.apply_route(&mk_route(
        "b",
        1,
        json!({"podSelector": {"matchLabels": {"app": "other"}}})
    )));
    assert!(!seen.has_changed().unwrap());

    assert!(index.apply_route(&mk_route("a", 3, json!({"suspend": true}))));
    assert!(seen.has_changed().unwrap());
}

#[test]
fn pods_of_the_same_routes_share_one_snapshot() {
    let mut index = mk_index(&[mk_route("a", 1, json!({}))]);
    index.apply_pod(mk_pod("web-2"), at(0));
    assert!(Arc::ptr_eq(
        &config_of(&index, "web-1"),
        &config_of(&index, "web-2")
    ));
    let mut other = mk_pod("web-3");
    other.labels.clear();
    index.apply_pod(other, at(0));
    assert!(config_of(&index, "web-3").config.routes.is_empty());
    assert_eq!(
        config_of(&index, "web-3").version,
        Compiled::new(Config::default()).version
    );
}

#[test]
fn a_pod_gets_the_routes_that_select_it() {
    let blog = mk_route(
        "blog",
        1,
        json!({"podSelector": {"matchLabels": {"app": "blog"}}}),
    );
    let mut index = mk_index(&[blog.clone(), mk_route("shop", 1, json!({}))]);
    assert_eq!(names(&config_of(&index, "web-1")), ["shop"]);
    let mut pod = mk_pod("web-1");
    pod.labels.insert("app".to_owned(), "blog".to_owned());
    index.apply_pod(pod, at(0));
    assert_eq!(names(&config_of(&index, "web-1")), ["blog"]);
    index.delete_route("shop", "blog");
    assert!(config_of(&index, "web-1").config.routes.is_empty());

    let mut everything = Index::new(Selecting::Everything);
    everything.apply_pod(Pod::local("shop"), at(0));
    everything.apply_route(&blog);
    assert_eq!(names(&config_of(&everything, "local")), ["blog"]);
}
