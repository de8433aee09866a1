//! Secrets that routes refer to.

use super::*;

/// A Secret of namespace `shop` that consents.
fn mk_secret(name: &str, data: &[(&str, &str)]) -> Secret {
    let data = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    Secret {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        allowed: true,
        data: data.collect(),
    }
}

/// A route that sends the key `bypass` of the Secret `isr`, and that says something else in each generation.
fn mk_referring(generation: i64) -> IsrRoute {
    let header = json!({"name": "X-Prerender-Revalidate", "valueFrom": {"secretKeyRef": {"name": "isr", "key": "bypass"}}});
    let rule = json!({"paths": ["/a"], "revalidate": generation});
    mk_route(
        "a",
        generation,
        json!({"origin": {"headers": [header]}, "rules": [rule]}),
    )
}

fn sent(index: &Index) -> Vec<(String, String)> {
    let compiled = config_of(index, "web-1");
    let headers = compiled
        .config
        .routes
        .iter()
        .flat_map(|route| &route.origin.headers);
    headers
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect()
}

#[test]
fn a_secret_reaches_the_route_that_refers_to_it_and_its_change_too() {
    let mut index = mk_index(&[]);
    index.reset_secrets(vec![mk_secret("isr", &[("bypass", "one\n")])]);
    index.apply_route(&mk_referring(1));
    let facts = index.facts(&name("a"), at(0)).unwrap();
    assert_eq!((facts.accepted, facts.in_force), (Reason::Accepted, Some(1)));
    assert!(facts.refers && facts.unresolved.is_empty());
    let header = |value: &str| vec![("x-prerender-revalidate".to_owned(), value.to_owned())];
    assert_eq!(sent(&index), header("one"), "without the line break at its end");

    index.take_dirty();
    assert!(index.apply_secret(mk_secret("isr", &[("bypass", "two")])));
    assert_eq!(sent(&index), header("two"));
    assert_eq!(index.take_dirty(), [name("a")].into());
    assert!(
        !index.apply_secret(mk_secret("isr", &[("bypass", "two")])),
        "no news"
    );
    index.apply_secret(mk_secret("other", &[("bypass", "two")]));
    assert!(index.take_dirty().is_empty(), "it concerns nobody");
    assert!(!format!("{index:?}").contains("two"), "no secret in Debug");
}

#[rstest]
#[case(None, Reason::SecretNotFound, "there is no Secret \"isr\"")]
#[case(Some(mk_secret("isr", &[("token", "x")])), Reason::SecretKeyNotFound, "has no key \"bypass\"")]
#[case(Some(Secret { allowed: false, ..mk_secret("isr", &[("bypass", "x")]) }), Reason::RefNotPermitted, "label it coppice.dev/allow-reference=true")]
#[case(Some(mk_secret("isr", &[("bypass", "caf\u{e9}")])), Reason::InvalidSecretValue, "visible ASCII")]
#[case(Some(mk_secret("isr", &[("bypass", "a\nb")])), Reason::InvalidSecretValue, "visible ASCII")]
#[case(Some(mk_secret("isr", &[("bypass", " \n")])), Reason::InvalidSecretValue, "visible ASCII")]
fn a_reference_that_leads_nowhere_is_said_and_nothing_is_cached_without_it(
    #[case] secret: Option<Secret>,
    #[case] reason: Reason,
    #[case] words: &str,
) {
    let mut index = mk_index(&[]);
    index.reset_secrets(secret.into_iter().collect());
    index.apply_route(&mk_referring(1));
    let facts = index.facts(&name("a"), at(0)).unwrap();
    assert_eq!((facts.accepted, facts.in_force), (Reason::Accepted, None));
    assert_eq!(facts.unresolved.len(), 1);
    let Unresolved {
        reason: said,
        message,
    } = &facts.unresolved[0];
    assert_eq!(*said, reason);
    assert!(
        message.contains("origin.headers[X-Prerender-Revalidate]") && message.contains(words),
        "{message}"
    );
    assert!(
        names(&config_of(&index, "web-1")).is_empty(),
        "its paths pass through"
    );

    index.apply_secret(mk_secret("isr", &[("bypass", "x")]));
    assert_eq!(index.facts(&name("a"), at(0)).unwrap().in_force, Some(1));
    assert_eq!(
        sent(&index).len(),
        1,
        "it follows as soon as the Secret is as it should be"
    );
}

#[test]
fn what_was_in_force_stays_so_while_a_reference_leads_nowhere() {
    let mut index = mk_index(&[]);
    index.reset_secrets(vec![mk_secret("isr", &[("bypass", "one")])]);
    index.apply_route(&mk_referring(1));
    let before = config_of(&index, "web-1");
    assert!(index.delete_secret("shop", "isr"));
    let facts = index.facts(&name("a"), at(0)).unwrap();
    assert_eq!((facts.in_force, facts.unresolved.len()), (Some(1), 1));
    assert_eq!(
        config_of(&index, "web-1").version,
        before.version,
        "with the value that it had"
    );

    index.apply_route(&mk_referring(2));
    assert_eq!(index.facts(&name("a"), at(0)).unwrap().in_force, Some(1));
    assert_eq!(config_of(&index, "web-1").version, before.version);

    index.reset_secrets(vec![mk_secret("isr", &[("bypass", "two")])]);
    assert_eq!(index.facts(&name("a"), at(0)).unwrap().in_force, Some(2));
    assert_eq!(sent(&index)[0].1, "two");
}

#[test]
fn routes_that_were_there_before_the_secrets_are_compiled_with_them() {
    let mut index = mk_index(&[mk_referring(1)]);
    assert_eq!(
        index.facts(&name("a"), at(0)).unwrap().accepted,
        Reason::Unsupported
    );
    assert!(index.reset_secrets(vec![mk_secret("isr", &[("bypass", "one")])]));
    assert_eq!(index.facts(&name("a"), at(0)).unwrap().accepted, Reason::Accepted);
    assert_eq!(sent(&index).len(), 1);
}
