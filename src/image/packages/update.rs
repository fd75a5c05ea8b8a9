//! A newer version of a package.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `libssl3 3.0.15-1 → 3.0.16-1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageUpdate {
    pub package: String,
    pub from: String,
    pub to: String,
}

impl PackageUpdate {
    /// `libssl3 3.0.15-1 → 3.0.16-1 and 2 more`; empty if there are none.
    pub fn several(updates: &[Self]) -> String {
        match updates {
            [] => String::new(),
            [only] => only.to_string(),
            [first, more @ ..] => format!("{first} and {} more", more.len()),
        }
    }
}

impl fmt::Display for PackageUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.package, self.from, self.to)
    }
}
