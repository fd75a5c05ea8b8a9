use crate::{
    event::{EventKind, Outcome, Phase},
    exit::Exit,
    plan::Selection,
    size::LayerOwner,
    testing::scenario::{Scenario, ScenarioEnd, scenario},
};

/// The message of a failed step; `None` if it succeeded.
fn failure(ended: &ScenarioEnd, node: &str) -> Option<String> {
    let step = ended.summary.steps.iter().find(|step| step.node.as_str() == node).unwrap();
    match &step.outcome {
        Outcome::Failed(failure) => {
            assert_eq!((&failure.phase, failure.exit), (&Phase::Measure, Exit::TestFailed));
            assert_eq!(ended.summary.exit, Exit::TestFailed);
            Some(failure.message.clone())
        }
        _ => None,
    }
}

async fn run(stack: &Scenario) -> ScenarioEnd {
    stack.run(&Selection::OutOfDate).await
}

#[tokio::test(start_paused = true)]
async fn an_image_may_be_as_large_as_it_says() {
    for limit in ["max_size=", "budget={ size: "] {
        let end = if limit.contains('{') { " }" } else { "" };
        let ended = run(&scenario(&format!("base : {limit}1kB{end}"))).await;
        assert_eq!(failure(&ended, "base"), None);
        let ended = run(&scenario(&format!("base : {limit}999B{end}"))).await;
        assert_eq!(
            failure(&ended, "base").as_deref(),
            Some(
                "it has 1.0 kB, 1 B more than its `size` budget of 999 B\n\
                 1.0 kB by `RUN make base` (base/Dockerfile:2)"
            )
        );
        assert!(ended.moved().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_causes_name_the_image_that_owns_the_bytes() {
    let stack = scenario("os\nweb < os\napp < web : budget={ size: 6kB, own: 500B, layers: 2 }");
    stack.engine(|engine| _ = engine.sizes.insert("os".to_owned(), 5000));
    let ended = run(&stack).await;
    assert_eq!(
        failure(&ended, "app").as_deref(),
        Some(
            "it has 7.0 kB, 1.0 kB more than its `size` budget of 6.0 kB\n\
             5.0 kB by `RUN make os` of `os` (os/Dockerfile:2)\n\
             1.0 kB by `RUN make web` of `web` (web/Dockerfile:2)\n\
             1.0 kB by `RUN make app` (app/Dockerfile:2)\n\
             it adds 1.0 kB to its base, 500 B more than its `own` budget of 500 B\n\
             1.0 kB by `RUN make app` (app/Dockerfile:2)\n\
             it has 3 layers, 1 more than its `layers` budget of 2\n\
             1 layer of `os`\n1 layer of `web`\n1 layer of its own"
        )
    );
    let app = ended.summary.steps.iter().find(|step| step.node.as_str() == "app").unwrap();
    let excesses = app.over_budget.iter().map(|over| {
        let largest = over.causes[0].owner.clone();
        (over.excess.key(), over.excess.value_and_limit(), largest)
    });
    let os = Some(LayerOwner::Ancestor("os".into()));
    assert_eq!(
        excesses.collect::<Vec<_>>(),
        [
            ("size", (7000, 6000), os.clone()),
            ("own", (1000, 500), Some(LayerOwner::Itself)),
            ("layers", (3, 2), os),
        ]
    );
    // The test ran first, and the place of the failure is that of its own largest step.
    let phases = ended.events.iter().filter_map(|event| match &event.kind {
        EventKind::PhaseStarted { node, phase } if node.as_str() == "app" => Some(phase.clone()),
        _ => None,
    });
    let phases: Vec<Phase> = phases.collect();
    assert_eq!(phases[phases.len() - 1], Phase::Measure);
    assert!(phases.contains(&Phase::Test { number: 1, total: 1 }), "{phases:?}");
}

#[tokio::test(start_paused = true)]
async fn growth_is_that_since_the_published_image() {
    let stack = scenario("os\napp < os : budget={ growth: 10% }");
    let grow = |bytes: u64| {
        stack.engine(|engine| _ = engine.sizes.insert("app".to_owned(), bytes));
        stack.write("app/file", &bytes.to_string());
    };
    // Without a published image there is no limit.
    assert_eq!(failure(&run(&stack).await, "app"), None);
    grow(1200);
    assert_eq!(failure(&run(&stack).await, "app"), None);
    grow(1421);
    assert_eq!(
        failure(&run(&stack).await, "app").as_deref(),
        Some(
            "it grew by 221 B (10.0%), more than its `growth` budget of 10%\n\
             221 B more by `RUN make app` (app/Dockerfile:2)"
        )
    );
    // Compared with the image that is still published.
    grow(1420);
    assert_eq!(failure(&run(&stack).await, "app"), None);
}

#[tokio::test(start_paused = true)]
async fn with_warn_the_image_is_published() {
    let stack = scenario("os : budget={ layers: 1, own: 500B, on_excess: warn }");
    let ended = run(&stack).await;
    assert_eq!((failure(&ended, "os"), ended.summary.exit), (None, Exit::Done));
    let sentence = "it adds 1.0 kB to its base, 500 B more than its `own` budget of 500 B: \
                    1.0 kB by `RUN make os` (os/Dockerfile:2)";
    let over: Vec<_> = ended.summary.steps[0].over_budget.iter().map(ToString::to_string).collect();
    assert_eq!(over, [sentence]);
    let warnings = ended.events.iter().filter_map(|event| match &event.kind {
        EventKind::Warning { message, .. } => Some(message.as_str()),
        _ => None,
    });
    assert_eq!(warnings.collect::<Vec<_>>(), [sentence]);
    assert_eq!(ended.moved(), ["os:latest"]);
}

/// A stored image is never larger than its `size`. The other limits count when the image is built again.
#[tokio::test(start_paused = true)]
async fn another_size_checks_the_image_again_and_other_limits_do_not() {
    let stack = scenario("os");
    let entry = |budget: &str| {
        stack.write(
            "hierarchy.yaml",
            &format!("version: 1\nimages:\n  os: {{ budget: {{ {budget} }} }}\n"),
        );
    };
    let outcome = async || run(&stack).await.outcomes();
    entry("size: 5kB");
    assert_eq!(outcome().await, "os: built\n");
    entry("size: 5kB, own: 1B, layers: 1, growth: 0%");
    assert_eq!(outcome().await, "os: up to date\n");
    entry("size: 4kB");
    assert_eq!(outcome().await, "os: built, unchanged\n");
    entry("size: 900B, on_excess: warn");
    assert_eq!(outcome().await, "os: built, unchanged\n");
    entry("size: 900B");
    assert!(outcome().await.contains("more than its `size` budget of 900 B"));
}
