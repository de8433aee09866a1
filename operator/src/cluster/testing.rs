//! An API server that says what the test tells it to, and forgets no request.

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::Value;
use tower_test::mock::{Handle, SendResponse};

/// The other end of a [`Client`].
pub(crate) struct ApiServer {
    handle: Handle<Request<Body>, Response<Body>>,
}

/// A request that waits for its answer.
pub(crate) struct Call {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// `Null` where there is none.
    pub(crate) body: Value,
    respond: SendResponse<Response<Body>>,
}

impl ApiServer {
    pub(crate) fn new() -> (Client, Self) {
        let (service, handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        (Client::new(service, "default"), Self { handle })
    }

    /// The next request; `None` when every client is gone and none has come.
    pub(crate) async fn next(&mut self) -> Option<Call> {
        let (request, respond) = self.handle.next_request().await?;
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body in memory").to_bytes();
        Some(Call {
            method: parts.method.to_string(),
            path: parts.uri.to_string(),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            respond,
        })
    }

    /// The next request, which must be this one.
    pub(crate) async fn expect(&mut self, method: &str, path: &str) -> Call {
        let call = self.next().await.expect("a request");
        assert_eq!(
            (call.method.as_str(), call.path.split('?').next()),
            (method, Some(path))
        );
        call
    }
}

impl Call {
    /// Answers with this object.
    pub(crate) fn reply(self, body: &Value) {
        self.answer(200, body);
    }

    /// Answers with this error of the API.
    pub(crate) fn fail(self, code: u16, reason: &str) {
        let status = serde_json::json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason,
        });
        self.answer(code, &status);
    }

    fn answer(self, code: u16, body: &Value) {
        let response = Response::builder()
            .status(code)
            .body(Body::from(body.to_string().into_bytes()))
            .expect("a response");
        self.respond.send_response(response);
    }
}
