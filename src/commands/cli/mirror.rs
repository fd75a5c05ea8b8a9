//! The arguments of `rebuild mirror`.

use clap::Args;

use super::Format;

pub(super) const MIRROR_EXAMPLES: &str = "\
Examples:
  rebuild mirror                   copy every upstream that is new or moved into the mirror
  rebuild mirror --check           list upstreams that moved, vanished or are only in the mirror; copy nothing
  rebuild mirror 'ruby-*'          the upstreams of these images only

In hierarchy.yaml:
  mirror: registry.example.com/mirror

Exit code: 10 if neither its registry nor the mirror has an upstream, 21 if a registry does not answer \
and the mirror has no copy, or if the mirror refuses one.";

#[derive(Debug, Args)]
pub struct MirrorArgs {
    /// The upstreams of these images only, by name or glob
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Compare each upstream with its copy, and copy nothing
    #[arg(long)]
    pub check: bool,
    /// Text, or JSON for programs (docs/mirror.md)
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}
