//! The configuration of a flattened image: the same but for its layers and its history.
//!
//! <https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md>

use serde_json::{Map, Value, json};

use crate::image::Digest;

/// `CREATED BY` in `docker history`.
const CREATED_BY: &str = "rebuild: flatten";
/// BuildKit's inline cache, which describes each layer: <https://docs.docker.com/build/cache/backends/inline/>.
const INLINE_CACHE: &str = "moby.buildkit.cache.v0";

/// What becomes of the layers of an image.
#[derive(Clone, Copy, Debug)]
pub struct FlatConfig<'a> {
    /// How many of its layers stay, the lowest first.
    pub kept: usize,
    /// The digest of the one layer that replaces the others, uncompressed.
    pub layer: &'a Digest,
}

/// The configuration of a flattened image, and the digests of all its layers.
///
/// # Errors
/// A sentence about a configuration that is not one of an image.
pub fn flat_config(
    original: &[u8],
    FlatConfig { kept, layer }: FlatConfig<'_>,
) -> Result<(Vec<u8>, Vec<Digest>), String> {
    let mut config: Map<String, Value> =
        serde_json::from_slice(original).map_err(|error| error.to_string())?;
    let layers = config.get("rootfs").and_then(|rootfs| rootfs.get("diff_ids")).cloned();
    let layers: Vec<Digest> = layers
        .and_then(|layers| serde_json::from_value(layers).ok())
        .ok_or("a configuration without `rootfs.diff_ids`")?;
    let replaced =
        layers.len().checked_sub(kept).ok_or("a configuration with fewer layers than its base")?;
    let mut flat = layers[..kept].to_vec();
    flat.push(layer.clone());
    let history = config.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
    let history = flat_history(history, (kept, layers.len(), replaced), config.get("created"));
    config.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": flat }));
    config.insert("history".to_owned(), history.into());
    config.remove(INLINE_CACHE);
    serde_json::to_vec(&config).map(|text| (text, flat)).map_err(|error| error.to_string())
}

/// The steps of the replaced layers stay, as steps without a layer, and an entry for the one layer follows.
fn flat_history(
    mut history: Vec<Value>,
    (kept, all, replaced): (usize, usize, usize),
    created: Option<&Value>,
) -> Vec<Value> {
    let has_layer = |entry: &Value| entry.get("empty_layer").and_then(Value::as_bool) != Some(true);
    if history.iter().filter(|entry| has_layer(entry)).count() != all {
        // An engine refuses a history that does not fit the layers.
        history = vec![json!({}); kept];
    }
    let with_layers: Vec<usize> =
        (0..history.len()).filter(|index| has_layer(&history[*index])).collect();
    for index in with_layers.into_iter().skip(kept) {
        if let Some(entry) = history[index].as_object_mut() {
            entry.insert("empty_layer".to_owned(), true.into());
        }
    }
    let which = if kept == 0 { "" } else { " above its base" };
    let mut entry = json!({
        "created_by": CREATED_BY,
        "comment": format!("the {replaced} layers{which} made one"),
    });
    if let Some(created) = created {
        entry["created"] = created.clone();
    }
    history.push(entry);
    history
}
