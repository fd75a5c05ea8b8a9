//! The comment in a pull request: the plan, what it touches, and what became of it.

use std::collections::BTreeSet;

use super::super::{
    markdown::{self, MarkdownPage, escaped},
    mermaid,
    numbers::{count, names},
    plan::{Planned, TagList, counts, moves, target, touched, verb},
    run_data::Record,
    sanitize,
};
use crate::{
    hierarchy::{Hierarchy, NodeName},
    plan::{Action, Plan, Reason, Step},
};

/// A comment has at most 65,536 characters (GitHub answers 422, "body is too long"); no character has less than a byte.
pub const LIMIT: usize = 65_536;
/// For what stands around the page.
const RESERVED: usize = 1024;

/// The comment of a run. `mark` is the line by which it is found again.
pub fn of_run(
    record: &Record,
    hierarchy: Option<&Hierarchy>,
    (mark, job): (&str, Option<&str>),
) -> String {
    let graph = record.summary.as_ref().zip(hierarchy);
    let graph = graph.and_then(|(summary, hierarchy)| mermaid::of_run(hierarchy, summary));
    let plan = record.plan.as_ref().zip(hierarchy);
    let plan = plan.map(|(plan, hierarchy)| {
        let changed = changed(plan, hierarchy);
        format!("Plan: {}{changed}.\n\n", counts(plan))
    });
    let plan = plan.unwrap_or_default();
    let limit = LIMIT - RESERVED - mark.len() - plan.len();
    let page = markdown::page(record, graph.as_deref(), limit);
    let (head, rest) = page.split_once("\n\n").unwrap_or((page.as_str(), ""));
    format!("{mark}\n{head}\n\n{plan}{rest}{}", foot(job))
}

/// The comment of a plan.
pub fn of_plan(
    planned: Planned<'_>,
    hierarchy: &Hierarchy,
    (mark, job): (&str, Option<&str>),
) -> String {
    let Planned { run, radius, place, .. } = planned;
    let mut page = MarkdownPage::new(LIMIT - RESERVED - mark.len());
    page.add(&format!("### rebuild plan: {}\n\n", counts(run)));
    let mut facts = escaped(&sanitize::text(&target(radius, place)));
    if radius.images() > 0 {
        facts.push_str(": ");
        facts.push_str(&escaped(&touched(radius)));
    }
    page.add(&format!("{facts}{}.\n\n", changed(run, hierarchy)));
    let steps: Vec<&Step> =
        run.steps.iter().filter(|step| !matches!(step.action, Action::Keep { .. })).collect();
    let row = |step: &&Step| {
        let descendants = match hierarchy.get(&step.node) {
            Some(node) => hierarchy.descendants(&node.name).count(),
            None => 0,
        };
        [
            sanitize::text(step.node.as_str()),
            verb(&step.action).to_owned(),
            sanitize::text(&step.reason.to_string()),
            if descendants > 0 { descendants.to_string() } else { String::new() },
        ]
    };
    page.table(
        &["image", "action", "why", "descendants"],
        "---|---|---|--:",
        steps.iter().map(row),
    );
    if !radius.tags.is_empty() {
        let tags = escaped(&sanitize::text(&moves(&radius.tags, TagList::Line)));
        page.add(&format!("Moves {tags}.\n\n"));
    }
    format!("{mark}\n{}{}", page.text, foot(job))
}

/// `. Cause: os-base, with 12 descendants`: the images that do not only follow their parents.
fn changed(plan: &Plan, hierarchy: &Hierarchy) -> String {
    let is_root = |step: &&Step| {
        matches!(step.action, Action::Build { .. })
            && !matches!(step.reason, Reason::ParentRebuilt { .. })
    };
    let roots: Vec<&NodeName> = plan.steps.iter().filter(is_root).map(|step| &step.node).collect();
    if roots.is_empty() {
        return String::new();
    }
    let known = roots.iter().filter(|name| hierarchy.get(name).is_some());
    let below = known.flat_map(|name| hierarchy.descendants(name)).map(|node| &node.name);
    let below: BTreeSet<&NodeName> = below.filter(|name| !roots.contains(name)).collect();
    let shown: Vec<String> = roots.iter().map(|name| sanitize::text(name.as_str())).collect();
    let shown = escaped(&names(&shown, 3));
    match below.len() {
        0 => format!(". Cause: {shown}"),
        n => format!(". Cause: {shown}, with {}", count(n, "descendant")),
    }
}

fn foot(job: Option<&str>) -> String {
    job.map(|job| format!("[Log of the job]({})\n", job.replace([')', ' ', '\n'], "")))
        .unwrap_or_default()
}
