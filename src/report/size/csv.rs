//! For spreadsheets: RFC 4180, without quotes, since names of images contain none of its special characters.

use std::io::{self, Write};

use super::SizeView;
use crate::{report::sanitize, size::Bytes};

const HEAD: &str = "node,parent,layers,own_layers,own_compressed,own_unpacked,compressed,unpacked,\
                    with_descendants_compressed,with_descendants_unpacked,carried_by,\
                    before_compressed,before_unpacked";

/// Writes a line for each image, in build order. A number that is not known is empty.
pub fn csv(view: SizeView<'_>, out: &mut dyn Write) -> io::Result<()> {
    let both = |Bytes { compressed, unpacked }: Bytes| {
        let number = |bytes: Option<u64>| bytes.map_or(String::new(), |bytes| bytes.to_string());
        format!("{},{}", number(compressed), number(unpacked))
    };
    writeln!(out, "{HEAD}")?;
    for image in view.sizes.images.iter().filter(|image| view.is_shown(&image.node)) {
        let name = |name: &crate::hierarchy::NodeName| sanitize::text(name.as_str());
        let cells = [
            name(&image.node),
            image.parent.as_ref().map_or(String::new(), name),
            image.layers.to_string(),
            image.own_layers.to_string(),
            both(image.own),
            both(image.whole()),
            both(image.with_descendants),
            image.carried_by.to_string(),
            image.before.as_ref().map_or(",".to_owned(), |(_, before)| both(*before)),
        ];
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}
