//! `POST /hooks/NAME`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, Query, Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{BODY, PeerAddress};
use crate::serve::{
    Server,
    database::{NewDelivery, Receipt},
    metrics::DeliveryResult,
    webhook::{self, HookEvent, HookFormat},
};

#[derive(Deserialize)]
pub(super) struct HookQuery {
    token: Option<String>,
}

/// Checks a delivery, stores it, and then answers 202.
pub(super) async fn receive(
    State(server): State<Arc<Server>>,
    Extension(PeerAddress(peer)): Extension<PeerAddress>,
    (Path(name), Query(query)): (Path<String>, Query<HookQuery>),
    request: Request,
) -> Response {
    let answer = |status: StatusCode, message: String| {
        (status, Json(json!({ "error": message }))).into_response()
    };
    // The name becomes a label of a metric: unknown ones must not.
    let format = HookFormat::of(&name);
    let label = if format == HookFormat::Generic { "generic" } else { &name };
    if !server.web.requests.take(peer) {
        return answer(StatusCode::TOO_MANY_REQUESTS, "too many requests".to_owned());
    }
    let Some(secret) = &server.options.webhook_secret else {
        let message = "this server takes no webhooks: start it with --webhook-secret-file";
        return answer(StatusCode::FORBIDDEN, message.to_owned());
    };
    let Ok(_permit) = server.web.bodies.acquire().await else {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "the server ends".to_owned());
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY).await else {
        server.metrics.delivery(label, DeliveryResult::Invalid);
        let message = format!("the body is longer than {} MiB, or was cut off", BODY >> 20);
        return answer(StatusCode::PAYLOAD_TOO_LARGE, message);
    };
    let headers = &parts.headers;
    let given = (&*body, query.token.as_deref());
    let credential = match webhook::authenticate(secret, headers, given, Timestamp::now()) {
        Ok(credential) => credential,
        Err(refusal) => {
            server.metrics.delivery(label, DeliveryResult::Refused);
            return answer(StatusCode::UNAUTHORIZED, refusal.to_string());
        }
    };
    let (event, key) = match webhook::read((&name, format), headers, (&body, &credential)) {
        Ok(read) => read,
        Err(problem) => {
            server.metrics.delivery(label, DeliveryResult::Invalid);
            return answer(StatusCode::BAD_REQUEST, problem);
        }
    };
    drop(body);
    // A registry tells of every request.
    if format == HookFormat::Registry && matches!(event, HookEvent::Other { .. }) {
        server.metrics.delivery(label, DeliveryResult::Accepted);
        return (StatusCode::ACCEPTED, Json(json!({ "status": "ignored" }))).into_response();
    }
    let received = server.database.receive(NewDelivery { key, hook: name.clone(), event }).await;
    let (id, status) = match received {
        Ok(Receipt::New(id)) => {
            server.metrics.delivery(label, DeliveryResult::Accepted);
            server.delivered.notify_one();
            (id, "received")
        }
        Ok(Receipt::Again(id)) => {
            server.metrics.delivery(label, DeliveryResult::Duplicate);
            (id, "duplicate")
        }
        Err(error) => {
            tracing::error!(%error, "a delivery cannot be stored");
            let message = "the delivery cannot be stored".to_owned();
            return answer(StatusCode::INTERNAL_SERVER_ERROR, message);
        }
    };
    (StatusCode::ACCEPTED, Json(json!({ "delivery": id, "status": status }))).into_response()
}
