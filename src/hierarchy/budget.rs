//! How much an image may have: `budget:`, and `max_size:`, the short form of `budget.size`.

use std::{fmt, ops::Range};

use super::{fields::Problems, units, yaml::Yaml};
use crate::check::rules::RuleCode;

/// The limits of an image. Sizes are unpacked bytes of layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Of the whole image.
    pub size: Option<u64>,
    /// Of the layers above its base.
    pub own: Option<u64>,
    /// The number of all layers.
    pub layers: Option<u64>,
    /// Of the bytes that its own layers waste.
    pub waste: Option<u64>,
    /// Compared with the published image.
    pub growth: Option<GrowthLimit>,
    pub on_excess: OnExcess,
}

/// How much larger than the published image an image may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrowthLimit {
    Bytes(u64),
    /// In hundredths of a percent.
    Percent(u32),
}

/// The effect of an image that exceeds its budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExcess {
    Warn,
    /// As a failed test.
    #[default]
    Fail,
}

impl Budget {
    /// Whether an image has to be measured.
    pub fn has_limits(&self) -> bool {
        let Self { size, own, layers, waste, growth, on_excess: _ } = self;
        [size, own, layers, waste].into_iter().any(Option::is_some) || growth.is_some()
    }

    /// The limit that is a part of the fingerprint. A stored image is never larger.
    pub fn enforced_size(&self) -> Option<u64> {
        self.size.filter(|_| self.on_excess == OnExcess::Fail)
    }
}

impl GrowthLimit {
    /// In bytes, for an image that had `before` bytes.
    pub fn allowed(self, before: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(hundredths) => {
                let bytes = u128::from(before) * u128::from(hundredths) / 10_000;
                u64::try_from(bytes).unwrap_or(u64::MAX)
            }
        }
    }
}

impl fmt::Display for GrowthLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bytes(bytes) => f.write_str(&units::bytes(bytes)),
            Self::Percent(hundredths) => {
                let (whole, rest) = (hundredths / 100, hundredths % 100);
                let fraction = format!(".{rest:02}");
                let fraction = if rest == 0 { "" } else { fraction.trim_end_matches('0') };
                write!(f, "{whole}{fraction}%")
            }
        }
    }
}

/// A limit in the file: `none` turns one of `defaults` off.
#[derive(Clone, Copy, Debug, PartialEq)]
enum LimitField<T> {
    Off,
    At(T),
}

/// The budget as an entry of the file gives it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BudgetFields {
    size: Option<LimitField<u64>>,
    own: Option<LimitField<u64>>,
    layers: Option<LimitField<u64>>,
    waste: Option<LimitField<u64>>,
    growth: Option<LimitField<GrowthLimit>>,
    on_excess: Option<OnExcess>,
}

impl BudgetFields {
    pub(super) fn read(yaml: &Yaml, problems: &mut Problems) -> Option<Self> {
        let mut fields = problems.map("`budget`", "`budget`", yaml)?;
        let mut limit = |name, problems: &mut Problems| {
            let yaml = fields.take(name)?;
            problems.parsed(name, yaml, |text| or_none(text, units::size)).map(|read| read.value)
        };
        let (size, own) = (limit("size", problems), limit("own", problems));
        let waste = fields.take("waste").and_then(|yaml| {
            problems.parsed("waste", yaml, |text| or_none(text, waste)).map(|read| read.value)
        });
        let layers = fields.take("layers").and_then(|yaml| {
            problems.parsed("layers", yaml, |text| or_none(text, layers)).map(|read| read.value)
        });
        let growth = fields.take("growth").and_then(|yaml| {
            problems.parsed("growth", yaml, |text| or_none(text, growth)).map(|read| read.value)
        });
        let on_excess = fields
            .take("on_excess")
            .and_then(|yaml| problems.parsed("on_excess", yaml, on_excess).map(|read| read.value));
        fields.finish(problems);
        Some(Self { size, own, layers, waste, growth, on_excess })
    }

    /// `max_size` of the same entry.
    pub(super) fn set_max_size(
        &mut self,
        max: Option<u64>,
        span: &Range<usize>,
        problems: &mut Problems,
    ) {
        if self.size.is_some() {
            let hint = "`max_size` is the short form of `budget.size`; remove one of them";
            problems.push_with_hint(span, "the image has `max_size` and `budget.size`", hint);
            problems.last_is(RuleCode::WrongValue);
        }
        self.size = self.size.or(max.map(LimitField::At));
    }

    pub(super) fn has_size(&self) -> bool {
        self.size.is_some()
    }

    /// This entry's keys before those of `defaults`. `has_size`: it has a size, which may not be read yet.
    pub(super) fn over(&self, defaults: &Self, has_size: bool) -> Self {
        Self {
            size: if has_size { self.size } else { defaults.size },
            own: self.own.or(defaults.own),
            layers: self.layers.or(defaults.layers),
            waste: self.waste.or(defaults.waste),
            growth: self.growth.or(defaults.growth),
            on_excess: self.on_excess.or(defaults.on_excess),
        }
    }

    /// The same budget, however it is written.
    pub(super) fn normal(&self) -> Self {
        let Self { size, own, layers, waste, growth, on_excess } = self.clone();
        Self {
            size: size.filter(|limit| *limit != LimitField::Off),
            own: own.filter(|limit| *limit != LimitField::Off),
            layers: layers.filter(|limit| *limit != LimitField::Off),
            waste: waste.filter(|limit| *limit != LimitField::Off),
            growth: growth.filter(|limit| *limit != LimitField::Off),
            on_excess: on_excess.filter(|on_excess| *on_excess != OnExcess::default()),
        }
    }

    pub(super) fn budget(&self) -> Budget {
        fn at<T>(limit: Option<LimitField<T>>) -> Option<T> {
            match limit? {
                LimitField::Off => None,
                LimitField::At(limit) => Some(limit),
            }
        }
        Budget {
            size: at(self.size),
            own: at(self.own),
            layers: at(self.layers),
            waste: at(self.waste),
            growth: at(self.growth),
            on_excess: self.on_excess.unwrap_or_default(),
        }
    }
}

fn or_none<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<LimitField<T>, String> {
    if text == "none" { Ok(LimitField::Off) } else { parse(text).map(LimitField::At) }
}

fn layers(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("`layers` must be a number of layers, at least 1, not `{text}`"))
}

/// A size, or 0.
fn waste(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { units::size(text) }
}

/// A percentage with up to two decimals, or a size.
fn growth(text: &str) -> Result<GrowthLimit, String> {
    let Some(number) = text.strip_suffix('%') else {
        return units::size(text).map(GrowthLimit::Bytes).map_err(|_| {
            format!("`{text}` is neither a percentage, such as `5%`, nor a size, such as `20MB`")
        });
    };
    let wrong = || format!("`{text}` is not a percentage, such as `5%` or `0.5%`");
    let number = number.trim_end();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) || fraction.len() > 2 {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    let fraction: u32 = format!("{fraction:0<2}").parse().map_err(|_| wrong())?;
    let hundredths = whole.checked_mul(100).and_then(|whole| whole.checked_add(fraction));
    hundredths.map(GrowthLimit::Percent).ok_or_else(wrong)
}

fn on_excess(text: &str) -> Result<OnExcess, String> {
    match text {
        "warn" => Ok(OnExcess::Warn),
        "fail" => Ok(OnExcess::Fail),
        _ => Err(format!("`on_excess` must be `warn` or `fail`, not `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::{Hierarchy, LoadOptions};

    #[test]
    fn growth_is_a_percentage_or_a_size() {
        for (text, expected, of_a_thousand) in [
            ("5%", "5%", 50),
            ("0%", "0%", 0),
            ("2.5%", "2.5%", 25),
            ("0.25 %", "0.25%", 2),
            ("300%", "300%", 3000),
            ("20MB", "20 MB", 20_000_000),
        ] {
            let limit = growth(text).unwrap();
            assert_eq!(
                (limit.to_string().as_str(), limit.allowed(1000)),
                (expected, of_a_thousand)
            );
        }
        for text in ["%", "-5%", "5.%", "1.234%", "five", "99999999999%", "0"] {
            assert!(growth(text).is_err(), "{text}");
        }
        assert_eq!(GrowthLimit::Percent(u32::MAX).allowed(u64::MAX), u64::MAX);
    }

    /// The budget of `a`, or the first problem.
    fn read(text: &str) -> Result<Budget, String> {
        let options = LoadOptions { names_only: true, ..LoadOptions::default() };
        let text = format!("version: 1\n{text}");
        let loaded = Hierarchy::load_text("/h.yaml".into(), text, &options);
        let hierarchy = loaded.map_err(|error| error.problems[0].message.clone())?.hierarchy;
        Ok(hierarchy.get(&"a".into()).unwrap().budget.clone())
    }

    #[test]
    fn an_image_overrides_each_key_of_the_defaults() {
        let budget = |entry: &str| {
            read(&format!(
                "defaults: {{ budget: {{ size: 1MB, layers: 9, waste: 4, growth: 5%, on_excess: warn }} }}\n\
                 images: {{ a: {{ {entry} }} }}"
            ))
            .unwrap()
        };
        let defaults = Budget {
            size: Some(1_000_000),
            own: None,
            layers: Some(9),
            waste: Some(4),
            growth: Some(GrowthLimit::Percent(500)),
            on_excess: OnExcess::Warn,
        };
        assert_eq!(budget(""), defaults);
        let own = Budget { size: Some(7), own: Some(3), growth: None, ..defaults.clone() };
        assert_eq!(budget("budget: { size: 7, own: 3, growth: none }"), own);
        let no_waste = Budget { waste: Some(0), ..defaults.clone() };
        assert_eq!(budget("budget: { waste: 0 }"), no_waste);
        let all = Budget { waste: None, ..defaults.clone() };
        assert_eq!(budget("budget: { waste: none }"), all);
        let short = Budget { size: Some(7), on_excess: OnExcess::Fail, ..defaults };
        assert_eq!(budget("max_size: 7, budget: { on_excess: fail }"), short);
    }

    #[test]
    fn max_size_is_the_short_form_of_a_size() {
        assert_eq!(
            read("images: { a: { max_size: 7MB } }"),
            read("images: { a: { budget: { size: 7MB } } }")
        );
        let budget = read("defaults: { max_size: 7MB }\nimages: { a: { budget: { size: 3 } } }");
        assert_eq!(budget.unwrap().size, Some(3));
        // It is filled in by the matrix after the defaults.
        let matrix = read(
            "defaults: { budget: { size: 3 } }\n\
             images: { a: { matrix: { n: [7] }, max_size: \"{n}MB\" } }",
        );
        assert_eq!(matrix.unwrap().size, Some(7_000_000));
    }

    #[test]
    fn mistakes_are_reported() {
        for (entry, expected) in [
            ("max_size: 7, budget: { size: 7 }", "the image has `max_size` and `budget.size`"),
            ("budget: { sise: 7 }", "unknown field `sise` of `budget`"),
            ("budget: 7", "`budget` must be a map, not the number `7`"),
            ("budget: { layers: 0 }", "`layers` must be a number of layers, at least 1, not `0`"),
            ("budget: { on_excess: stop }", "`on_excess` must be `warn` or `fail`, not `stop`"),
            (
                "budget: { growth: much }",
                "`much` is neither a percentage, such as `5%`, nor a size, such as `20MB`",
            ),
        ] {
            let found = read(&format!("images: {{ a: {{ {entry} }} }}"));
            assert_eq!(found.unwrap_err(), expected, "{entry}");
        }
    }
}
