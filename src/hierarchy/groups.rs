//! The nodes of one image: one for each of its platforms. In a registry they share the image's tags, which point at an
//! index.

use super::{Hierarchy, Node, NodeName};
use crate::image::{Platform, Repository};

impl Hierarchy {
    /// The nodes that share the tags of a node, itself among them, in the order of their names. Empty if it shares
    /// them with no other.
    pub fn group(&self, name: &NodeName) -> Vec<&Node> {
        if name.platform().is_none() || self.registry.is_none() {
            return Vec::new();
        }
        self.nodes_of(name.image())
    }

    /// Every node of an image, in the order of their names.
    pub fn nodes_of(&self, image: &str) -> Vec<&Node> {
        let first = NodeName::from(image);
        if let Some(only) = self.get(&first) {
            return vec![only];
        }
        // No other name begins with the image and a space.
        let from =
            self.index.range(first..).take_while(|(name, _)| name.as_str().starts_with(image));
        from.take_while(|(name, _)| name.image() == image)
            .map(|(_, &index)| &self.graph[index])
            .collect()
    }

    /// The platform that a node is built for.
    pub fn platform_of<'h>(&'h self, node: &'h Node) -> &'h Platform {
        node.platform.as_ref().unwrap_or(&self.platform)
    }

    /// Takes the registry away. An engine has one image under a tag.
    pub fn take_registry(&mut self) -> Option<Repository> {
        let registry = self.registry.take();
        if registry.is_some() {
            self.separate_platforms();
        }
        registry
    }

    /// In the engine, the tags of an image are those of the engine's own platform. Its other platforms have tags that
    /// end in the platform: `latest-linux-arm64`.
    pub(super) fn separate_platforms(&mut self) {
        let native = self.platform.clone();
        for node in self.graph.node_weights_mut() {
            let Some(platform) = node.platform.as_ref().filter(|it| **it != native) else {
                continue;
            };
            if node.name.platform().is_none() {
                continue;
            }
            let end = format!("-{}", platform.to_string().replace('/', "-"));
            for tag in &mut node.tags {
                *tag = tag.followed_by(&end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::hierarchy::{Hierarchy, LoadOptions};

    fn loaded(text: &str) -> Hierarchy {
        let options = LoadOptions {
            names_only: true,
            platform: Some("linux/amd64".parse().unwrap()),
            ..LoadOptions::default()
        };
        Hierarchy::load_text("/h.yaml".into(), format!("version: 1\n{text}"), &options)
            .unwrap()
            .hierarchy
    }

    const IMAGES: &str = "images:
  app: { platforms: [linux/amd64, linux/arm64], tags: [\"1\", latest] }
  app-x: { platforms: [linux/arm64/v8] }
  application: { platforms: [linux/arm64, linux/amd64] }
";

    #[test]
    fn an_image_with_platforms_is_a_group_of_nodes() {
        let hierarchy = loaded(&format!("registry: r.example/x\n{IMAGES}"));
        let names: Vec<&str> = hierarchy.in_build_order().map(|it| it.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "app (linux/amd64)",
                "app (linux/arm64)",
                "app-x",
                "application (linux/arm64)",
                "application (linux/amd64)"
            ]
        );
        let group = |name: &str| -> Vec<String> {
            hierarchy.group(&name.into()).iter().map(|node| node.name.to_string()).collect()
        };
        assert_eq!(group("app (linux/arm64)"), ["app (linux/amd64)", "app (linux/arm64)"]);
        assert!(group("app-x").is_empty());
        let one = hierarchy.get(&"app-x".into()).unwrap();
        assert_eq!(hierarchy.platform_of(one).to_string(), "linux/arm64");
        let node = hierarchy.get(&"app (linux/arm64)".into()).unwrap();
        assert_eq!(node.repository.as_str(), "r.example/x/app");
    }

    #[test]
    fn without_a_registry_other_platforms_have_tags_of_their_own() {
        let mut hierarchy = loaded(&format!("registry: r.example/x\n{IMAGES}"));
        hierarchy.take_registry();
        let tags = |name: &str| -> Vec<String> {
            let node = hierarchy.get(&name.into()).unwrap();
            node.tags.iter().map(ToString::to_string).collect()
        };
        assert_eq!(tags("app (linux/amd64)"), ["1", "latest"]);
        assert_eq!(tags("app (linux/arm64)"), ["1-linux-arm64", "latest-linux-arm64"]);
        assert_eq!(tags("app-x"), ["latest"]);
        assert!(hierarchy.group(&"app (linux/arm64)".into()).is_empty());
    }
}
