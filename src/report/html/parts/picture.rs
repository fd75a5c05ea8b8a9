//! The images of a run and their bases, coloured by what became of them.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

use crate::report::{
    drawing::{Arrow, BoxKind, Drawing, Drawn, ImageFate, Link},
    html::{
        view::{ImageView, RunView},
        words::{log_id, text},
    },
    tree::Picture,
};

pub fn picture(run: &RunView) -> Markup {
    if run.images.is_empty() {
        return html! {};
    }
    let (drawing, places) = drawing(run);
    let images: BTreeMap<usize, usize> = places.iter().map(|(image, at)| (*at, *image)).collect();
    let title = drawing.count();
    let image = |at: usize| images.get(&at).map(|place| (*place, &run.images[*place]));
    let svg = Picture {
        drawing: &drawing,
        title: &title,
        style: None,
        tooltip: &|at| match image(at) {
            Some((_, image)) => tooltip(image),
            None => format!("{}\nnot an image of this run", text(&drawing.boxes[at].label)),
        },
        link: &|at| {
            let (place, image) = image(at)?;
            let has_log = image.log.lines().len() > 0 || image.failure.is_some();
            has_log.then(|| format!("#{}", log_id(place)))
        },
    }
    .draw();
    html! {
        section.picture-part aria-labelledby="picture-heading" {
            h2 #picture-heading { "Hierarchy" }
            div.picture.scroll role="region" aria-label="Picture of the hierarchy" tabindex="0" {
                (PreEscaped(svg))
            }
        }
    }
}

fn tooltip(image: &ImageView) -> String {
    let mut lines = vec![text(&image.name), image.state().to_owned()];
    if !image.why.is_empty() {
        lines.push(text(&image.why));
    }
    lines.join("\n")
}

/// The images in build order, and the box of each.
fn drawing(run: &RunView) -> (Drawing, BTreeMap<usize, usize>) {
    let mut drawing = Drawing::default();
    let mut places = BTreeMap::new();
    let mut outside: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, image) in run.images.iter().enumerate() {
        let base = image.base.iter();
        let others = image.after.iter().chain(&image.upstreams);
        let mut bases: Vec<(usize, Link)> = Vec::new();
        for name in base.chain(others) {
            let box_of = run.place(name).map(|parent| places.get(&parent).copied());
            let from = match box_of {
                Some(Some(at)) => at,
                // Not before its children: no plan has this.
                Some(None) => continue,
                None => *outside.entry(name).or_insert_with(|| {
                    drawing.boxes.push(Drawn { label: name.clone(), kind: BoxKind::Upstream });
                    drawing.boxes.len() - 1
                }),
            };
            let is_base = image.base.as_ref().is_none_or(|base| base == name);
            let link = if is_base { Link::Base } else { Link::Copied };
            if !bases.iter().any(|(known, _)| *known == from) {
                bases.push((from, link));
            }
        }
        let to = drawing.boxes.len();
        places.insert(place, to);
        drawing.boxes.push(Drawn { label: image.name.clone(), kind: BoxKind::Ended(fate(image)) });
        drawing.arrows.extend(bases.into_iter().map(|(from, link)| Arrow { from, to, link }));
    }
    (drawing, places)
}

fn fate(image: &ImageView) -> ImageFate {
    match image.class() {
        "failed" => ImageFate::Failed,
        "not-built" => ImageFate::NotBuilt,
        "built" => ImageFate::Built,
        "same" => ImageFate::Same,
        "kept" => ImageFate::Kept,
        "running" => ImageFate::Running,
        _ => ImageFate::Waiting,
    }
}
