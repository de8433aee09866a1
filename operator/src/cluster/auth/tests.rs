//! What the API server says of a token, and what follows.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};

use super::{Authenticator, Identity, Reviewer};
use crate::cluster::testing::ApiServer;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

fn good() -> Value {
    json!({
        "authenticated": true,
        "audiences": ["coppice.dev"],
        "user": {
            "username": "system:serviceaccount:shop:web",
            "extra": {
                "authentication.kubernetes.io/pod-name": ["web-1"],
                "authentication.kubernetes.io/pod-uid": ["u-1"],
            },
        },
    })
}

fn but(change: &Value) -> Value {
    let mut status = good();
    json_patch::merge(&mut status, change);
    status
}

async fn review(status: Value) -> Result<Identity, &'static str> {
    let (client, mut server) = ApiServer::new();
    let reviewer = Reviewer::new(client, Arc::default());
    let api = async {
        let call = server.expect("POST", REVIEWS).await;
        assert_eq!(
            call.body["spec"],
            json!({ "token": "t", "audiences": ["coppice.dev"] })
        );
        let mut answer = call.body.clone();
        answer["status"] = status;
        call.reply(&answer);
    };
    let (caller, ()) = tokio::join!(reviewer.review(Some("t")), api);
    caller.map_err(|error| error.as_str())
}

#[tokio::test]
async fn push_identity_comes_from_the_token() {
    let caller = review(good()).await.unwrap();
    let expected = Identity {
        namespace: "shop".to_owned(),
        pod: "web-1".to_owned(),
        uid: "u-1".to_owned(),
    };
    assert_eq!(caller, expected);
}

#[rstest]
#[case::unknown(json!({ "authenticated": false }), "invalid")]
#[case::nothing_said(json!({ "authenticated": null }), "invalid")]
#[case::another_audience(json!({ "audiences": ["https://kubernetes.default.svc"] }), "invalid")]
#[case::no_audience(json!({ "audiences": null }), "invalid")]
#[case::a_person(json!({ "user": { "username": "jane" } }), "not_bound")]
#[case::no_pod(json!({ "user": { "extra": null } }), "not_bound")]
#[case::no_uid(json!({ "user": { "extra": { "authentication.kubernetes.io/pod-uid": null } } }), "not_bound")]
#[case::two_pods(json!({ "user": { "extra": { "authentication.kubernetes.io/pod-name": ["a", "b"] } } }), "not_bound")]
#[tokio::test]
async fn push_refuses_tokens(#[case] change: Value, #[case] word: &str) {
    assert_eq!(review(but(&change)).await, Err(word));
}

#[tokio::test]
async fn push_refuses_without_asking_where_there_is_no_token() {
    let (client, mut server) = ApiServer::new();
    let reviewer = Reviewer::new(client, Arc::default());
    let long = "x".repeat(20_000);
    for (token, word) in [
        (None, "missing"),
        (Some(""), "missing"),
        (Some(long.as_str()), "invalid"),
    ] {
        assert_eq!(reviewer.review(token).await.unwrap_err().as_str(), word);
    }
    drop(reviewer);
    assert!(server.next().await.is_none());
}

#[tokio::test]
async fn push_asks_again_later_when_the_server_is_down() {
    let (client, mut server) = ApiServer::new();
    let reviewer = Reviewer::new(client, Arc::default());
    let api = async {
        server.expect("POST", REVIEWS).await.fail(500, "InternalError");
    };
    let (caller, ()) = tokio::join!(reviewer.authenticate(Some("t")), api);
    assert_eq!(caller.unwrap_err().code(), tonic::Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn push_does_not_wait_for_ever() {
    let (client, mut server) = ApiServer::new();
    let reviewer = Reviewer::new(client, Arc::default());
    let (caller, held) = tokio::join!(reviewer.authenticate(Some("t")), server.next());
    assert!(held.is_some(), "it asked and got no answer");
    assert_eq!(caller.unwrap_err().code(), tonic::Code::Unavailable);
}
