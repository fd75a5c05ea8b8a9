//! `flatten`: makes one layer of the layers that a build made.

use super::{attempts::StepRetry, bases::Pinned, step::Work, step_events::Tell, trouble::Trouble};
use crate::{
    engine::{Engine, Flattening, LocalImage},
    event::Phase,
    exit::Exit,
    hierarchy::{Flatten, bytes},
    publish::store::Store,
};

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// Checks that a new image is based on its pin, and flattens it as its node says.
    ///
    /// The image before is pinned, too: the end of the run removes it in every case.
    pub(super) async fn flattened(
        &self,
        image: LocalImage,
        pinned: &Pinned,
        tell: &mut Tell,
    ) -> Result<LocalImage, Trouble> {
        let (node, engine) = (self.node(), &*self.shop.engine);
        let mut base = 0;
        if let Some((name, _, id)) = &pinned.base {
            let layers = &self.base(id).await?.layers;
            if !image.layers.starts_with(layers) {
                return Err(Trouble {
                    phase: Phase::Build,
                    message: format!("the engine did not build it on `{name}` as pinned"),
                    exit: Exit::BuildFailed,
                    step: None,
                    again: StepRetry::Never,
                });
            }
            base = layers.len();
        }
        let kept = match node.flatten {
            Flatten::No => return Ok(image),
            Flatten::All => 0,
            Flatten::Own => base,
        };
        if image.layers.len() - kept < 2 {
            return Ok(image);
        }
        tell.phase(Phase::Flatten);
        let failed = |error| Trouble { phase: Phase::Flatten, ..Trouble::of_build(error) };
        self.bases.pin(engine, node.name.as_str(), &image.id).await.map_err(failed)?;
        let name = self.bases.reserve_flat(node.name.as_str());
        let flat = engine.flatten(&image, &Flattening { kept, name }).await.map_err(failed)?;
        let replaced = image.layers.len() - kept;
        let (before, after) = (bytes(image.size), bytes(flat.size));
        tell.output(format!("{replaced} layers made one: {before}, now {after}\n").as_bytes());
        Ok(flat)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        event::Outcome,
        plan::Selection,
        testing::scenario::{ScenarioEnd, scenario},
    };

    const FLAT: &str = "base\napp < base : flatten=true\ntool < app";

    /// What became of each image; of a new one its bytes, of which an image has a thousand for each layer.
    fn told(ended: &ScenarioEnd) -> Vec<String> {
        let steps = ended.summary.steps.iter();
        let told = steps.map(|step| match &step.outcome {
            Outcome::Built { size, added, .. } => format!("{} {size} {added}", step.node),
            other => format!("{} {other}", step.node),
        });
        told.collect()
    }

    #[tokio::test(start_paused = true)]
    async fn children_are_built_on_the_flattened_image() {
        let stack = scenario(FLAT);
        let ended = stack.run(&Selection::OutOfDate).await;
        assert_eq!(told(&ended), ["base 1000 1000", "app 1000 1000", "tool 2000 1000"]);
        let left = stack.engine.state.lock().unwrap();
        let left = left.tags.keys().filter(|tag| tag.repository.host() == "rebuild.invalid");
        assert_eq!(left.count(), 0, "the image before is removed");
    }

    #[tokio::test(start_paused = true)]
    async fn an_equal_flattened_image_stays() {
        let stack = scenario(FLAT);
        stack.engine(|engine| _ = engine.constant.insert("app".to_owned()));
        stack.run(&Selection::OutOfDate).await;
        let published = stack.published();
        stack.write("app/Dockerfile", "FROM base\n# a comment\nRUN make app\n");
        let ended = stack.run(&Selection::OutOfDate).await;
        assert_eq!(stack.built(), ["app", "base", "tool"].map(String::from).into());
        let app = &ended.summary.steps[1].outcome;
        assert!(matches!(app, Outcome::Unchanged { .. }), "{app}");
        assert_eq!(stack.published(), published);
    }

    /// A refresh compares files, which are the same.
    #[tokio::test(start_paused = true)]
    async fn a_new_flatten_is_published_also_by_a_refresh() {
        let mut stack = scenario("base\napp < base");
        stack.engine(|engine| engine.same_tree.extend(["base", "app"].map(String::from)));
        stack.run(&Selection::OutOfDate).await;
        stack.refresh = true;
        let file = std::fs::read_to_string(stack.file("hierarchy.yaml")).unwrap();
        for (text, expected) in [
            (file.clone(), "app built, unchanged"),
            (file + "    flatten: true\n", "app 1000 1000"),
        ] {
            stack.write("hierarchy.yaml", &text);
            let ended = stack.run(&Selection::OutOfDate).await;
            assert_eq!(told(&ended)[1], expected);
        }
    }
}
