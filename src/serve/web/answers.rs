//! The answers to GET requests: a page for a browser, JSON for anything else.

use std::sync::{Arc, PoisonError};

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use maud::Markup;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::io::ReaderStream;

use super::{
    PeerAddress,
    pages::{self, Chrome},
    views::{self, RunPage, RunRow},
};
use crate::serve::{Server, live_run::RunFiles, served::ServedHierarchy};

#[derive(Default, Deserialize)]
pub(super) struct FormatQuery {
    format: Option<String>,
}

/// A request as far as an answer depends on it.
pub(super) struct Asked<'a> {
    pub server: &'a Server,
    pub headers: &'a HeaderMap,
    pub peer: PeerAddress,
    pub format: FormatQuery,
    /// The number of changes of the hierarchy before its data was read.
    changes: Option<u64>,
}

type Parts = (HeaderMap, Extension<PeerAddress>, Query<FormatQuery>);

impl<'a> Asked<'a> {
    fn new(server: &'a Server, (headers, Extension(peer), Query(format)): &'a Parts) -> Self {
        let format = FormatQuery { format: format.format.clone() };
        Self { server, headers, peer: *peer, format, changes: None }
    }

    fn about(self, entry: &ServedHierarchy) -> Self {
        Self { changes: Some(*entry.changes.borrow()), ..self }
    }

    /// A browser names HTML; curl and other programs do not.
    fn wants_page(&self) -> bool {
        match self.format.format.as_deref() {
            Some("json") => false,
            Some("html") => true,
            _ => self
                .headers
                .get_all(header::ACCEPT)
                .iter()
                .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html"))),
        }
    }

    /// What surrounds each page.
    fn chrome(&self) -> Chrome {
        let access = &self.server.web.access;
        Chrome {
            actor: access.actor(self.headers, self.peer.0),
            can_log_in: access.has_token(),
            can_act: access.is_possible(),
            hierarchies: self.server.hierarchies.iter().map(|it| it.name.clone()).collect(),
            has_fleet: self.server.options.audit.is_some(),
            changes: self.changes,
        }
    }

    fn answer<T: Serialize>(&self, view: &T, page: impl FnOnce(Chrome) -> Markup) -> Response {
        let vary = (header::VARY, "Accept");
        if self.wants_page() {
            ([vary], page(self.chrome())).into_response()
        } else {
            ([vary], Json(view)).into_response()
        }
    }

    fn missing(&self, what: &str) -> Response {
        self.refusal(StatusCode::NOT_FOUND, what)
    }

    fn refusal(&self, status: StatusCode, what: &str) -> Response {
        let title = status.canonical_reason().unwrap_or("Error");
        let mut response =
            self.answer(&json!({ "error": what }), |chrome| pages::refusal(&chrome, title, what));
        *response.status_mut() = status;
        response
    }
}

pub(super) async fn overview(State(server): State<Arc<Server>>, parts: Parts) -> Response {
    let asked = Asked::new(&server, &parts);
    // With one hierarchy, its page is the first one.
    if let [entry] = &server.hierarchies[..] {
        return hierarchy_page(&asked.about(entry), entry).await;
    }
    let view = server.overview().await;
    asked.answer(&view, |chrome| pages::overview(&chrome, &view))
}

pub(super) async fn hierarchy(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    parts: Parts,
) -> Response {
    let asked = Asked::new(&server, &parts);
    match server.served(&name) {
        Some(entry) => hierarchy_page(&asked.about(entry), entry).await,
        None => asked.missing(&format!("there is no hierarchy `{name}`")),
    }
}

async fn hierarchy_page(asked: &Asked<'_>, entry: &Arc<ServedHierarchy>) -> Response {
    // A user who repaired the files looks here next.
    if entry.state().problem.is_some() {
        asked.server.read_files(entry).await;
    }
    let view = asked.server.hierarchy_view(entry).await;
    asked.answer(&view, |chrome| pages::hierarchy(&chrome, &view, &entry.state()))
}

pub(super) async fn image(
    State(server): State<Arc<Server>>,
    Path((name, image)): Path<(String, String)>,
    parts: Parts,
) -> Response {
    let asked = Asked::new(&server, &parts);
    let Some(entry) = server.served(&name) else {
        return asked.missing(&format!("there is no hierarchy `{name}`"));
    };
    let asked = asked.about(entry);
    let view = server.image_view(entry, &image).await;
    match view {
        Some(view) => asked.answer(&view, |chrome| pages::image(&chrome, &view)),
        None => asked.missing(&format!("there is no image `{image}` in `{name}`")),
    }
}

/// The whole log of an image's last build, as text.
pub(super) async fn log(
    State(server): State<Arc<Server>>,
    Path((name, image)): Path<(String, String)>,
    parts: Parts,
) -> Response {
    let asked = Asked::new(&server, &parts);
    let hierarchy = server.served(&name).and_then(|entry| entry.state().hierarchy.clone());
    let log = hierarchy.and_then(|hierarchy| views::log(&hierarchy, &image));
    let Some(log) = log else {
        return asked.missing(&format!("there is no log of `{image}` on this machine"));
    };
    match tokio::fs::File::open(&log.path).await {
        Ok(file) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (kind, Body::from_stream(ReaderStream::new(file))).into_response()
        }
        Err(_) => asked.missing("the log was deleted"),
    }
}

pub(super) async fn run(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    parts: Parts,
) -> Response {
    let asked = Asked::new(&server, &parts);
    // No run has the number 0.
    let id = name.parse().unwrap_or(0);
    let Ok(Some(stored)) = server.database.run(id).await else {
        return asked.missing(&format!("there is no run {name}"));
    };
    let entry = server.served(&stored.hierarchy).map(|entry| &**entry);
    let deliveries = server.database.causes(id).await.unwrap_or_default();
    let page = RunPage { run: RunRow::of(&stored, entry), deliveries };
    if !asked.wants_page() {
        return asked.answer(&page, |_| Markup::default());
    }
    // Many clients may follow a run: its file is not read for each.
    if let Some(live) = entry.and_then(ServedHierarchy::live).filter(|live| live.id == id) {
        return asked.answer(&page, |chrome| pages::run(&chrome, &page, &live.view()));
    }
    let files = RunFiles::new(&server.options.data, id);
    let read = tokio::task::spawn_blocking(move || pages::read_events(&files)).await;
    let events = read.unwrap_or_default();
    asked.answer(&page, |chrome| pages::run(&chrome, &page, &events))
}

/// The report of a run in one file.
pub(super) async fn report(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    parts: Parts,
) -> Response {
    let asked = Asked::new(&server, &parts);
    let id = name.parse().unwrap_or(0);
    let files = RunFiles::new(&server.options.data, id);
    if !files.events.is_file() {
        return asked.missing(&format!("there are no events of run {id}"));
    }
    let read =
        tokio::task::spawn_blocking(move || crate::report::html::page(&pages::read_events(&files)));
    let page = read.await.unwrap_or_default();
    let name = format!("attachment; filename=\"rebuild-run-{id}.html\"");
    let kind = (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned());
    ([kind, (header::CONTENT_DISPOSITION, name)], page).into_response()
}

pub(super) async fn deliveries(State(server): State<Arc<Server>>, parts: Parts) -> Response {
    let asked = Asked::new(&server, &parts);
    let deliveries = server.database.deliveries(200).await.unwrap_or_default();
    let view = json!({ "deliveries": deliveries });
    let takes = server.options.webhook_secret.is_some();
    asked.answer(&view, |chrome| pages::deliveries(&chrome, &deliveries, takes))
}

pub(super) async fn messages(State(server): State<Arc<Server>>, parts: Parts) -> Response {
    let asked = Asked::new(&server, &parts);
    let messages = server.database.messages(200).await.unwrap_or_default();
    let view = json!({ "messages": messages });
    asked.answer(&view, |chrome| pages::messages(&chrome, &messages))
}

pub(super) async fn fleet(State(server): State<Arc<Server>>, parts: Parts) -> Response {
    let asked = Asked::new(&server, &parts);
    let fleet = server.web.fleet.read().unwrap_or_else(PoisonError::into_inner).clone();
    let view = match &fleet {
        Some(Ok(audit)) => audit.clone(),
        Some(Err(problem)) => json!({ "error": problem }),
        None if server.options.audit.is_none() => {
            json!({ "error": "start the server with `--audit REGISTRY/PREFIX`" })
        }
        None => json!({ "error": "the registry was not read yet" }),
    };
    asked.answer(&view, |chrome| {
        pages::fleet(&chrome, server.options.audit.as_deref(), fleet.as_ref())
    })
}

pub(super) async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, format!("{}\n{}", crate::report::html::STYLE, include_str!("style.css")))
        .into_response()
}

pub(super) async fn script() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, format!("{}\n{}", crate::report::html::SCRIPT, include_str!("page.js")))
        .into_response()
}

pub(super) async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let queue = server.database.queue_length().await.unwrap_or_default();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], server.metrics.text(queue)).into_response()
}

/// The process answers.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// The database answers, the files of all hierarchies were read, and the server does not end.
pub(super) async fn ready(State(server): State<Arc<Server>>) -> Response {
    let unread = server.hierarchies.iter().find_map(|entry| {
        let state = entry.state();
        let problem = state.problem.clone();
        let problem = problem.or_else(|| state.hierarchy.is_none().then(|| "not read yet".into()));
        Some(format!("the files of `{}` cannot be read: {}", entry.name, problem?.trim()))
    });
    let problem = if server.is_stopping() {
        "the server ends".to_owned()
    } else if let Err(error) = server.database.queue_length().await {
        error.to_string()
    } else if let Some(unread) = unread {
        unread
    } else {
        return "ready\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response()
}

pub(super) async fn not_found(State(server): State<Arc<Server>>, parts: Parts) -> Response {
    Asked::new(&server, &parts).missing("there is no such page")
}

/// The header `Allow`, which the router adds, names the methods.
pub(super) async fn method_not_allowed(
    State(server): State<Arc<Server>>,
    parts: Parts,
) -> Response {
    let asked = Asked::new(&server, &parts);
    asked.refusal(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method, see `Allow`")
}
