//! The arguments of `rebuild audit`.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};

use crate::image::{Reference, Repository, Tag};

pub(super) const AUDIT_EXAMPLES: &str = "\
Examples:
  rebuild audit                    the images below the `registry` of hierarchy.yaml
  rebuild audit registry.example.com
                                   all images of a registry
  rebuild audit registry.example.com/team --base registry.example.com/base/os:12
                                   images below a path, and a base outside hierarchy.yaml
  rebuild audit registry.example.com --format html >fleet.html
                                   a page for a browser
  kubectl get pods -A -o jsonpath='{..image}' | tr ' ' '\\n' |
    rebuild audit --images -
                                   the images that run in a cluster
  rebuild audit registry.example.com --exit-code
                                   in scripts: exit code 3 if a base is behind";

#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// The registry, and a path in it [default: the `registry` of hierarchy.yaml]
    #[arg(value_name = "REGISTRY[/PATH]")]
    pub fleet: Option<RegistryPath>,
    /// Audit the images of this file instead, one name a line; `-`: of stdin
    ///
    /// For registries that list their repositories to no client. A name without tag and digest stands for all tags.
    #[arg(long, value_name = "FILE", conflicts_with = "fleet")]
    pub images: Option<PathBuf>,
    /// A repository of bases outside hierarchy.yaml; with a tag, that is the moving tag of all its versions
    #[arg(long = "base", value_name = "REPO[:TAG]")]
    pub bases: Vec<Reference>,
    /// Audit images with this tag only; repeat it for several
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<Tag>,
    /// The label or annotation that names the owner [default: org.opencontainers.image.vendor, then .authors]
    #[arg(long, value_name = "KEY")]
    pub owner_label: Option<String>,
    /// Text, JSON or CSV for programs (docs/audit.md), or a page for a browser
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: AuditFormat,
    /// List images with a current base, too
    #[arg(long)]
    pub all: bool,
    /// Exit code 3 if the base of an image is behind
    #[arg(long)]
    pub exit_code: bool,
}

/// A registry's host, and perhaps a path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryPath {
    pub host: String,
    pub path: Option<String>,
}

impl RegistryPath {
    /// The prefix of a hierarchy.
    pub fn of(prefix: &Repository) -> Option<Self> {
        // A prefix may be a host only, which is a host only with a name behind it.
        let inside = prefix.join("x").ok()?;
        let path = inside.path();
        let path = path.strip_suffix("/x").map(str::to_owned);
        Some(Self { host: inside.host().to_owned(), path })
    }
}

impl FromStr for RegistryPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(format!("leave `{scheme}://` out"));
        }
        let text = text.trim_end_matches('/');
        let (host, path) = match text.split_once('/') {
            Some((host, path)) => (host, Some(path)),
            None => (text, None),
        };
        // By the grammar of names, a host has a dot, a port, or is `localhost`.
        let below: Reference = format!("{host}/{}", path.unwrap_or("x")).parse().map_err(|_| {
            "it is not a registry and a path, such as `registry.example.com/team`".to_owned()
        })?;
        if below.repository.host() != host {
            return Err("the first part must be a host, such as `registry.example.com`".to_owned());
        }
        if below.digest.is_some() {
            return Err("leave the digest out: it audits all images below a path".to_owned());
        }
        if let (Some(tag), Some(_)) = (&below.tag, path) {
            let repository = text.trim_end_matches(&format!(":{tag}"));
            return Err(format!("`{tag}` is a tag: write `{repository} --tag {tag}`"));
        }
        Ok(Self { host: host.to_owned(), path: path.map(str::to_owned) })
    }
}

impl std::fmt::Display for RegistryPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)?;
        self.path.iter().try_for_each(|path| write!(f, "/{path}"))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AuditFormat {
    /// A table
    #[default]
    Text,
    /// For programs: docs/audit.md
    Json,
    /// For spreadsheets
    Csv,
    /// A page for a browser
    Html,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_a_hierarchy_is_a_registry_and_a_path() {
        for (prefix, shown) in [
            ("registry.example.com/base", "registry.example.com/base"),
            ("registry.example.com", "registry.example.com"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b"),
            ("acme", "docker.io/acme"),
        ] {
            let found = RegistryPath::of(&prefix.parse().unwrap()).unwrap();
            assert_eq!(found.to_string(), shown);
        }
    }

    #[test]
    fn a_registry_may_have_a_path() {
        for (text, shown) in [
            ("registry.example.com", Ok("registry.example.com")),
            ("registry.example.com/", Ok("registry.example.com")),
            ("127.0.0.1:5000/team/apps", Ok("127.0.0.1:5000/team/apps")),
            ("localhost/x", Ok("localhost/x")),
            ("https://r.io", Err("leave `https://` out")),
            ("team", Err("the first part must be a host, such as `registry.example.com`")),
            ("r.io/app:1", Err("`1` is a tag: write `r.io/app --tag 1`")),
            ("r.io:5000/a/b:1.2", Err("`1.2` is a tag: write `r.io:5000/a/b --tag 1.2`")),
            (
                "r.io/App",
                Err("it is not a registry and a path, such as `registry.example.com/team`"),
            ),
        ] {
            let parsed = text.parse::<RegistryPath>().map(|path| path.to_string());
            assert_eq!(parsed, shown.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
