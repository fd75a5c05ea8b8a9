//! Where the boxes of a drawing stand, and how the arrows between them run.
//!
//! Bases are at the left, and every arrow leads to the right. Each box hangs on one other: what it is
//! `FROM`, else the one that stands furthest right. What hangs on a box, with all that hangs on that, has
//! a band of the height to itself. So no two boxes overlap, and an arrow to what hangs on a box
//! passes behind no box. Many boxes that nothing hangs on, and that hang on the same, are a block of several
//! columns with the arrows as a comb: six hundred in one column could not be read. The other arrows
//! run level from their box to a lane before the column they lead to; all from one box share the lane.
//!
//! It is our own because the crates for layered layouts give six hundred boxes in a layer one line,
//! and no places for the arrows.

use std::collections::BTreeMap;

use crate::report::drawing::{Arrow, Drawing, Link};

pub(super) const HEIGHT: i32 = 26;
/// Between two boxes, one above the other.
const GAP: i32 = 8;
/// Between two bands that are more than a box.
const BAND_GAP: i32 = 18;
/// Between two columns, where arrows turn.
const AISLE: i32 = 64;
/// Before each column of a block, where its comb runs.
const COMB: i32 = 26;
/// So many boxes still stand in one column.
const COLUMN: usize = 8;
/// Columns to rows of a block: the first makes it about half as wide again as it is high. The others
/// are for pictures that would be too high.
const SHAPES: [f64; 4] = [0.22, 0.6, 1.2, 2.4];
/// A picture may always be so high, and any may be so many times as high as it is wide.
const FINE_HEIGHT: i32 = 1600;
const FINE_SHAPE: i32 = 2;
/// Between two lanes.
const LANE: i32 = 6;
/// How far below the arrow of the band another one ends, so that both are seen.
const BESIDE: i32 = 7;
/// So many lanes have room in an aisle.
const LANES: usize = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BoxPlace {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArrowPath {
    pub(super) arrow: Arrow,
    /// As an SVG path.
    pub(super) path: String,
    /// Whether it keeps to its band.
    pub(super) is_in_band: bool,
}

#[derive(Debug, Default)]
pub(super) struct Layout {
    /// One for each box.
    pub(super) places: Vec<BoxPlace>,
    /// One for each arrow.
    pub(super) runs: Vec<ArrowPath>,
    pub(super) width: i32,
    pub(super) height: i32,
}

/// What hangs on a box, one below the other.
#[derive(Debug)]
enum BoxPart {
    Box(usize),
    Block(Vec<usize>),
}

fn pixels(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX / 1000)
}

struct LayoutPlan<'d> {
    drawing: &'d Drawing,
    widths: &'d [i32],
    shape: f64,
    /// What each box hangs on.
    hangs_on: Vec<Option<usize>>,
    depth: Vec<usize>,
    /// What hangs on each box.
    parts: Vec<Vec<BoxPart>>,
    /// Whether nothing hangs on a box.
    is_end: Vec<bool>,
    /// Of each box's band.
    heights: Vec<i32>,
    /// Of each depth: where its boxes begin, and how wide they are.
    columns: Vec<(i32, i32)>,
    /// Of boxes in blocks: the height at which their arrow enters it.
    entrances: BTreeMap<usize, i32>,
    layout: Layout,
}

/// Lays out boxes of these widths.
pub(super) fn layout(drawing: &Drawing, widths: &[i32]) -> Layout {
    let mut layouts = SHAPES.iter().map(|&shape| shaped(drawing, widths, shape));
    let fine = |layout: &Layout| {
        layout.height <= FINE_HEIGHT || layout.height <= layout.width * FINE_SHAPE
    };
    let mut last = layouts.next().unwrap_or_default();
    while !fine(&last)
        && let Some(next) = layouts.next()
    {
        last = next;
    }
    last
}

fn shaped(drawing: &Drawing, widths: &[i32], shape: f64) -> Layout {
    let (hangs_on, depth) = hang(drawing);
    let count = drawing.boxes.len();
    let mut plan = LayoutPlan {
        drawing,
        widths,
        shape,
        hangs_on,
        depth,
        parts: Vec::new(),
        is_end: Vec::new(),
        heights: vec![0; count],
        columns: Vec::new(),
        entrances: BTreeMap::new(),
        layout: Layout { places: vec![BoxPlace::default(); count], ..Layout::default() },
    };
    let roots = plan.gather();
    plan.measure();
    plan.place(&roots);
    plan.run();
    plan.layout
}

/// What each box hangs on, and how far right it stands.
fn hang(drawing: &Drawing) -> (Vec<Option<usize>>, Vec<usize>) {
    let mut depth: Vec<usize> = Vec::with_capacity(drawing.boxes.len());
    let mut hangs_on = Vec::with_capacity(drawing.boxes.len());
    for parents in drawing.parents() {
        depth.push(parents.iter().map(|&(parent, _)| depth[parent] + 1).max().unwrap_or(0));
        let base = parents.iter().find(|(_, link)| *link == Link::Base);
        let parent = base.or_else(|| parents.iter().max_by_key(|(parent, _)| depth[*parent]));
        hangs_on.push(parent.map(|&(parent, _)| parent));
    }
    (hangs_on, depth)
}

impl LayoutPlan<'_> {
    /// Sorts boxes into the parts that hang on each. Returned is what hangs on none.
    fn gather(&mut self) -> Vec<BoxPart> {
        let (leaf, parents) = (self.drawing.is_leaf(), self.drawing.parents());
        let count = self.drawing.boxes.len();
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); count + 1];
        for (n, parent) in self.hangs_on.iter().enumerate() {
            members[parent.unwrap_or(count)].push(n);
        }
        let mut parts: Vec<Vec<BoxPart>> = members
            .into_iter()
            .map(|members| {
                // Those of a block have all their parents in common, so that a comb for each does.
                let mut alike: BTreeMap<&[(usize, Link)], Vec<usize>> = BTreeMap::new();
                for &n in members.iter().filter(|&&n| leaf[n]) {
                    alike.entry(&parents[n]).or_default().push(n);
                }
                let mut parts: Vec<BoxPart> = Vec::new();
                for n in members {
                    match alike.get(&parents[n][..]).filter(|_| leaf[n]) {
                        Some(block) if block.len() > COLUMN => {
                            if block[0] == n {
                                parts.push(BoxPart::Block(block.clone()));
                            }
                        }
                        _ => parts.push(BoxPart::Box(n)),
                    }
                }
                parts
            })
            .collect();
        let mut roots = parts.pop().unwrap_or_default();
        self.is_end = parts.iter().map(Vec::is_empty).collect();
        self.parts = parts;
        // What only others take from stands above the first of those.
        let root = |mut n: usize| {
            while let Some(parent) = self.hangs_on[n] {
                n = parent;
            }
            n
        };
        roots.sort_by_cached_key(|part| match part {
            BoxPart::Box(n) if self.is_end[*n] => {
                let user = self.drawing.arrows.iter().find(|arrow| arrow.from == *n);
                (user.map_or(*n, |arrow| root(arrow.to)), 0)
            }
            BoxPart::Box(n) => (*n, 1),
            BoxPart::Block(members) => (members[0], 1),
        });
        roots
    }

    /// The heights of all bands, from the ends to the beginnings; and the columns.
    fn measure(&mut self) {
        for n in (0..self.parts.len()).rev() {
            self.heights[n] = self.band(&self.parts[n]).max(HEIGHT);
        }
        let mut widest: Vec<i32> = Vec::new();
        let in_blocks: Vec<usize> = self
            .parts
            .iter()
            .flatten()
            .filter_map(|part| match part {
                BoxPart::Block(members) => Some(members),
                BoxPart::Box(_) => None,
            })
            .flatten()
            .copied()
            .collect();
        let mut is_in_block = vec![false; self.depth.len()];
        for n in in_blocks {
            is_in_block[n] = true;
        }
        for (n, &depth) in self.depth.iter().enumerate() {
            widest.resize(widest.len().max(depth + 1), 0);
            if !is_in_block[n] {
                widest[depth] = widest[depth].max(self.widths[n]);
            }
        }
        let mut x = 0;
        for width in widest {
            self.columns.push((x, width));
            x += width + AISLE;
        }
    }

    fn band(&self, parts: &[BoxPart]) -> i32 {
        let heights = parts.iter().map(|part| self.height(part)).sum::<i32>();
        let gaps = parts.windows(2).map(|pair| self.gap(&pair[0], &pair[1])).sum::<i32>();
        heights + gaps
    }

    fn height(&self, part: &BoxPart) -> i32 {
        match part {
            BoxPart::Box(n) => self.heights[*n],
            BoxPart::Block(members) => pixels(self.rows(members.len())) * (HEIGHT + GAP) + GAP,
        }
    }

    fn gap(&self, above: &BoxPart, below: &BoxPart) -> i32 {
        let is_small = |part: &BoxPart| matches!(part, BoxPart::Box(n) if self.is_end[*n]);
        if is_small(above) && is_small(below) { GAP } else { BAND_GAP }
    }

    fn place(&mut self, roots: &[BoxPart]) {
        let all = std::mem::take(&mut self.parts);
        let mut bands: Vec<(&[BoxPart], i32)> = vec![(roots, 0)];
        let mut order = Vec::new();
        while let Some((parts, top)) = bands.pop() {
            let mut y = top;
            for (at, part) in parts.iter().enumerate() {
                match part {
                    BoxPart::Box(n) => {
                        let (x, width) = self.columns[self.depth[*n]];
                        self.layout.places[*n] = BoxPlace { x, y, width };
                        order.push(*n);
                        // A chain keeps to one line: what is lower than its box is centred on it.
                        let inside = self.band(&all[*n]);
                        bands.push((&all[*n], y + (self.heights[*n] - inside) / 2));
                    }
                    BoxPart::Block(members) => self.block(members, y),
                }
                y += self.height(part) + parts.get(at + 1).map_or(0, |next| self.gap(part, next));
            }
        }
        // Bottom-up: each box in the middle between the first and the last that hangs on it.
        for n in order.into_iter().rev() {
            let ends = |part: &BoxPart| match part {
                BoxPart::Box(n) => self.layout.places[*n].y,
                BoxPart::Block(members) => self.layout.places[members[0]].y,
            };
            let last = |part: &BoxPart| match part {
                BoxPart::Box(n) => self.layout.places[*n].y,
                BoxPart::Block(members) => {
                    members.iter().map(|n| self.layout.places[*n].y).max().unwrap_or_default()
                }
            };
            if let (Some(first_part), Some(last_part)) = (all[n].first(), all[n].last()) {
                self.layout.places[n].y = i32::midpoint(ends(first_part), last(last_part));
            }
        }
        let places = &self.layout.places;
        self.layout.width = places.iter().map(|place| place.x + place.width).max().unwrap_or(0);
        self.layout.height = places.iter().map(|place| place.y + HEIGHT).max().unwrap_or(0);
    }

    fn block(&mut self, members: &[usize], top: i32) {
        let rows = self.rows(members.len());
        let (x, _) = self.columns[self.depth[members[0]]];
        let width = members.iter().map(|&n| self.widths[n]).max().unwrap_or(0);
        for (at, &n) in members.iter().enumerate() {
            let (column, row) = (pixels(at / rows), pixels(at % rows));
            self.layout.places[n] = BoxPlace {
                x: x + COMB + column * (width + COMB),
                y: top + GAP + row * (HEIGHT + GAP),
                width,
            };
            self.entrances.insert(n, top);
        }
    }

    /// How many rows a block has.
    fn rows(&self, members: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a few columns"
        )]
        let columns = (members as f64 * self.shape).sqrt().round() as usize;
        members.div_ceil(columns.max(1))
    }

    fn run(&mut self) {
        let mut lanes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for arrow in &self.drawing.arrows {
            let (from, to) = (self.layout.places[arrow.from], self.layout.places[arrow.to]);
            let (x, y) = (from.x + from.width, from.y + HEIGHT / 2);
            let end = to.y + HEIGHT / 2;
            let entrance = self.entrances.get(&arrow.to);
            let is_in_band = self.hangs_on[arrow.to] == Some(arrow.from);
            let path = if is_in_band {
                let (left, width) = self.columns[self.depth[arrow.from]];
                let turned = left + width + AISLE;
                let level = *entrance.unwrap_or(&end);
                let middle = i32::midpoint(x, turned);
                let turn = format!("M{x} {y}C{middle} {y} {middle} {level} {turned} {level}");
                match entrance {
                    Some(_) => format!("{turn}H{}V{end}H{}", to.x - COMB / 2, to.x),
                    None => format!("{turn}H{}", to.x),
                }
            } else {
                let end = end + BESIDE;
                let depth = self.depth[arrow.to];
                let lanes = lanes.entry(depth).or_default();
                let lane = lanes.iter().position(|&source| source == arrow.from);
                let lane = lane.unwrap_or_else(|| {
                    lanes.push(arrow.from);
                    lanes.len() - 1
                });
                let lane = self.columns[depth].0 - LANE * (2 + pixels(lane % LANES));
                let lane = lane.max(x + 1);
                match entrance {
                    Some(top) => {
                        let comb = to.x - COMB / 2 + LANE;
                        format!("M{x} {y}H{lane}V{}H{comb}V{end}H{}", top - LANE, to.x)
                    }
                    None => format!("M{x} {y}H{lane}V{end}H{}", to.x),
                }
            };
            self.layout.runs.push(ArrowPath { arrow: *arrow, path, is_in_band });
        }
    }
}
