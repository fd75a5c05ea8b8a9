//! What a hierarchy that is not trusted may not do: docs/security.md.
//!
//! **Invariant:** an untrusted hierarchy starts no program of the host, reads no secret, reaches no SSH
//! agent, and reads no file outside its folder.

use std::{
    ops::Range,
    path::{Component, Path, PathBuf},
};

use super::{
    BuildNetwork, GitAddress, Notify,
    draft::Draft,
    fields::{Located, Problems},
    secrets::Ssh,
};
use crate::check::{diagnostic::Diagnostic, rules::RuleCode};

/// Whether the user of this machine trusts the author of a hierarchy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    #[default]
    Full,
    /// That of a pull request, for example.
    Untrusted,
}

const HINT: &str = "`--untrusted` or `REBUILD_UNTRUSTED` is set: docs/security.md";

/// What the entries say that an untrusted hierarchy may not say.
pub(super) fn refuse(
    drafts: &[Draft],
    notify: Option<(&Notify, &Range<usize>)>,
    engines: Option<&Range<usize>>,
    problems: &mut Problems,
) {
    let mut refused: Vec<(&Range<usize>, String)> = Vec::new();
    refused.extend(notify.map(|(notify, span)| {
        let what = match notify.command {
            Some(_) => "`notify` runs a program on this machine",
            None => "`notify` sends reports with the secrets of this machine",
        };
        (span, what.to_owned())
    }));
    refused.extend(engines.map(|span| (span, "`engines` connects to other machines".to_owned())));
    for draft in drafts {
        let image = &draft.image;
        if image.prepare.is_some() {
            let what = "`prepare` runs a program on this machine";
            refused.push((&image.places.prepare, what.to_owned()));
        }
        if image.gates.iter().flatten().next().is_some() {
            let what = "`gate` runs a program on this machine";
            refused.push((&image.places.gates, what.to_owned()));
        }
        if image.sign.is_some() {
            let what = "`sign` runs a program on this machine";
            refused.push((&image.places.sign, what.to_owned()));
        }
        for id in image.secrets.sources.keys() {
            let span = image.places.secrets.get(id).unwrap_or(&draft.span);
            refused
                .push((span, format!("the secret `{id}` is a file or a variable of this machine")));
        }
        if let Some(network) =
            image.build.text("network").filter(|_| image.settings.network == BuildNetwork::Host)
        {
            refused.push((
                &network.span,
                "`network: host` reaches services of this machine".to_owned(),
            ));
        }
        let contexts =
            image.build.contexts().filter(|(_, text)| is_git(text)).map(|(_, text)| text);
        for address in image.context.iter().filter(|text| is_git(text)).chain(contexts) {
            let what =
                format!("`{}` is fetched with the git logins of this machine", address.value);
            refused.push((&address.span, what));
        }
        if image.ssh == Some(Ssh::Agent) {
            refused.push((&draft.span, "`ssh` uses the keys of this machine".to_owned()));
        }
    }
    for (span, what) in refused {
        let problem = Diagnostic::of(RuleCode::Untrusted, format!("{what}: refused"));
        problems.found.push(problem.at_secret(&problems.source, span.clone()).hint(HINT));
    }
}

fn is_git(text: &Located<String>) -> bool {
    matches!(GitAddress::read(&text.value), Ok(Some(_)))
}

/// The real path, if it leads out of the folder of the hierarchy.
pub(super) fn outside(path: &Path, root: &Path) -> Option<PathBuf> {
    // Resolving a path asks about each folder from the top of the file system on.
    if path.strip_prefix(root).is_ok_and(|below| has_no_link(root, below)) {
        return None;
    }
    let (real, root) = (path.canonicalize().ok()?, root.canonicalize().ok()?);
    (!real.starts_with(root)).then_some(real)
}

fn has_no_link(root: &Path, below: &Path) -> bool {
    let mut path = root.to_owned();
    below.components().all(|component| {
        path.push(component);
        matches!(component, Component::Normal(_))
            && path.symlink_metadata().is_ok_and(|found| !found.is_symlink())
    })
}

/// A hierarchy file that is a link.
pub(super) fn refused_link() -> Diagnostic {
    Diagnostic::of(RuleCode::Untrusted, "this is a link out of its folder: refused").hint(HINT)
}

/// A path that an untrusted hierarchy may not read.
pub(super) fn refused(what: &str, shown: &str) -> Diagnostic {
    let message = format!("{what} `{shown}` lies outside the folder of hierarchy.yaml: refused");
    Diagnostic::of(RuleCode::Untrusted, message).hint(HINT)
}
