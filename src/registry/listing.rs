//! Paged lists: `tags/list` and its `Link` header (distribution-spec §Listing Tags).

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::{RegistryError, exchange::Exchange, exchange::RegistryCall, transport::Reply};
use crate::image::Tag;

/// The limits of a list: a registry may send endless pages, or pages of one tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pages: usize,
    tags: usize,
    time: Duration,
}

/// A thousand tags per page are usual; the smallest known page has a hundred (Harbor).
pub(super) const MOST: Most =
    Most { pages: 5_000, tags: 500_000, time: Duration::from_secs(15 * 60) };

#[derive(Deserialize)]
struct TagPage {
    /// `null` after the deletion of a repository's last tag.
    tags: Option<Vec<String>>,
}

/// All tags of a repository, page by page; empty if the repository does not exist.
pub(super) async fn tags(
    exchange: &Exchange,
    mut call: RegistryCall<'_>,
    most: Most,
) -> Result<Vec<Tag>, RegistryError> {
    let began = Instant::now();
    let endless = |what: String| RegistryError::Unreachable {
        host: call.host.to_owned(),
        reason: format!("its list of tags goes on after {what}"),
        hint: None,
    };
    let mut tags = Vec::new();
    for _ in 0..most.pages {
        if began.elapsed() > most.time {
            return Err(endless(format!("{} seconds", most.time.as_secs())));
        }
        let reply = exchange.call(&call).await?;
        match reply.status.as_u16() {
            200 => {}
            404 => return Ok(tags),
            _ => return Err(call.unexpected(&reply, reply.reason())),
        }
        let page: TagPage = serde_json::from_slice(&reply.body)
            .map_err(|error| call.unexpected(&reply, format!("not a list of tags: {error}")))?;
        // A name that is not a tag by the specification cannot be pulled.
        tags.extend(page.tags.unwrap_or_default().iter().filter_map(|tag| tag.parse().ok()));
        if tags.len() > most.tags {
            return Err(endless(format!("{} tags", most.tags)));
        }
        let Some(next) = next(&reply) else { return Ok(tags) };
        let next = next.map_err(|reason| call.unexpected(&reply, reason))?;
        let query = next.query().map(str::to_owned);
        if (next.path(), &query) == (call.path.as_str(), &call.query) {
            return Err(call.unexpected(&reply, "its next page is the same page again"));
        }
        (call.path, call.query) = (next.path().to_owned(), query);
    }
    Err(endless(format!("{} pages", most.pages)))
}

/// The next page, which must be on the same host.
///
/// The scheme may differ: a registry behind a TLS proxy reports plain HTTP. Only path and query are used, so
/// no request goes to that scheme.
pub(super) fn next(reply: &Reply) -> Option<Result<Url, String>> {
    let target = link(reply.header(http::header::LINK)?)?;
    let Ok(url) = reply.url.join(target) else {
        return Some(Err("its next page has no address".to_owned()));
    };
    if url.host_str() != reply.url.host_str() {
        let host = super::printable(url.host_str().unwrap_or_default());
        return Some(Err(format!("its next page is on another host, `{host}`")));
    }
    Some(Ok(url))
}

/// The target of `rel="next"` in a `Link` header (RFC 8288).
fn link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (target, after) = rest.split_once('<')?.1.split_once('>')?;
        let parameters = after.split('<').next().unwrap_or_default();
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let text = parameter.trim().to_ascii_lowercase().replace([' ', '"'], "");
            text == "rel=next"
        });
        if is_next {
            return Some(target);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_page() {
        for (header, expected) in [
            (r#"</v2/a/tags/list?n=1&last=b>; rel="next""#, Some("/v2/a/tags/list?n=1&last=b")),
            ("</x>;rel=next", Some("/x")),
            (r#"</p>; rel="prev", </n>; rel="next""#, Some("/n")),
            (r#"</p>; rel="prev""#, None),
            ("nonsense", None),
            ("<unclosed", None),
            ("", None),
        ] {
            assert_eq!(link(header), expected, "{header}");
        }
    }
}
