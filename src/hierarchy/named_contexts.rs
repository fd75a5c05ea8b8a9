//! Named contexts: what `FROM NAME` and `--from=NAME` of a Dockerfile mean instead of an image of that name.

use std::str::FromStr;

use crate::image::Reference;

/// The source of a named context, as `docker buildx build --build-context` spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// `docker-image://os-base:12`: an image of this hierarchy or an upstream, by the rules of `FROM`.
    Image(Reference),
    /// A folder, relative to the hierarchy file.
    Folder(String),
    Git(GitAddress),
}

/// A folder of a git repository: `https://host/repository.git#ref:folder`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitAddress {
    pub url: String,
    /// A branch, a tag or a full commit; `HEAD` if not given.
    pub reference: String,
    /// Relative to the root of the repository; the root itself if empty.
    pub folder: String,
}

impl NamedContext {
    /// What of it is part of the fingerprint beside the content of its files or the digest of its image.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Image(image) => image.to_string(),
            Self::Folder(_) | Self::Git(_) => "files".to_owned(),
        }
    }
}

impl FromStr for NamedContext {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(image) = text.strip_prefix("docker-image://") {
            return image
                .parse()
                .map(Self::Image)
                .map_err(|error: crate::image::ReferenceError| error.to_string());
        }
        for kind in ["target:", "service:"] {
            if let Some(name) = text.strip_prefix(kind) {
                return Err(format!("`{text}` names no image: write `docker-image://{name}`"));
            }
        }
        if text.starts_with("oci-layout:") {
            return Err(format!(
                "`{text}` is an OCI layout, which the Docker API cannot take; push it to a registry and write `docker-image://…`"
            ));
        }
        match GitAddress::read(text)? {
            Some(address) => Ok(Self::Git(address)),
            None => Ok(Self::Folder(text.to_owned())),
        }
    }
}

impl GitAddress {
    /// `None` for a folder.
    pub(super) fn read(text: &str) -> Result<Option<Self>, String> {
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let url =
            if url.starts_with("github.com/") { format!("https://{url}") } else { url.to_owned() };
        let is_scp = is_scp(&url);
        let is_git = ["ssh://", "git://", "file://"].iter().any(|scheme| url.starts_with(scheme));
        let is_web = ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme));
        if !is_scp && !is_git && !is_web {
            let is_url = url.contains("://");
            let message = || {
                format!(
                    "`{text}` is not a folder, `docker-image://…` or the URL of a git repository"
                )
            };
            return if is_url { Err(message()) } else { Ok(None) };
        }
        let is_named_git = url.strip_suffix(".git").is_some();
        if is_web && !is_named_git && !url.starts_with("https://github.com/") {
            return Err(format!(
                "`{text}` is not a git repository: its URL must end in `.git`, with `#ref:folder` behind it"
            ));
        }
        let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
        let reference = if reference.is_empty() { "HEAD" } else { reference };
        let is_inside = folder.split('/').all(|part| part != "..");
        if !is_inside || reference.starts_with('-') {
            return Err(format!("`#{fragment}` is not a ref and a folder of the repository"));
        }
        Ok(Some(Self {
            url,
            reference: reference.to_owned(),
            folder: folder.trim_matches('/').to_owned(),
        }))
    }
}

/// Whether it is an address as `git@example.com:acme/app.git`.
pub(super) fn is_scp(url: &str) -> bool {
    url.split_once(':')
        .is_some_and(|(host, path)| host.contains('@') && !host.contains('/') && !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_images_folders_or_git_repositories() {
        for (text, expected) in [
            ("../lib", "folder ../lib"),
            ("lib:1", "folder lib:1"),
            ("docker-image://os:12", "image os:12"),
            ("https://h/r.git", "https://h/r.git HEAD "),
            ("https://h/r.git#v1:a/b/", "https://h/r.git v1 a/b"),
            ("github.com/acme/x#main", "https://github.com/acme/x main "),
            ("git@h:acme/x.git#:sub", "git@h:acme/x.git HEAD sub"),
            ("ssh://git@h/x", "ssh://git@h/x HEAD "),
            ("file:///srv/x#v1", "file:///srv/x v1 "),
            ("https://h/x.tar.gz", "! is not a git repository"),
            ("s3://h/x", "! is not a folder"),
            ("https://h/r.git#v1:../x", "! is not a ref and a folder"),
            ("https://h/r.git#--upload-pack=x", "! is not a ref and a folder"),
            ("target:os", "! write `docker-image://os`"),
            ("oci-layout://x", "! is an OCI layout"),
            ("docker-image://A", "! "),
        ] {
            let found = match text.parse() {
                Ok(NamedContext::Folder(folder)) => format!("folder {folder}"),
                Ok(NamedContext::Image(image)) => format!("image {image}"),
                Ok(NamedContext::Git(GitAddress { url, reference, folder })) => {
                    format!("{url} {reference} {folder}")
                }
                Err(error) => format!("! {error}"),
            };
            let is_expected = match expected.strip_prefix("! ") {
                Some(part) => found.starts_with("! ") && found.contains(part),
                None => found == expected,
            };
            assert!(is_expected, "{text}: {found}");
        }
    }
}
