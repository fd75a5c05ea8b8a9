//! Exceeded budgets in JSON.

use serde::Serialize;

use crate::{
    event::Outcome,
    hierarchy::NodeName,
    size::{Cause, Excess, LayerOwner, OverBudget},
};

#[derive(Serialize)]
pub(super) struct BudgetViews<'a> {
    /// Warnings only; the message of a failure has the same sentences.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    over_budget: Vec<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    excesses: Vec<ExcessView<'a>>,
}

#[derive(Serialize)]
struct ExcessView<'a> {
    budget: &'static str,
    limit: u64,
    value: u64,
    /// The size of the published image, for `growth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
    causes: Vec<BudgetCauseView<'a>>,
}

#[derive(Serialize)]
struct BudgetCauseView<'a> {
    #[serde(flatten)]
    amount: AmountView,
    owner: Option<LayerOwnerView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum AmountView {
    Bytes(u64),
    Layers(u64),
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum LayerOwnerView<'a> {
    Image(&'a NodeName),
    Upstream(&'a str),
}

impl<'a> BudgetViews<'a> {
    /// Of the step of `node`.
    pub(super) fn new(
        node: &'a NodeName,
        outcome: &Outcome,
        over_budget: &'a [OverBudget],
    ) -> Self {
        let warnings = over_budget.iter().filter(|_| outcome.digest().is_some());
        Self {
            over_budget: warnings.map(ToString::to_string).collect(),
            excesses: over_budget.iter().map(|over| excess(node, over)).collect(),
        }
    }
}

fn excess<'a>(node: &'a NodeName, over: &'a OverBudget) -> ExcessView<'a> {
    let (value, limit) = over.excess.value_and_limit();
    let before = match over.excess {
        Excess::Growth { before, .. } => Some(before),
        Excess::Size { .. } | Excess::Own { .. } | Excess::Layers { .. } | Excess::Waste { .. } => {
            None
        }
    };
    let amount = |n| match over.excess {
        Excess::Layers { .. } => AmountView::Layers(n),
        _ => AmountView::Bytes(n),
    };
    let cause = |cause: &'a Cause| BudgetCauseView {
        amount: amount(cause.amount),
        owner: cause.owner.as_ref().map(|owner| match owner {
            LayerOwner::Itself => LayerOwnerView::Image(node),
            LayerOwner::Ancestor(name) => LayerOwnerView::Image(name),
            LayerOwner::Upstream(name) => LayerOwnerView::Upstream(name),
        }),
        step: cause.step.as_deref(),
        place: cause.place.as_deref(),
        path: cause.path.as_deref(),
    };
    let causes = over.causes.iter().map(cause).collect();
    ExcessView { budget: over.excess.key(), limit, value, before, causes }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        hierarchy::GrowthLimit,
        report::scenario::{digest, failed},
        size::{LayerShare, LayerStep, WastedPart, causes},
    };

    fn json(outcome: &Outcome, over: &[OverBudget]) -> Value {
        serde_json::to_value(BudgetViews::new(&"app".into(), outcome, over)).unwrap()
    }

    #[test]
    fn an_excess_has_its_limit_its_value_and_its_causes() {
        let share = |owner, text: &str, bytes| LayerShare {
            owner,
            layers: 1,
            steps: vec![LayerStep {
                text: text.to_owned(),
                place: text.starts_with("RUN").then(|| "app/Dockerfile:4".to_owned()),
                bytes,
            }],
        };
        let now = [
            share(LayerOwner::Upstream("debian:12".to_owned()), "# debian", 70),
            share(LayerOwner::Ancestor("os".into()), "COPY a b", 9),
            share(LayerOwner::Itself, "RUN make", 50),
        ];
        let part = |layer, bytes, path: &str| WastedPart {
            layer,
            bytes,
            path: path.to_owned(),
            why: "cache of pip".to_owned(),
        };
        let wasted = [part(2, 20, "/root/.cache/"), part(7, 1, "/x")];
        let over = |excess| causes(excess, (&now, &now[..2]), &wasted);
        let growth = Excess::Growth { has: 129, before: 79, limit: GrowthLimit::Percent(1000) };
        let all = [
            over(Excess::Size { has: 129, limit: 100 }),
            over(Excess::Layers { has: 3, limit: 2 }),
            over(Excess::Waste { has: 21, limit: 5 }),
            over(growth),
        ];
        let make = |bytes: u64| {
            json!({
                "bytes": bytes, "owner": { "image": "app" }, "step": "RUN make", "place": "app/Dockerfile:4"
            })
        };
        let excesses = json!([
            { "budget": "size", "limit": 100, "value": 129, "causes": [
                { "bytes": 70, "owner": { "upstream": "debian:12" } },
                make(50),
                { "bytes": 9, "owner": { "image": "os" }, "step": "COPY a b" },
            ] },
            { "budget": "layers", "limit": 2, "value": 3, "causes": [
                { "layers": 1, "owner": { "upstream": "debian:12" } },
                { "layers": 1, "owner": { "image": "os" } },
                { "layers": 1, "owner": { "image": "app" } },
            ] },
            { "budget": "waste", "limit": 5, "value": 21, "causes": [
                { "bytes": 20, "owner": { "image": "app" }, "step": "RUN make",
                  "place": "app/Dockerfile:4", "path": "/root/.cache/" },
                { "bytes": 1, "owner": null, "path": "/x" },
            ] },
            { "budget": "growth", "limit": 7, "value": 50, "before": 79, "causes": [make(50)] },
        ]);
        // The message of the failure has the sentences.
        assert_eq!(
            json(&failed(crate::hierarchy::OnFailure::Block), &all),
            json!({ "excesses": excesses })
        );
        let warned = json(&Outcome::Reused { digest: digest("app") }, &all[1..2]);
        assert_eq!(
            warned["over_budget"],
            json!([
                "it has 3 layers, 1 more than its `layers` budget of 2: 1 layer of its upstream `debian:12`, 1 layer of `os`, 1 layer of its own"
            ])
        );
        assert_eq!(warned["excesses"], json!([excesses[1]]));
        assert_eq!(json(&Outcome::Cancelled, &[]), json!({}));
    }
}
