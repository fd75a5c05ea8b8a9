//! Which node of an image with several platforms is meant by a reference in a Dockerfile.
//!
//! **Invariant:** a node is based on nodes of its own platform, except for a `FROM --platform`, which names the
//! platform.

use std::collections::HashMap;

use super::{
    Base,
    draft::Draft,
    edges::{ReferenceIndex, ResolvedReference},
    fields::Problems,
};
use crate::{
    check::{diagnostic::Diagnostic, rules::RuleCode},
    image::{Platform, Reference},
};

/// Resolves references for nodes of any platform.
pub(super) struct PlatformEdges<'d> {
    index: ReferenceIndex<'d>,
    /// The drafts of each image, one for each platform.
    drafts: HashMap<&'d str, Vec<&'d Draft>>,
    /// That of the engine, for images that name none.
    pub(super) native: &'d Platform,
}

impl<'d> PlatformEdges<'d> {
    pub(super) fn new(index: ReferenceIndex<'d>, all: &'d [Draft], native: &'d Platform) -> Self {
        let mut drafts: HashMap<&str, Vec<&Draft>> = HashMap::new();
        for draft in all {
            drafts.entry(draft.name.image()).or_default().push(draft);
        }
        Self { index, drafts, native }
    }

    /// What a reference in the Dockerfile of a draft means. `platform` is that of `FROM --platform`.
    pub(super) fn resolve(
        &self,
        reference: &Reference,
        (draft, platform): (&Draft, Option<&Platform>),
        problems: &mut Problems,
    ) -> ResolvedReference {
        let resolved = self.index.resolve(reference, &draft.name);
        let Base::Node(parent) = &resolved.base else { return resolved };
        let wanted = platform.unwrap_or_else(|| self.platform_of(draft));
        let parents = &self.drafts[parent.image()];
        let is_of_several = |draft: &Draft| draft.name.platform().is_some();
        // An image with one platform may be based on one with another: `rebuild check` warns.
        if parents.iter().all(|parent| !is_of_several(parent)) && !is_of_several(draft) {
            return resolved;
        }
        if let Some(found) = parents.iter().find(|parent| self.platform_of(parent) == wanted) {
            return ResolvedReference { base: Base::Node(found.name.clone()), ..resolved };
        }
        let problem = self.missing((draft, wanted), parents, problems);
        problems.found.push(problem);
        resolved
    }

    pub(super) fn platform_of<'p>(&'p self, draft: &'p Draft) -> &'p Platform {
        draft.image.platform.as_ref().map_or(self.native, |platform| &platform.value)
    }

    fn missing(
        &self,
        (draft, wanted): (&Draft, &Platform),
        parents: &[&Draft],
        problems: &Problems,
    ) -> Diagnostic {
        let (image, parent) = (draft.name.image(), parents[0].name.image());
        let needs = if self.platform_of(draft) == wanted {
            format!("`{image}` is built for {wanted}, and its parent `{parent}` is not")
        } else {
            format!(
                "`{image}` is built from `{parent}` for {wanted}, which `{parent}` does not have"
            )
        };
        let has: Vec<String> =
            parents.iter().map(|parent| self.platform_of(parent).to_string()).collect();
        let span = match &parents[0].image.platforms {
            Some(platforms) => platforms.span.clone(),
            None => parents[0].platform_span(),
        };
        Diagnostic::of(RuleCode::MissingPlatform, needs)
            .at(&problems.source, draft.platform_span(), "")
            .at(&problems.source, span, format!("`{parent}` is built for {}", has.join(", ")))
            .hint(format!(
                "add {wanted} to the `platforms` of `{parent}`, or remove it from `{image}`"
            ))
    }
}
