//! A comment in the pull request that a job of GitHub Actions is for, updated in place:
//! <https://docs.github.com/en/rest/issues/comments>.

use std::{env, path::PathBuf};

use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    hierarchy::Hierarchy,
    host::{bounded, environment},
    image::Digest,
    registry::{AttemptFailure, SecretUrl, Web, WebRequest, bearer},
};

/// Comments a page, and pages: a pull request with more comments gets a new one.
const PER_PAGE: usize = 100;
const PAGES: usize = 30;

struct PullRequest {
    /// Of the repository.
    api: SecretUrl,
    number: String,
    headers: HeaderMap,
    token: String,
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    user: Option<User>,
    #[serde(default)]
    author_association: String,
}

#[derive(Deserialize)]
struct User {
    #[serde(rename = "type", default)]
    kind: String,
}

/// Writes the comment, or replaces that of an earlier run. Does nothing outside of a pull request.
pub(super) async fn comment(
    web: &Web,
    hierarchy: &Hierarchy,
    text: impl Fn(&str) -> String,
) -> Result<(), String> {
    let Some(request) = PullRequest::of_environment()? else { return Ok(()) };
    let mark = mark(hierarchy);
    let body = json!({ "body": text(&mark) });
    // All of it again: a comment may be there although the answer was lost.
    let ended = web.retried(|| request.write(web, &mark, &body)).await;
    ended.map_err(|error| {
        let reason = error.reason.replace(&request.token, "***");
        let hint = match error.status {
            Some(401 | 403 | 404) => "; the job needs `permissions: pull-requests: write`",
            _ => "",
        };
        format!("{reason}{hint}")
    })
}

/// The first line of the comment, which GitHub does not show. A repository may have several hierarchies.
fn mark(hierarchy: &Hierarchy) -> String {
    let workspace = env::var_os("GITHUB_WORKSPACE").map(PathBuf::from);
    let workspace = workspace.and_then(|folder| folder.canonicalize().ok());
    let file = hierarchy.file.canonicalize().unwrap_or_else(|_| hierarchy.file.clone());
    let path = workspace.and_then(|folder| file.strip_prefix(folder).ok().map(PathBuf::from));
    let path = path.unwrap_or(file);
    format!("<!-- rebuild: {} -->", Digest::of(path.as_os_str().as_encoded_bytes()).short())
}

impl PullRequest {
    fn of_environment() -> Result<Option<Self>, String> {
        let Some(event) = environment("GITHUB_EVENT_PATH") else { return Ok(None) };
        let event = bounded::text(event.as_ref())
            .map_err(|error| format!("the file `GITHUB_EVENT_PATH` cannot be read: {error}"))?;
        let event: Value = serde_json::from_str(&event)
            .map_err(|error| format!("the file `GITHUB_EVENT_PATH` is not JSON: {error}"))?;
        let Some(number) = number(&event) else { return Ok(None) };
        let repository =
            environment("GITHUB_REPOSITORY").ok_or("`GITHUB_REPOSITORY` is not set")?;
        let token = environment("GITHUB_TOKEN").ok_or(
            "`GITHUB_TOKEN` is not set; add `env: { GITHUB_TOKEN: \"${{ github.token }}\" }` to the step",
        )?;
        let api = environment("GITHUB_API_URL");
        let api = SecretUrl::parse(api.as_deref().unwrap_or("https://api.github.com"), false)
            .map_err(|reason| format!("the value of `GITHUB_API_URL` is not usable: {reason}"))?;
        let parts: Vec<&str> = ["repos"].into_iter().chain(repository.split('/')).collect();
        let mut headers = HeaderMap::new();
        let authorization = bearer(&token).ok_or("the value of `GITHUB_TOKEN` is not a token")?;
        headers.insert(header::AUTHORIZATION, authorization);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        Ok(Some(Self { api: api.join(&parts, None), number, headers, token }))
    }

    async fn write(&self, web: &Web, mark: &str, body: &Value) -> Result<(), AttemptFailure> {
        let (method, url) = match self.find(web, mark).await? {
            Some(id) => {
                let parts = ["issues", "comments", &id.to_string()];
                (Method::PATCH, self.api.join(&parts, None))
            }
            None => (Method::POST, self.api.join(&["issues", &self.number, "comments"], None)),
        };
        let mut headers = self.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = Some(body.to_string().into());
        web.send(&WebRequest { method, url, headers, body }).await.map(drop)
    }

    /// The comment of an earlier run.
    async fn find(&self, web: &Web, mark: &str) -> Result<Option<u64>, AttemptFailure> {
        for page in 1..=PAGES {
            let query = format!("per_page={PER_PAGE}&page={page}");
            let url = self.api.join(&["issues", &self.number, "comments"], Some(&query));
            let headers = self.headers.clone();
            let answer =
                web.send(&WebRequest { method: Method::GET, url, headers, body: None }).await?;
            let comments: Vec<Comment> = serde_json::from_slice(&answer)
                .map_err(|_| AttemptFailure::permanent("its answer is not a list of comments"))?;
            if let Some(comment) = comments.iter().find(|comment| comment.is_ours(mark)) {
                return Ok(Some(comment.id));
            }
            if comments.len() < PER_PAGE {
                break;
            }
        }
        Ok(None)
    }
}

impl Comment {
    /// Another user can copy the mark. An owner of the comment could then change what it says.
    fn is_ours(&self, mark: &str) -> bool {
        let is_bot = self.user.as_ref().is_some_and(|user| user.kind == "Bot");
        let may_write =
            ["OWNER", "MEMBER", "COLLABORATOR"].contains(&self.author_association.as_str());
        (is_bot || may_write) && self.body.as_ref().is_some_and(|body| body.starts_with(mark))
    }
}

/// Of `pull_request` events, and of comments in a pull request.
fn number(event: &Value) -> Option<String> {
    let number = event.pointer("/pull_request/number").or_else(|| {
        event.pointer("/issue/pull_request")?;
        event.pointer("/issue/number")
    });
    number.and_then(Value::as_u64).map(|number| number.to_string())
}
