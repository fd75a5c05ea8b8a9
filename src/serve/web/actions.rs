//! POST requests of users: start, cancel and retry runs, log in and out.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Form, Json,
    body::Bytes,
    extract::{FromRequest, Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use maud::Markup;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    PeerAddress,
    access::{AccessControl, is_same_origin},
    pages,
};
use crate::serve::{
    Server,
    database::RunState,
    request::{RequestedWork, WorkRequest},
};

/// The fields of all forms. A program may leave them out.
#[derive(Default)]
struct ActionForm {
    /// What a form of ours holds.
    secret: Option<String>,
    /// Images, separated by commas; empty for everything that is out of date.
    from: String,
    /// Without the layer cache.
    refresh: bool,
}

impl ActionForm {
    /// Of a form, of a JSON object, or of nothing.
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, String> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let fields: Vec<(String, String)> = if kind.is_some_and(|kind| kind.contains("json")) {
            let fields: BTreeMap<String, Value> =
                serde_json::from_slice(body).map_err(|error| format!("the body: {error}"))?;
            let one = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
            let text = |value: Value| match value {
                Value::Array(list) => list.iter().map(one).collect::<Vec<_>>().join(","),
                other => one(&other),
            };
            fields.into_iter().map(|(name, value)| (name, text(value))).collect()
        } else {
            url::form_urlencoded::parse(body).into_owned().collect()
        };
        let mut form = Self::default();
        for (name, value) in fields {
            match &*name {
                "secret" => form.secret = Some(value),
                "from" => form.from = value,
                "refresh" => {
                    form.refresh = match &*value {
                        "1" | "true" => true,
                        "0" | "false" | "" => false,
                        other => return Err(format!("`refresh` is `1` or `0`, not `{other}`")),
                    }
                }
                other => return Err(format!("there is no field `{other}`: `from` and `refresh`")),
            }
        }
        Ok(form)
    }
}

#[derive(Deserialize)]
pub(super) struct LoginForm {
    token: String,
}

/// A request of a client that may act, and that is its own.
pub(super) struct ActionRequest {
    user: Option<String>,
    form: ActionForm,
    accepts_pages: bool,
}

impl FromRequest<Arc<Server>> for ActionRequest {
    type Rejection = ActionRefusal;

    async fn from_request(request: Request, server: &Arc<Server>) -> Result<Self, ActionRefusal> {
        let refuse = |status: StatusCode, message: &str| Err(refusal(status, message));
        let headers = request.headers().clone();
        // Each connection has one: web/mod.rs.
        let Some(&PeerAddress(peer)) = request.extensions().get() else {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the address is not known");
        };
        if !server.web.access.is_possible() {
            let message = "this server takes no actions: start it with --token-file";
            return refuse(StatusCode::FORBIDDEN, message);
        }
        if !server.web.requests.take(peer) {
            return refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests");
        }
        let Some(user) = server.web.access.actor(&headers, peer) else {
            if !headers.contains_key(header::AUTHORIZATION) {
                let message = "log in, or send the token as `Authorization: Bearer TOKEN`";
                return refuse(StatusCode::UNAUTHORIZED, message);
            }
            // Others with the same address are not kept out: behind a proxy, all clients have one.
            if !server.web.failures.take(peer) {
                let message = "too many wrong tokens: wait 5 seconds";
                return refuse(StatusCode::TOO_MANY_REQUESTS, message);
            }
            return refuse(StatusCode::UNAUTHORIZED, "the token is wrong");
        };
        let body = Bytes::from_request(request, server).await;
        let body = body.map_err(|error| refusal(error.status(), error.body_text()))?;
        let form = match ActionForm::read(&headers, &body) {
            Ok(form) => form,
            Err(message) => return refuse(StatusCode::BAD_REQUEST, &message),
        };
        if !user.sent(&headers, form.secret.as_deref()) {
            let message = "the form has no valid secret: load the page again";
            return refuse(StatusCode::FORBIDDEN, message);
        }
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let accepts_pages = accept.is_some_and(|accept| accept.contains("text/html"));
        Ok(Self { user: user.user, form, accepts_pages })
    }
}

impl ActionRequest {
    /// A browser gets the page, a program the data.
    fn accepted(&self, page: &str, data: Value) -> Response {
        if self.accepts_pages {
            return Redirect::to(page).into_response();
        }
        (StatusCode::ACCEPTED, Json(data)).into_response()
    }

    fn started(&self, run: i64) -> Response {
        self.accepted(&format!("/runs/{run}"), json!({ "run": run }))
    }
}

/// An answer that says why.
type ActionRefusal = (StatusCode, Json<Value>);

fn refusal(status: StatusCode, message: impl std::fmt::Display) -> ActionRefusal {
    (status, Json(json!({ "error": message.to_string() })))
}

fn problem(status: StatusCode, message: impl std::fmt::Display) -> Response {
    refusal(status, message).into_response()
}

pub(super) async fn start(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    action: ActionRequest,
) -> Response {
    let Some(hierarchy) = server.served(&name) else {
        return problem(StatusCode::NOT_FOUND, format!("there is no hierarchy `{name}`"));
    };
    let asked = action.form.from.split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut images = std::collections::BTreeSet::new();
    for name in asked {
        let state = hierarchy.state();
        match state.hierarchy.as_ref().map(|files| files.named(name)) {
            Some(Ok(found)) => images.extend(found.into_iter().map(ToString::to_string)),
            Some(Err(error)) => return problem(StatusCode::BAD_REQUEST, error),
            None => return problem(StatusCode::CONFLICT, "the files cannot be read"),
        }
    }
    let work = match (images.is_empty(), action.form.refresh) {
        (true, false) => RequestedWork::OutOfDate,
        (true, true) => RequestedWork::Refresh,
        (false, refresh) => RequestedWork::Images { images, refresh },
    };
    let by = action.user.as_deref().unwrap_or("a user");
    let by = format!("a request of {by}");
    match server.start_run(hierarchy, WorkRequest::new(work, by)).await {
        Ok(run) => action.started(run),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// Stops a run, or takes it out of the queue.
pub(super) async fn cancel(
    State(server): State<Arc<Server>>,
    Path(id): Path<i64>,
    action: ActionRequest,
) -> Response {
    match server.database.cancel_queued(id).await {
        Ok(true) => {}
        Ok(false) => {
            let live = server.hierarchies.iter().filter_map(|entry| entry.live());
            let Some(live) = live.into_iter().find(|live| live.id == id) else {
                return match server.database.run(id).await {
                    Ok(None) => problem(StatusCode::NOT_FOUND, format!("there is no run {id}")),
                    _ => problem(StatusCode::CONFLICT, format!("run {id} does not run")),
                };
            };
            live.stop(RunState::Cancelled);
        }
        Err(error) => return problem(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
    action.started(id)
}

/// Queues the request of a run again.
pub(super) async fn retry(
    State(server): State<Arc<Server>>,
    Path(id): Path<i64>,
    action: ActionRequest,
) -> Response {
    let Ok(Some(run)) = server.database.run(id).await else {
        return problem(StatusCode::NOT_FOUND, format!("there is no run {id}"));
    };
    let Some(entry) = server.served(&run.hierarchy) else {
        return problem(StatusCode::CONFLICT, "this server no longer has its hierarchy");
    };
    let request = WorkRequest::new(run.request.work, format!("retry of run {id}"));
    match server.start_run(entry, request).await {
        Ok(run) => action.started(run),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// Sends a message again now.
pub(super) async fn resend(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    action: ActionRequest,
) -> Response {
    match server.database.resend(&id).await {
        Ok(true) => {
            server.resend.notify_one();
            action.accepted("/messages", json!({ "message": id }))
        }
        Ok(false) => problem(StatusCode::NOT_FOUND, format!("no message `{id}` waits to be sent")),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

pub(super) async fn login_form() -> Markup {
    pages::login(None)
}

pub(super) async fn login(
    State(server): State<Arc<Server>>,
    Extension(PeerAddress(peer)): Extension<PeerAddress>,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> Response {
    if !is_same_origin(&headers) || !server.web.access.is_token(&form.token) {
        if !server.web.failures.take(peer) {
            let page = pages::login(Some("Too many wrong tokens. Wait 5 seconds."));
            return (StatusCode::TOO_MANY_REQUESTS, page).into_response();
        }
        let page = pages::login(Some("That is not the token."));
        return (StatusCode::UNAUTHORIZED, page).into_response();
    }
    let proto = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let cookie = server.web.access.begin_session(proto == Some("https"));
    ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

pub(super) async fn logout(headers: HeaderMap) -> Response {
    if !is_same_origin(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    ([(header::SET_COOKIE, AccessControl::end_session())], Redirect::to("/")).into_response()
}
