use super::*;
use crate::{
    hierarchy::test_hierarchy,
    image::Digest,
    size::{Blob, Facts, MeasuredImage, measure},
};

/// Each line is an image with the number of its layers and its base: `web 3 os`.
fn sizes(lines: &str, hierarchy: &str, knows_unpacked: bool) -> HierarchySizes {
    let mut facts = Facts::default();
    for line in lines.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let layers: usize = words[1].parse().unwrap();
        let base = words.get(2).map(|base| Digest::of(base.as_bytes()));
        let below = base.as_ref().and_then(|base| facts.images.get(base)).cloned();
        let (mut digests, mut blobs) =
            below.map_or((Vec::new(), Vec::new()), |image| (image.layers, image.stored.unwrap().0));
        for number in digests.len()..layers {
            let digest = Digest::of(format!("{} {number}", words[0]).as_bytes());
            if knows_unpacked {
                facts.unpacked.insert(digest.clone(), 3_000_000 * number as u64);
            }
            digests.push(digest.clone());
            blobs.push(Blob {
                digest,
                size: 1_000_000 * (1 + number as u64),
                media_type: String::new(),
            });
        }
        let digest = Digest::of(words[0].as_bytes());
        let image =
            MeasuredImage { layers: digests, stored: Some((blobs, 2000)), unpacked: None, base };
        facts.images.insert(digest.clone(), image);
        match words[0].strip_suffix("-before") {
            Some(node) => _ = facts.before.insert(node.into(), digest),
            None => _ = facts.published.insert(words[0].into(), digest),
        }
    }
    measure(&test_hierarchy(hierarchy), &facts)
}

const IMAGES: &str = "os 1\nweb-before 2 os\nweb 3 os\napp 4 web\ntool 2 os";
const HIERARCHY: &str = "os\nweb < os\napp < web\ntool < os\nnew < os";

fn told(sizes: &HierarchySizes, since: Option<&str>) -> String {
    told_in(sizes, since, None)
}

fn told_in(sizes: &HierarchySizes, since: Option<&str>, columns: Option<usize>) -> String {
    let named = BTreeSet::new();
    let place = "r.example/base";
    let view = SizeView { sizes, named: &named, place, is_registry: true, since };
    let mut out = Vec::new();
    text(view, columns, (false, &mut out)).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_table_with_totals() {
    insta::assert_snapshot!(told(&sizes(IMAGES, HIERARCHY, false), None), @"
    image       own  inherited  compressed  layers   change
    os       1.0 MB        0 B      1.0 MB  1 of 1
      web    5.0 MB     1.0 MB      6.0 MB  2 of 3  +3.0 MB
        app  4.0 MB     6.0 MB       10 MB  1 of 4
      tool   2.0 MB     1.0 MB      3.0 MB  1 of 2

    4 images, 5 layers: 12 MB compressed in r.example/base, shared layers counted once (20 MB without sharing)
    on a host: unknown until `rebuild waste` has read the layers of 4 images
    `new` is not published
    ");
}

#[test]
fn a_table_with_unpacked_sizes_and_growth() {
    insta::assert_snapshot!(told(&sizes(IMAGES, HIERARCHY, true), Some("v1")), @"
    image       own  inherited  compressed  layers  unpacked  since v1
    os       1.0 MB        0 B      1.0 MB  1 of 1       0 B       new
      web    5.0 MB     1.0 MB      6.0 MB  2 of 3    9.0 MB   +3.0 MB
        app  4.0 MB     6.0 MB       10 MB  1 of 4     18 MB       new
      tool   2.0 MB     1.0 MB      3.0 MB  1 of 2    3.0 MB       new

    4 images, 5 layers: 12 MB compressed in r.example/base, shared layers counted once (20 MB without sharing)
    on a host: 21 MB unpacked
    `new` is not published
    ");
}

#[test]
fn a_narrow_terminal_gets_fewer_columns_and_no_broken_row() {
    let sizes = sizes(IMAGES, HIERARCHY, true);
    let rows = |columns| {
        let told = told_in(&sizes, Some("v1"), Some(columns));
        told.split("\n\n").next().unwrap_or_default().to_owned()
    };
    insta::assert_snapshot!(rows(60), @"
    image       own  inherited  compressed  layers  since v1
    os       1.0 MB        0 B      1.0 MB  1 of 1       new
      web    5.0 MB     1.0 MB      6.0 MB  2 of 3   +3.0 MB
        app  4.0 MB     6.0 MB       10 MB  1 of 4       new
      tool   2.0 MB     1.0 MB      3.0 MB  1 of 2       new
    ");
    insta::assert_snapshot!(rows(40), @"
    image       own  compressed  since v1
    os       1.0 MB      1.0 MB       new
      web    5.0 MB      6.0 MB   +3.0 MB
        app  4.0 MB       10 MB       new
      tool   2.0 MB      3.0 MB       new
    ");
}

#[test]
fn nothing_is_published() {
    insta::assert_snapshot!(told(&sizes("", HIERARCHY, false), None), @"
    no image is published in r.example/base
    `os`, `web`, `app`, `tool` and `new` are not published
    ");
}

#[test]
fn programs_get_every_number() {
    let sizes = sizes(IMAGES, HIERARCHY, false);
    let named = BTreeSet::from(["web".into()]);
    let place = "r.example/base";
    let view = SizeView { sizes: &sizes, named: &named, place, is_registry: true, since: None };
    let mut out = Vec::new();
    json(view, &mut out).unwrap();
    csv(view, &mut out).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
    {"v":1,"place":"r.example/base","since":null,"nodes":[{"node":"web","digest":"sha256:4b5e57f6eb2f42b9039b3d1e13929295f231749c510cbe341cd68036d9af97e2","parent":"os","layers":3,"own_layers":2,"own":{"compressed":5002000,"unpacked":null},"inherited":{"compressed":1000000,"unpacked":null},"whole":{"compressed":6002000,"unpacked":null},"with_descendants":{"compressed":9004000,"unpacked":null},"carried_by":1,"before":{"digest":"sha256:dc4aece30a1760e1732834c31ca2f111dbb72430b8497fe96f29043e0016fd8f","compressed":3002000,"unpacked":null},"has_old_base":false,"includes_upstream":false}],"unpublished":["new"],"total":{"layers":5,"once":{"compressed":12008000,"unpacked":null},"alone":{"compressed":20008000,"unpacked":null}}}
    node,parent,layers,own_layers,own_compressed,own_unpacked,compressed,unpacked,with_descendants_compressed,with_descendants_unpacked,carried_by,before_compressed,before_unpacked
    web,os,3,2,5002000,,6002000,,9004000,,1,3002000,
    "#);
}

#[test]
fn a_picture_of_many_images_has_a_bar_for_each() {
    let lines: Vec<String> = (0..300).map(|n| format!("i{n} 2 os")).collect();
    let edges: Vec<String> = (0..300).map(|n| format!("i{n} < os")).collect();
    let images = format!("os 1\n{}", lines.join("\n"));
    let sizes = sizes(&images, &format!("os\n{}", edges.join("\n")), false);
    let named = BTreeSet::new();
    let view =
        SizeView { sizes: &sizes, named: &named, place: "<&>", is_registry: true, since: None };
    let picture = svg(view);
    assert_eq!(picture.matches("<rect ").count(), 301 + 4);
    // The title, the legend, and a label for each.
    assert_eq!(picture.matches("<text").count(), 301 + 5);
    assert!(picture.contains("301 images: ") && !picture.contains("<&>"));
}
