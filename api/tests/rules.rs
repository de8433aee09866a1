//! Every field of both kinds, filled in wrongly: the CEL rules of the CRDs refuse it, at that field, with a remedy.

#![allow(clippy::unwrap_used)] // a test may panic

use coppice_api::{IsrRoute, RevalidationRequest, crds};
use kube::core::cel::Validator;
use rstest::rstest;
use serde_json::{Value, json};

/// What the rules of a definition say about an object: `field: message`, sorted.
fn complaints(definition: usize, object: &Value) -> Vec<String> {
    let crd = &crds::all()[definition];
    let schema = crd.spec.versions[0].schema.as_ref().unwrap();
    let schema = serde_json::to_value(schema.open_api_v3_schema.as_ref().unwrap()).unwrap();
    let mut said: Vec<_> = match Validator::new().validate(&schema, object, None) {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .into_vec()
            .into_iter()
            .map(|e| format!("{}: {}", e.field_path, e.message))
            .collect(),
    };
    said.sort();
    said
}

fn route() -> Value {
    json!({
        "apiVersion": "coppice.dev/v1alpha1",
        "kind": "IsrRoute",
        "metadata": {"name": "storefront", "namespace": "shop"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "storefront"}},
            "hostnames": ["shop.example.com", "*.example.org"],
            "trigger": {"secretRefs": [{"name": "storefront-isr", "key": "token"}]},
            "origin": {
                "timeout": "30s",
                "scheme": "https",
                "headers": [{"name": "x-prerender-revalidate", "valueFrom": {"secretKeyRef": {"name": "storefront-isr", "key": "bypass"}}}],
            },
            "rules": [
                {
                    "name": "blog",
                    "paths": ["/blog/[slug]", "/docs/[...rest]", "/shop/[[...rest]]", "/", "/de/[year]/news/"],
                    "revalidate": 60,
                    "expire": "30d",
                    "tags": ["blog", "post:[slug]"],
                    "key": {"query": {"allow": ["page"]}, "headers": ["accept-language"], "cookies": ["currency"]},
                    "bypass": {"cookies": ["__prerender_bypass"], "headers": ["x-preview"]},
                    "negative": "10s",
                    "prerender": ["/blog/hello", "https://shop.example.com/blog/two"],
                    "override": ["no-store"],
                    "maxBodyBytes": "10Mi",
                    "cacheControl": "public, max-age=0, must-revalidate",
                },
                {"paths": ["/news"], "revalidate": "never", "expire": "1d"},
                {"paths": ["/app"], "heuristic": true},
            ],
        },
    })
}

fn request() -> Value {
    json!({
        "apiVersion": "coppice.dev/v1alpha1",
        "kind": "RevalidationRequest",
        "metadata": {"name": "cms", "namespace": "shop"},
        "spec": {
            "routeRef": {"name": "storefront"},
            "paths": ["/blog/hello"],
            "patterns": ["/docs/[[...rest]]"],
            "tags": ["post:42", "two words"],
            "everything": false,
            "hostnames": ["shop.example.com"],
            "strategy": "Refresh",
            "repeatAfter": "15s",
            "deadline": 300,
            "nonce": "",
            "ttlAfterFinished": "never",
        },
    })
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match object.pointer_mut(parent).unwrap() {
        Value::Object(map) => {
            map.insert(key.to_owned(), value);
        }
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        other => unreachable!("{pointer} leads to {other}"),
    }
    object
}

#[test]
fn good_objects_pass_and_fit_their_types() {
    assert_eq!(complaints(0, &route()), [""; 0]);
    assert_eq!(complaints(1, &request()), [""; 0]);
    let typed: IsrRoute = serde_json::from_value(route()).unwrap();
    typed.validate_cel().unwrap();
    let typed: RevalidationRequest = serde_json::from_value(request()).unwrap();
    typed.validate_cel().unwrap();
}

#[rstest]
#[case::hostname_upper_case("/spec/hostnames/0", json!("Shop.example.com"), "spec.hostnames[0]: a hostname is lower case")]
#[case::hostname_port("/spec/hostnames/0", json!("shop.example.com:80"), "spec.hostnames[0]: a hostname is lower case")]
#[case::hostname_url("/spec/hostnames/0", json!("https://shop.example.com"), "spec.hostnames[0]: a hostname is lower case")]
#[case::hostname_inner_wildcard("/spec/hostnames/0", json!("shop.*.com"), "spec.hostnames[0]: a hostname is lower case")]
#[case::hostname_address("/spec/hostnames/0", json!("10.0.0.1"), "spec.hostnames[0]: a hostname is no IP address")]
#[case::selector_values("/spec/podSelector", json!({"matchExpressions": [{"key": "a", "operator": "In"}]}), "spec.podSelector.matchExpressions[0]: In and NotIn need values")]
#[case::selector_no_values("/spec/podSelector", json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}), "spec.podSelector.matchExpressions[0]: In and NotIn need values")]
#[case::trigger_name("/spec/trigger/secretRefs/0/name", json!("shop/isr"), "spec.trigger.secretRefs[0].name: the name of an object")]
#[case::trigger_key("/spec/trigger/secretRefs/0/key", json!("a key"), "spec.trigger.secretRefs[0].key: the key of a Secret")]
#[case::origin_timeout("/spec/origin/timeout", json!("30 s"), "spec.origin.timeout: a duration is")]
#[case::origin_timeout_never("/spec/origin/timeout", json!("never"), "spec.origin.timeout: a duration is")]
#[case::origin_timeout_negative("/spec/origin/timeout", json!(-1), "spec.origin.timeout: a duration is")]
#[case::origin_header("/spec/origin/headers/0/name", json!("x-a:"), "spec.origin.headers[0].name: a header name has")]
#[case::origin_header_of_a_visitor("/spec/origin/headers/0/name", json!("Cookie"), "spec.origin.headers[0].name: this header belongs to the connection")]
#[case::rule_name("/spec/rules/0/name", json!("Blog"), "spec.rules[0].name: a rule's name")]
#[case::rule_name_twice("/spec/rules/1/name", json!("blog"), "spec.rules: two rules have the same name")]
#[case::path_relative("/spec/rules/0/paths/0", json!("blog/[slug]"), "spec.rules[0].paths[0]: a path starts with '/'")]
#[case::path_query("/spec/rules/0/paths/0", json!("/blog?page=1"), "spec.rules[0].paths[0]: a path has no query")]
#[case::path_empty_segment("/spec/rules/0/paths/0", json!("/blog//x"), "spec.rules[0].paths[0]: a path is in normal form")]
#[case::path_dots("/spec/rules/0/paths/0", json!("/blog/../x"), "spec.rules[0].paths[0]: a path is in normal form")]
#[case::path_semicolon("/spec/rules/0/paths/0", json!("/blog;x"), "spec.rules[0].paths[0]: a path is in normal form")]
#[case::path_open_bracket("/spec/rules/0/paths/0", json!("/blog/[slug"), "spec.rules[0].paths[0]: a parameter is a whole segment")]
#[case::path_half_segment("/spec/rules/0/paths/0", json!("/blog/x-[slug]"), "spec.rules[0].paths[0]: a parameter is a whole segment")]
#[case::path_three_brackets("/spec/rules/0/paths/0", json!("/[[[...slug]]]"), "spec.rules[0].paths[0]: a parameter is a whole segment")]
#[case::path_optional_single("/spec/rules/0/paths/0", json!("/[[slug]]"), "spec.rules[0].paths[0]: a parameter is a whole segment")]
#[case::path_catch_all_first("/spec/rules/0/paths/0", json!("/[...rest]/end"), "spec.rules[0].paths[0]: a catch-all comes last")]
#[case::revalidate("/spec/rules/0/revalidate", json!("5x"), "spec.rules[0].revalidate: an interval is")]
#[case::revalidate_negative("/spec/rules/0/revalidate", json!(-5), "spec.rules[0].revalidate: an interval is")]
#[case::expire("/spec/rules/0/expire", json!("never"), "spec.rules[0].expire: a duration is")]
#[case::expire_before_revalidate("/spec/rules/0/expire", json!(59), "spec.rules[0].expire: expire is shorter than revalidate")]
#[case::expire_before_revalidate_in_units("/spec/rules/0/expire", json!("59s900ms"), "spec.rules[0].expire: expire is shorter than revalidate")]
#[case::tag_comma("/spec/rules/0/tags/0", json!("a,b"), "spec.rules[0].tags[0]: a tag is not empty")]
#[case::tag_bracket("/spec/rules/0/tags/0", json!("post:[slug"), "spec.rules[0].tags[0]: a tag refers to a parameter")]
#[case::key_query("/spec/rules/0/key/query/allow/0", json!("page=1"), "spec.rules[0].key.query.allow[0]: a query parameter is")]
#[case::key_header("/spec/rules/0/key/headers/0", json!("accept language"), "spec.rules[0].key.headers[0]: a header name has")]
#[case::key_header_cookie("/spec/rules/0/key/headers/0", json!("Cookie"), "spec.rules[0].key.headers[0]: this header can be no part of a key")]
#[case::key_cookie("/spec/rules/0/key/cookies/0", json!("a=b"), "spec.rules[0].key.cookies[0]: a cookie name has")]
#[case::bypass_cookie("/spec/rules/0/bypass/cookies/0", json!("a;b"), "spec.rules[0].bypass.cookies[0]: a cookie name has")]
#[case::bypass_header("/spec/rules/0/bypass/headers/0", json!("a b"), "spec.rules[0].bypass.headers[0]: a header name has")]
#[case::negative("/spec/rules/0/negative", json!("soon"), "spec.rules[0].negative: a duration is")]
#[case::prerender("/spec/rules/0/prerender/0", json!("blog"), "spec.rules[0].prerender[0]: a page to prerender is")]
#[case::prerender_without_host("/spec/hostnames", json!(["*.example.com"]), "spec.rules: a path to prerender needs a host")]
#[case::heuristic("/spec/rules/0/heuristic", json!(true), "spec.rules[0].heuristic: heuristic freshness is")]
#[case::max_body_bytes("/spec/rules/0/maxBodyBytes", json!("10MB"), "spec.rules[0].maxBodyBytes: a size is")]
#[case::max_body_bytes_zero("/spec/rules/0/maxBodyBytes", json!("0Mi"), "spec.rules[0].maxBodyBytes: a size is")]
#[case::cache_control("/spec/rules/0/cacheControl", json!("public\nx: y"), "spec.rules[0].cacheControl: a Cache-Control is one line")]
fn a_route_is_refused(#[case] pointer: &str, #[case] value: Value, #[case] complaint: &str) {
    let said = complaints(0, &with(route(), pointer, value));
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with(complaint), "{}", said[0]);
}

#[rstest]
#[case::route_ref("/spec/routeRef/name", json!("Shop"), "spec.routeRef.name: the name of an object")]
#[case::path("/spec/paths/0", json!("blog"), "spec.paths[0]: a path starts with '/'")]
#[case::path_query("/spec/paths/0", json!("/blog#x"), "spec.paths[0]: a path has no query")]
#[case::path_normal("/spec/paths/0", json!("/blog/./x"), "spec.paths[0]: a path is in normal form")]
#[case::pattern("/spec/patterns/0", json!("/docs/[...rest]/x"), "spec.patterns[0]: a catch-all comes last")]
#[case::tag("/spec/tags/0", json!(" a"), "spec.tags[0]: a tag is not empty")]
#[case::hostname("/spec/hostnames/0", json!("a_b.example.com"), "spec.hostnames[0]: a hostname is lower case")]
#[case::repeat_after("/spec/repeatAfter", json!("never"), "spec.repeatAfter: a duration is")]
#[case::deadline("/spec/deadline", json!("1w"), "spec.deadline: a duration is")]
#[case::ttl("/spec/ttlAfterFinished", json!("later"), "spec.ttlAfterFinished: an interval is")]
#[case::everything_with_others("/spec/everything", json!(true), "spec.everything: everything stands alone")]
#[case::nothing("/spec", json!({"strategy": "Expire"}), "spec: nothing is selected")]
#[case::nothing_but_a_route("/spec", json!({"routeRef": {"name": "storefront"}, "paths": []}), "spec: nothing is selected")]
#[case::too_much("/spec", json!({"tags": (100..140).map(|n| format!("{n}{}", "x".repeat(250))).collect::<Vec<_>>()}), "spec: all selectors together")]
fn a_request_is_refused(#[case] pointer: &str, #[case] value: Value, #[case] complaint: &str) {
    let said = complaints(1, &with(request(), pointer, value));
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with(complaint), "{}", said[0]);
}

#[test]
fn everything_alone_is_a_selection() {
    let object = with(request(), "/spec", json!({"everything": true}));
    assert_eq!(complaints(1, &object), [""; 0]);
}
