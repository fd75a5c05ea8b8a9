//! Compares an image with its budget, and says which layers make it too large.

use std::fmt;

use crate::hierarchy::{Budget, GrowthLimit, NodeName, bytes};

/// How many causes a message names.
const CAUSES: usize = 3;
/// The longest instruction in a message, in characters.
const INSTRUCTION: usize = 60;

/// What was measured of a candidate. Sizes are unpacked bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandidateSize {
    pub size: u64,
    /// Above its base.
    pub own: u64,
    /// The number of all layers.
    pub layers: u64,
    /// The bytes that its own layers waste; 0 if that has no limit.
    pub waste: u64,
    /// The size of the published image; `None` if there is none, or if it is not known.
    pub before: Option<u64>,
}

/// A limit that a candidate exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    Size { has: u64, limit: u64 },
    Own { has: u64, limit: u64 },
    Layers { has: u64, limit: u64 },
    Waste { has: u64, limit: u64 },
    Growth { has: u64, before: u64, limit: GrowthLimit },
}

/// The layers that one image adds to its base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerShare {
    pub owner: LayerOwner,
    /// Number of layers.
    pub layers: u64,
    pub steps: Vec<LayerStep>,
}

/// Which image added layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerOwner {
    /// The candidate.
    Itself,
    /// Another image of the hierarchy.
    Ancestor(NodeName),
    Upstream(String),
}

/// A step that made a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerStep {
    /// The instruction: `RUN make`.
    pub text: String,
    /// Its place: `images/os-base/Dockerfile:4`.
    pub place: Option<String>,
    /// Unpacked.
    pub bytes: u64,
}

/// Files that an image need not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WastedPart {
    /// The number of the layer that contains them, from 0 at the lowest one.
    pub layer: usize,
    /// Unpacked.
    pub bytes: u64,
    /// `/var/lib/apt/lists/`, absolute in the image.
    pub path: String,
    /// Why the image need not have them: `cache of apt`.
    pub why: String,
}

/// A limit that an image exceeds, and the largest causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// As in messages, without the causes: it has 1.0 kB, 1 B more than its `size` budget of 999 B.
    pub sentence: String,
    pub excess: Excess,
    /// The largest first.
    pub causes: Vec<Cause>,
}

/// A part of an excess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Layers for `layers`, else unpacked bytes.
    pub amount: u64,
    /// The image whose layers these are; `None` if the engine's history does not name it.
    pub owner: Option<LayerOwner>,
    /// The instruction of a Dockerfile of the hierarchy.
    pub step: Option<String>,
    /// The place of the step: `images/os-base/Dockerfile:4`.
    pub place: Option<String>,
    /// The wasted path, absolute in the image.
    pub path: Option<String>,
    /// 12 MB by `RUN make` (Dockerfile:4).
    pub sentence: String,
}

/// The limits that an image exceeds, in the order of `hierarchy.yaml`.
pub fn excesses(budget: &Budget, found: CandidateSize) -> Vec<Excess> {
    let CandidateSize { size, own, layers, waste, before } = found;
    let over = |has: u64, limit: Option<u64>| limit.filter(|limit| has > *limit);
    let growth = budget.growth.zip(before);
    let growth =
        growth.filter(|(limit, before)| size.saturating_sub(*before) > limit.allowed(*before));
    let all = [
        over(size, budget.size).map(|limit| Excess::Size { has: size, limit }),
        over(own, budget.own).map(|limit| Excess::Own { has: own, limit }),
        over(layers, budget.layers).map(|limit| Excess::Layers { has: layers, limit }),
        over(waste, budget.waste).map(|limit| Excess::Waste { has: waste, limit }),
        growth.map(|(limit, before)| Excess::Growth { has: size, before, limit }),
    ];
    all.into_iter().flatten().collect()
}

impl Excess {
    /// The key in `budget`.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Size { .. } => "size",
            Self::Own { .. } => "own",
            Self::Layers { .. } => "layers",
            Self::Waste { .. } => "waste",
            Self::Growth { .. } => "growth",
        }
    }

    /// What was measured and what is allowed: layers for `layers`, else unpacked bytes. For `growth` both are
    /// the growth.
    pub fn value_and_limit(&self) -> (u64, u64) {
        match *self {
            Self::Size { has, limit }
            | Self::Own { has, limit }
            | Self::Layers { has, limit }
            | Self::Waste { has, limit } => (has, limit),
            Self::Growth { has, before, limit } => (has - before, limit.allowed(before)),
        }
    }
}

impl OverBudget {
    /// The sentence with those of the causes.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.sentence)
            .chain(self.causes.iter().map(|cause| &cause.sentence))
            .map(String::as_str)
    }

    /// The step of the image's own Dockerfile that causes most.
    pub fn own_step(&self) -> Option<&str> {
        self.causes.iter().find_map(Cause::own_step)
    }

    /// Each text from the image goes through `mask`.
    #[must_use]
    pub fn masked(mut self, mask: impl Fn(&str) -> String) -> Self {
        let texts = self.causes.iter_mut().flat_map(|cause| {
            let Cause { amount: _, owner: _, step, place, path, sentence } = cause;
            [step.as_mut(), place.as_mut(), path.as_mut(), Some(sentence)]
        });
        texts.flatten().chain([&mut self.sentence]).for_each(|text| *text = mask(text));
        self
    }
}

/// On one line.
impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)?;
        for (n, cause) in self.causes.iter().enumerate() {
            write!(f, "{} {}", if n == 0 { ":" } else { "," }, cause.sentence)?;
        }
        Ok(())
    }
}

impl Cause {
    fn own_step(&self) -> Option<&str> {
        self.step.as_deref().filter(|_| self.owner == Some(LayerOwner::Itself))
    }

    fn of(owner: &LayerOwner, amount: u64, sentence: String) -> Self {
        let owner = Some(owner.clone());
        Self { amount, owner, step: None, place: None, path: None, sentence }
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = |has: u64, limit: u64| format!("{} more than", bytes(has - limit));
        match *self {
            Self::Size { has, limit } => {
                let over = over(has, limit);
                write!(f, "it has {}, {over} its `size` budget of {}", bytes(has), bytes(limit))
            }
            Self::Own { has, limit } => {
                let (has, over) = (bytes(has), over(has, limit));
                write!(f, "it adds {has} to its base, {over} its `own` budget of {}", bytes(limit))
            }
            Self::Layers { has, limit } => {
                write!(
                    f,
                    "it has {has} layers, {} more than its `layers` budget of {limit}",
                    has - limit
                )
            }
            Self::Waste { has, limit } => {
                let (has, over) = (bytes(has), over(has, limit));
                write!(f, "it wastes {has}, {over} its `waste` budget of {}", bytes(limit))
            }
            Self::Growth { has, before, limit } => {
                let by = bytes(has - before);
                let share = share(has - before, before);
                write!(f, "it grew by {by}{share}, more than its `growth` budget of {limit}")
            }
        }
    }
}

/// ` (8.1%)`; nothing if the published image was empty.
fn share(by: u64, before: u64) -> String {
    let per_mille = (u128::from(by) * 1000).checked_div(u128::from(before));
    per_mille.map_or(String::new(), |n| format!(" ({}.{}%)", n / 10, n % 10))
}

/// An excess with its largest causes. `before` is the published image.
pub fn causes(
    excess: Excess,
    (now, before): (&[LayerShare], &[LayerShare]),
    wasted: &[WastedPart],
) -> OverBudget {
    let mut causes = match excess {
        Excess::Layers { .. } => now.iter().filter_map(of_layers).collect(),
        Excess::Waste { .. } => wasted.iter().map(|part| of_waste(part, now)).collect(),
        Excess::Growth { .. } => growth(now, before),
        Excess::Size { .. } => now.iter().flat_map(of_bytes).collect(),
        Excess::Own { .. } => {
            let own = now.iter().filter(|share| share.owner == LayerOwner::Itself);
            own.flat_map(of_bytes).collect::<Vec<_>>()
        }
    };
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.amount));
    causes.truncate(CAUSES);
    OverBudget { sentence: excess.to_string(), excess, causes }
}

fn of_layers(share: &LayerShare) -> Option<Cause> {
    let n = share.layers;
    let layers = if n == 1 { "1 layer".to_owned() } else { format!("{n} layers") };
    let sentence = match &share.owner {
        LayerOwner::Itself => format!("{layers} of its own"),
        owner => format!("{layers} of {}", owner.name()),
    };
    (n > 0).then(|| Cause::of(&share.owner, n, sentence))
}

fn of_waste(part: &WastedPart, now: &[LayerShare]) -> Cause {
    let WastedPart { layer, bytes: amount, path, why } = part;
    let mut steps =
        now.iter().flat_map(|share| share.steps.iter().map(|step| (&share.owner, step)));
    let made = steps.nth(*layer).and_then(|(owner, step)| {
        if owner.is_outside() {
            outside(owner, *amount, "")
        } else {
            of_step(owner, step, *amount, " by")
        }
    });
    let cause = made.unwrap_or_else(|| Cause {
        owner: None,
        ..Cause::of(&LayerOwner::Itself, *amount, bytes(*amount))
    });
    let sentence = format!("{}: `{path}`, {why}", cause.sentence);
    Cause { sentence, path: Some(path.clone()), ..cause }
}

/// The layers of an upstream are one cause: its steps are in no Dockerfile here.
fn of_bytes(share: &LayerShare) -> Vec<Cause> {
    if share.owner.is_outside() {
        return outside(&share.owner, share.bytes(), "").into_iter().collect();
    }
    share.steps.iter().filter_map(|step| of_step(&share.owner, step, step.bytes, " by")).collect()
}

fn outside(owner: &LayerOwner, amount: u64, more: &str) -> Option<Cause> {
    let sentence = format!("{}{more} in {}", bytes(amount), owner.name());
    (amount > 0).then(|| Cause::of(owner, amount, sentence))
}

/// `by` is the words before the instruction.
fn of_step(owner: &LayerOwner, step: &LayerStep, amount: u64, by: &str) -> Option<Cause> {
    let of = match owner {
        LayerOwner::Itself => String::new(),
        owner => format!(" of {}", owner.name()),
    };
    let place = step.place.as_ref().map_or(String::new(), |place| format!(" ({place})"));
    let sentence = format!("{}{by} `{}`{of}{place}", bytes(amount), shortened(&step.text));
    let (text, place) = (Some(step.text.clone()), step.place.clone());
    (amount > 0).then(|| Cause { step: text, place, ..Cause::of(owner, amount, sentence) })
}

/// A step is compared with the step of the same text of the same image.
fn growth(now: &[LayerShare], before: &[LayerShare]) -> Vec<Cause> {
    let mut causes = Vec::new();
    for share in now {
        let was = before.iter().find(|was| was.owner.is_same(&share.owner));
        if share.owner.is_outside() {
            let grew = share.bytes().saturating_sub(was.map_or(0, LayerShare::bytes));
            causes.extend(outside(&share.owner, grew, " more"));
            continue;
        }
        let mut left: Vec<&LayerStep> = was.iter().flat_map(|was| &was.steps).collect();
        for step in &share.steps {
            let same = left.iter().position(|was| was.text == step.text);
            let (was, by) = match same.map(|at| left.remove(at)) {
                Some(was) => (was.bytes, " more by"),
                None => (0, " by the new"),
            };
            causes.extend(of_step(&share.owner, step, step.bytes.saturating_sub(was), by));
        }
    }
    causes
}

impl LayerShare {
    fn bytes(&self) -> u64 {
        self.steps.iter().map(|step| step.bytes).fold(0, u64::saturating_add)
    }
}

impl LayerOwner {
    fn is_outside(&self) -> bool {
        matches!(self, Self::Upstream(_))
    }

    /// An upstream may have moved to another tag.
    fn is_same(&self, other: &Self) -> bool {
        self == other || self.is_outside() && other.is_outside()
    }

    fn name(&self) -> String {
        match self {
            Self::Itself => "the image itself".to_owned(),
            Self::Ancestor(name) => format!("`{name}`"),
            Self::Upstream(name) => format!("its upstream `{name}`"),
        }
    }
}

fn shortened(text: &str) -> String {
    let text = text.replace('`', "'");
    match text.char_indices().nth(INSTRUCTION) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::OnExcess;

    const MB: u64 = 1_000_000;

    /// `debian: 74 rootfs` is a share with a step of 74 MB.
    fn shares(lines: &[(LayerOwner, &[(&str, u64)])]) -> Vec<LayerShare> {
        let step = |(text, megabytes): &(&str, u64)| LayerStep {
            text: (*text).to_owned(),
            place: text.starts_with("RUN").then(|| "Dockerfile:4".to_owned()),
            bytes: megabytes * MB,
        };
        let share = |(owner, steps): &(LayerOwner, &[(&str, u64)])| LayerShare {
            owner: owner.clone(),
            layers: steps.len() as u64,
            steps: steps.iter().map(step).collect(),
        };
        lines.iter().map(share).collect()
    }

    #[test]
    fn a_limit_is_exceeded_by_the_first_byte_more() {
        let budget = Budget {
            size: Some(100),
            own: Some(10),
            layers: Some(3),
            waste: Some(7),
            growth: Some(GrowthLimit::Percent(500)),
            on_excess: OnExcess::Fail,
        };
        let exact = CandidateSize { size: 100, own: 10, layers: 3, waste: 7, before: Some(96) };
        assert_eq!(excesses(&budget, exact), []);
        let smaller = CandidateSize { size: 50, before: Some(100), ..exact };
        assert_eq!(excesses(&budget, smaller), []);
        let new = CandidateSize { before: None, ..exact };
        assert_eq!(excesses(&budget, new), []);
        let more = CandidateSize { size: 101, own: 11, layers: 4, waste: 8, before: Some(96) };
        let told: Vec<String> = excesses(&budget, more).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "it has 101 B, 1 B more than its `size` budget of 100 B",
                "it adds 11 B to its base, 1 B more than its `own` budget of 10 B",
                "it has 4 layers, 1 more than its `layers` budget of 3",
                "it wastes 8 B, 1 B more than its `waste` budget of 7 B",
                "it grew by 5 B (5.2%), more than its `growth` budget of 5%",
            ]
        );
        let empty = CandidateSize { size: 1, own: 1, layers: 1, waste: 0, before: Some(0) };
        let told: Vec<String> = excesses(&budget, empty).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["it grew by 1 B, more than its `growth` budget of 5%"]);
    }

    #[test]
    fn causes_name_the_owner_of_the_bytes() {
        let now = shares(&[
            (LayerOwner::Upstream("debian:12".to_owned()), &[("# debian", 74), ("# more", 1)]),
            (LayerOwner::Ancestor("os".into()), &[("RUN install a compiler", 90), ("COPY a b", 0)]),
            (LayerOwner::Itself, &[("COPY . /srv", 3), ("RUN make", 12)]),
        ]);
        let part = |(layer, megabytes, path, why): (usize, u64, &str, &str)| WastedPart {
            layer,
            bytes: megabytes * MB,
            path: path.to_owned(),
            why: why.to_owned(),
        };
        let wasted = [
            (1, 1, "/etc/x", "replaced"),
            (2, 40, "/usr/lib/gcc/", "deleted"),
            (5, 9, "/root/.cache/", "cache of pip"),
        ]
        .map(part);
        let sentences = |over: &OverBudget| -> Vec<String> {
            over.lines().skip(1).map(str::to_owned).collect()
        };
        let told = |excess: Excess, before: &[LayerShare]| causes(excess, (&now, before), &wasted);
        let waste = told(Excess::Waste { has: 2, limit: 1 }, &[]);
        assert_eq!(
            sentences(&waste),
            [
                "40 MB by `RUN install a compiler` of `os` (Dockerfile:4): `/usr/lib/gcc/`, deleted",
                "9.0 MB by `RUN make` (Dockerfile:4): `/root/.cache/`, cache of pip",
                "1.0 MB in its upstream `debian:12`: `/etc/x`, replaced",
            ]
        );
        assert_eq!(waste.own_step(), Some("RUN make"));
        let size = told(Excess::Size { has: 2, limit: 1 }, &[]);
        assert_eq!(
            sentences(&size),
            [
                "90 MB by `RUN install a compiler` of `os` (Dockerfile:4)",
                "75 MB in its upstream `debian:12`",
                "12 MB by `RUN make` (Dockerfile:4)",
            ]
        );
        assert_eq!(size.own_step(), Some("RUN make"));
        let own = told(Excess::Own { has: 2, limit: 1 }, &[]);
        assert_eq!(
            sentences(&own),
            ["12 MB by `RUN make` (Dockerfile:4)", "3.0 MB by `COPY . /srv`"]
        );
        let layers = told(Excess::Layers { has: 2, limit: 1 }, &[]);
        assert_eq!(
            sentences(&layers),
            ["2 layers of its upstream `debian:12`", "2 layers of `os`", "2 layers of its own"]
        );
        let before = shares(&[
            (LayerOwner::Upstream("debian:11".to_owned()), &[("# debian", 70)]),
            (LayerOwner::Ancestor("os".into()), &[("RUN install a compiler", 91)]),
            (LayerOwner::Itself, &[("COPY . /srv", 1)]),
        ]);
        let growth = Excess::Growth { has: 2, before: 1, limit: GrowthLimit::Bytes(1) };
        assert_eq!(
            sentences(&told(growth, &before)),
            [
                "12 MB by the new `RUN make` (Dockerfile:4)",
                "5.0 MB more in its upstream `debian:12`",
                "2.0 MB more by `COPY . /srv`",
            ]
        );
    }

    #[test]
    fn a_long_instruction_is_cut() {
        assert_eq!(shortened(&"ä".repeat(61)), format!("{}…", "ä".repeat(60)));
        assert_eq!(shortened("RUN `x`"), "RUN 'x'");
    }
}
