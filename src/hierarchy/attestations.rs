//! `attest`: what BuildKit says of an image, beside it in the registry.

/// The attestations of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attestations {
    pub provenance: Provenance,
    pub sbom: Sbom,
}

/// How the image was built, by the in-toto format of SLSA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provenance {
    #[default]
    None,
    /// The platform, the sources and the frontend.
    Min,
    /// With the values of build arguments and the text of the Dockerfile.
    Max,
}

/// The packages in the image, by the SPDX format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sbom {
    #[default]
    None,
    /// By BuildKit's own scanner, which the engine pulls.
    Default,
    /// By the scanner in this image.
    By(String),
}

impl Provenance {
    /// As the hierarchy file and BuildKit spell it; `None` without one.
    pub fn mode(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Min => Some("min"),
            Self::Max => Some("max"),
        }
    }
}

impl Attestations {
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// As attributes of the Dockerfile frontend.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let provenance = self.provenance.mode().map(|mode| format!("mode={mode}"));
        let sbom = match &self.sbom {
            Sbom::None => None,
            Sbom::Default => Some(String::new()),
            Sbom::By(scanner) => Some(format!("generator={scanner}")),
        };
        let provenance = provenance.map(|value| ("attest:provenance", value));
        provenance.into_iter().chain(sbom.map(|value| ("attest:sbom", value))).collect()
    }
}

pub(super) fn provenance(text: &str) -> Result<Provenance, String> {
    match text {
        "false" => Ok(Provenance::None),
        "min" => Ok(Provenance::Min),
        "max" | "true" => Ok(Provenance::Max),
        _ => Err(format!("`attest.provenance` must be `min`, `max` or `false`, not `{text}`")),
    }
}

pub(super) fn sbom(text: &str) -> Result<Sbom, String> {
    match text {
        "false" => Ok(Sbom::None),
        "true" => Ok(Sbom::Default),
        image => {
            let parsed: Result<crate::image::Reference, _> = image.parse();
            parsed.map(|_| Sbom::By(image.to_owned())).map_err(|error| {
                format!("`attest.sbom` must be `true`, `false` or the image of a scanner: {error}")
            })
        }
    }
}
