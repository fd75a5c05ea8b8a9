//! The HTTP server: pages and the same data as JSON, webhooks, live events, metrics.
//!
//! **Invariant:** a page has no script and no style of its own text, so that build output cannot act in a browser. A
//! client that sends or reads slowly holds one connection, and only for a limited time.

mod access;
mod actions;
mod answers;
mod events;
mod hooks;
mod limiter;
mod pages;
mod views;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::from_fn_with_state,
    routing::{get, post},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_io_timeout::TimeoutStream;
use tower_http::{
    catch_panic::CatchPanicLayer, set_header::SetResponseHeaderLayer, timeout::TimeoutLayer,
};

use self::{
    access::{AccessControl, HostNames},
    limiter::Limiter,
};
use super::{ServeOptions, Server};

/// The most connections. Further ones wait.
const CONNECTIONS: usize = 1024;
/// For the head of a request.
const HEADERS: Duration = Duration::from_secs(10);
/// For the body of a request, and for its answer but for events.
const REQUEST: Duration = Duration::from_secs(30);
/// A client that takes nothing of an answer for so long is cut off.
const WRITE: Duration = Duration::from_secs(30);
/// The largest body of a webhook. Larger ones of GitHub name more files than an event keeps.
const BODY: usize = 5 * 1024 * 1024;
/// How many webhooks are read at once, which bounds the memory.
const BODIES: usize = 8;

/// Nothing from outside, and no script but ours. The pictures have styles in attributes of SVG only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the pages need besides the hierarchies.
pub struct WebState {
    pub access: AccessControl,
    pub hosts: HostNames,
    /// Of POST requests, by address.
    pub requests: Limiter,
    /// Of wrong tokens and signatures, by address.
    pub failures: Limiter,
    bodies: Semaphore,
    event_clients: Arc<Semaphore>,
    /// The last audit as JSON, or the error of it. `None` before the first one.
    pub fleet: std::sync::RwLock<Option<Result<serde_json::Value, String>>>,
}

impl WebState {
    pub fn new(options: &ServeOptions) -> Self {
        Self {
            access: AccessControl::new(options.token.as_deref(), options.trusted_header.clone()),
            hosts: HostNames::new(options),
            requests: Limiter::new(2000.0, 200.0),
            failures: Limiter::new(20.0, 0.2),
            bodies: Semaphore::new(BODIES),
            event_clients: Arc::new(Semaphore::new(events::CLIENTS)),
            fleet: std::sync::RwLock::default(),
        }
    }
}

/// The address of the client.
#[derive(Clone, Copy, Debug)]
struct PeerAddress(IpAddr);

/// Answers requests until it is aborted.
pub async fn serve(server: Arc<Server>, listener: TcpListener) {
    let router = router(server);
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // No file descriptor is free, for example.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let router = router.clone();
        tokio::spawn(async move {
            answer(router, stream, peer).await;
            drop(permit);
        });
    }
}

async fn answer(router: Router, stream: tokio::net::TcpStream, peer: SocketAddr) {
    _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE));
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        request.extensions_mut().insert(PeerAddress(peer.ip()));
        let request: Request = request.map(axum::body::Body::new);
        tower_service(router.clone(), request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn tower_service(
    mut router: Router,
    request: Request,
) -> Result<axum::response::Response, std::convert::Infallible> {
    // A router is always ready.
    tower_service::Service::call(&mut router, request).await
}

fn router(server: Arc<Server>) -> Router {
    let header = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    Router::new()
        .route("/", get(answers::overview))
        .route("/h/{hierarchy}", get(answers::hierarchy))
        .route("/h/{hierarchy}/events", get(events::of_hierarchy))
        .route("/h/{hierarchy}/run", post(actions::start))
        .route("/h/{hierarchy}/log/{*image}", get(answers::log))
        .route("/h/{hierarchy}/image/{*image}", get(answers::image))
        .route("/runs/{run}", get(answers::run))
        .route("/runs/{run}/report.html", get(answers::report))
        .route("/runs/{run}/events", get(events::of_run))
        .route("/runs/{run}/cancel", post(actions::cancel))
        .route("/runs/{run}/retry", post(actions::retry))
        .route("/deliveries", get(answers::deliveries))
        .route("/messages", get(answers::messages))
        .route("/messages/{message}/retry", post(actions::resend))
        .route("/fleet", get(answers::fleet))
        .route("/login", get(actions::login_form).post(actions::login))
        .route("/logout", post(actions::logout))
        .route("/hooks/{name}", post(hooks::receive).layer(DefaultBodyLimit::max(BODY)))
        .route("/assets/style.css", get(answers::style))
        .route("/assets/page.js", get(answers::script))
        .route("/metrics", get(answers::metrics))
        .route("/healthz", get(answers::health))
        .route("/readyz", get(answers::ready))
        .fallback(answers::not_found)
        .method_not_allowed_fallback(answers::method_not_allowed)
        .layer(DefaultBodyLimit::max(64 * 1024))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST))
        .layer(header(header::CONTENT_SECURITY_POLICY, POLICY))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::REFERRER_POLICY, "same-origin"))
        .layer(header(header::CACHE_CONTROL, "no-store"))
        .layer(from_fn_with_state(Arc::clone(&server), access::check_host))
        .layer(CatchPanicLayer::new())
        .with_state(server)
}
