//! Names the field already has: digests, image references, platforms. No I/O.

mod digest;
pub mod packages;
mod platform;
mod reference;

pub use self::{
    digest::{Digest, DigestError, Hasher, hmac_sha256},
    platform::{Platform, PlatformError},
    reference::{Reference, ReferenceError, Repository, Tag, Tagged},
};
