//! The authority and its Secret, against an API server that is told what to say.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Pki, StoreError};
use crate::cluster::testing::ApiServer;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);
const SECRETS: &str = "/api/v1/namespaces/coppice-system/secrets";
const SECRET: &str = "/api/v1/namespaces/coppice-system/secrets/coppice-ca";

fn pki() -> (Pki, ApiServer) {
    let (client, server) = ApiServer::new();
    (
        Pki::new(client, "coppice-system", vec!["a.svc".to_owned()]),
        server,
    )
}

fn stored(mut secret: Value, version: &str) -> Value {
    secret["metadata"]["resourceVersion"] = json!(version);
    secret["metadata"]["namespace"] = json!("coppice-system");
    secret
}

/// A Secret as an operator made it at this moment.
async fn made(at: Timestamp) -> Value {
    let (mut pki, mut server) = pki();
    let api = async {
        server.expect("GET", SECRET).await.fail(404, "NotFound");
        let create = server.expect("POST", SECRETS).await;
        let secret = stored(create.body.clone(), "1");
        create.reply(&secret);
        secret
    };
    let (renewed, secret) = tokio::join!(pki.renew(at), api);
    renewed.unwrap();
    secret
}

fn bundle(pki: &Pki) -> String {
    pki.bundle()
        .borrow()
        .as_deref()
        .expect("there is a bundle")
        .to_owned()
}

#[tokio::test]
async fn pki_makes_one_authority_and_keeps_to_it() {
    let secret = made(NOW).await;
    assert_eq!(secret["metadata"]["name"], "coppice-ca");
    let (mut pki, mut server) = pki();
    for _ in 0..2 {
        let api = async { server.expect("GET", SECRET).await.reply(&secret) };
        let (renewed, ()) = tokio::join!(pki.renew(NOW), api);
        renewed.unwrap();
    }
    assert_eq!(bundle(&pki).matches("BEGIN CERTIFICATE").count(), 1);
    drop(pki);
    assert!(server.next().await.is_none(), "reading is all that it does");
}

#[tokio::test]
async fn pki_takes_over_what_another_was_faster_to_make() {
    let theirs = made(NOW).await;
    let (mut pki, mut server) = pki();
    let api = async {
        server.expect("GET", SECRET).await.fail(404, "NotFound");
        server.expect("POST", SECRETS).await.fail(409, "AlreadyExists");
        server.expect("GET", SECRET).await.reply(&theirs);
    };
    let (renewed, ()) = tokio::join!(pki.renew(NOW), api);
    renewed.unwrap();
    let first = bundle(&pki);
    let api = async { server.expect("GET", SECRET).await.reply(&theirs) };
    let (renewed, ()) = tokio::join!(pki.renew(NOW), api);
    renewed.unwrap();
    assert_eq!(bundle(&pki), first);
}

#[tokio::test]
async fn pki_rotates_with_a_precondition_and_reads_again_on_conflict() {
    let old = made(NOW).await;
    let later = NOW + SignedDuration::from_hours(24 * 340);
    let (mut pki, mut server) = pki();
    let api = async {
        server.expect("GET", SECRET).await.reply(&old);
        let replace = server.expect("PUT", SECRET).await;
        assert_eq!(replace.body["metadata"]["resourceVersion"], "1");
        replace.fail(409, "Conflict");
        server
            .expect("GET", SECRET)
            .await
            .reply(&stored(old.clone(), "2"));
        let replace = server.expect("PUT", SECRET).await;
        assert_eq!(replace.body["metadata"]["resourceVersion"], "2");
        let body = replace.body.clone();
        replace.reply(&body);
    };
    let (renewed, ()) = tokio::join!(pki.renew(later), api);
    renewed.unwrap();
    assert_eq!(
        bundle(&pki).matches("BEGIN CERTIFICATE").count(),
        2,
        "the former one is still trusted"
    );
}

#[tokio::test]
async fn pki_makes_a_deleted_secret_again_from_memory() {
    let secret = made(NOW).await;
    let (mut pki, mut server) = pki();
    let api = async {
        server.expect("GET", SECRET).await.reply(&secret);
    };
    let (renewed, ()) = tokio::join!(pki.renew(NOW), api);
    renewed.unwrap();
    let api = async {
        server.expect("GET", SECRET).await.fail(404, "NotFound");
        let create = server.expect("POST", SECRETS).await;
        assert_eq!(create.body["data"], secret["data"]);
        let body = stored(create.body.clone(), "9");
        create.reply(&body);
    };
    let (renewed, ()) = tokio::join!(pki.renew(NOW), api);
    renewed.unwrap();
}

#[tokio::test]
async fn pki_never_overwrites_a_secret_that_it_cannot_read() {
    let mut secret = made(NOW).await;
    secret["data"]["ca.key"] = json!("bm8ga2V5");
    let (mut pki, mut server) = pki();
    let api = async { server.expect("GET", SECRET).await.reply(&secret) };
    let (renewed, ()) = tokio::join!(pki.renew(NOW), api);
    let error = renewed.unwrap_err();
    assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("delete it"), "{error}");
    assert!(pki.bundle().borrow().is_none());
    drop(pki);
    assert!(server.next().await.is_none());
}
