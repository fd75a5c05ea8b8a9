//! A listing of a build context, small enough for a label, to name changed files.
//!
//! **Invariant:** equal contexts give equal listings, and none is larger than [`LIMIT`].
//! **Invariant:** a folder's digest depends only on its members' digests, so a listing with every file can be
//! compared with one that has only folders.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::context::{ContextEntry, ContextManifest, EntryExtras, EntryKind};
use crate::image::{Digest, Hasher};

/// In bytes of JSON. Labels are part of the address of a build request, and stay in the image.
const LIMIT: usize = 6 * 1024;
/// Digits of a digest: enough to distinguish two versions of a file.
const DIGITS: usize = 8;
/// The context itself, if even its top folders are too many.
const ROOT: &str = "./";

/// A digest for each file of a context except the Dockerfile, or for each folder, whose name ends in `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Listing(BTreeMap<String, String>);

/// The difference of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListingDifference {
    Changed,
    New,
    Gone,
}

impl fmt::Display for ListingDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Changed => "changed",
            Self::New => "new",
            Self::Gone => "gone",
        })
    }
}

impl Listing {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Omits the Dockerfile, which has its own digest.
    pub fn new(manifest: &ContextManifest, dockerfile: Option<&Path>) -> Self {
        let mut all = BTreeMap::new();
        for (n, (entry, content)) in manifest.entries.iter().enumerate() {
            if Some(&*entry.path) == dockerfile {
                continue;
            }
            let mut path = readable(&entry.path);
            if entry.kind == EntryKind::Folder {
                let next = manifest.entries.get(n + 1);
                // Its entries represent it.
                if next.is_some_and(|(next, _)| next.path.starts_with(&entry.path)) {
                    continue;
                }
                path.push('/');
            }
            all.insert(path, digest(entry, content.as_ref()));
        }
        Self(all).bounded()
    }

    /// Adds an entry that is not a file of the context.
    #[must_use]
    pub fn with(mut self, path: &Path, content: &Digest) -> Self {
        self.0.entry(readable(path)).or_insert_with(|| short(content));
        self.bounded()
    }

    /// Adds the listing of another context below a name.
    #[must_use]
    pub fn and(mut self, name: &str, other: Self) -> Self {
        let below = |key: &str| format!("{name}/{}", if key == ROOT { "" } else { key });
        self.0.extend(other.0.into_iter().map(|(key, digest)| (below(&key), digest)));
        self.bounded()
    }

    /// Replaces the deepest folders by one digest each, until the listing is small enough.
    fn bounded(mut self) -> Self {
        while self.size() > LIMIT {
            let depth = |key: &String| key.trim_end_matches('/').matches('/').count();
            let deepest = self.0.keys().map(depth).max().unwrap_or(0);
            if deepest == 0 {
                self.collapse(ROOT);
                break;
            }
            let mut folders: BTreeMap<String, usize> = BTreeMap::new();
            for key in self.0.keys().filter(|key| depth(key) == deepest) {
                let name = key.trim_end_matches('/').rfind('/').map_or(0, |slash| slash + 1);
                *folders.entry(key[..name].to_owned()).or_default() += key.len();
            }
            // The largest one first, so that few folders lose their files.
            let mut folders: Vec<_> = folders.into_iter().collect();
            folders.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            let mut size = self.size();
            for (folder, _) in folders {
                if size <= LIMIT {
                    break;
                }
                size -= self.collapse(&folder);
            }
        }
        self
    }

    /// The size of its JSON text.
    fn size(&self) -> usize {
        2 + self.0.keys().map(|key| room(key)).sum::<usize>()
    }

    /// Replaces the entries of a folder by one digest, and returns the saved bytes.
    fn collapse(&mut self, folder: &str) -> usize {
        let prefix = if folder == ROOT { "" } else { folder };
        let members = |listing: &Self| -> Vec<String> {
            let keys = listing.0.range(prefix.to_owned()..).map(|(key, _)| key);
            let below = keys.take_while(|key| key.starts_with(prefix));
            below.filter(|key| *key != folder).cloned().collect()
        };
        let before = members(self);
        if before.is_empty() {
            return 0;
        }
        let mut freed = 0;
        let inner: BTreeSet<&str> = before
            .iter()
            .filter_map(|key| {
                let slash = key[prefix.len()..].find('/')? + prefix.len() + 1;
                (slash < key.len()).then(|| &key[..slash])
            })
            .collect();
        for folder in inner {
            freed += self.collapse(folder);
        }
        let mut hasher = Hasher::default();
        for key in members(self) {
            let digest = self.0.remove(&key).unwrap_or_default();
            freed += room(&key);
            hasher.update(format!("{} {}\0{digest}\n", key.len(), &key[prefix.len()..]).as_bytes());
        }
        let replaced = self.0.insert(folder.to_owned(), short(&hasher.finish())).is_some();
        freed.saturating_sub(if replaced { 0 } else { room(folder) })
    }

    /// The changed, new and deleted entries, each in order of path.
    ///
    /// For a new or deleted folder with several entries, only the folder. If no entry remained, the whole context is
    /// new.
    pub fn differences(&self, now: &Self) -> Vec<(ListingDifference, String)> {
        let (mut then, mut now) = (self.clone(), now.clone());
        then.as_coarse_as(&now);
        now.as_coarse_as(&then);
        if then.is_other_folder(&now) {
            return vec![(ListingDifference::New, ROOT.to_owned())];
        }
        let mut found: Vec<(ListingDifference, String)> = Vec::new();
        for (path, digest) in &then.0 {
            if now.0.get(path).is_some_and(|now| now != digest) {
                found.push((ListingDifference::Changed, path.clone()));
            }
        }
        for (difference, of, other) in
            [(ListingDifference::New, &now, &then), (ListingDifference::Gone, &then, &now)]
        {
            let paths = of.0.keys().filter(|path| !other.0.contains_key(*path));
            let mut tops: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
            for path in paths {
                tops.entry(other.first_missing(path)).or_default().push(path);
            }
            for (top, paths) in tops {
                match paths[..] {
                    [only] => found.push((difference, only.clone())),
                    _ => found.push((difference, top.to_owned())),
                }
            }
        }
        found
    }

    /// Whether both have entries, one of them three or more, and none in common.
    fn is_other_folder(&self, now: &Self) -> bool {
        const LEAST: usize = 3;
        self.0.len().min(now.0.len()) > 0
            && self.0.len().max(now.0.len()) >= LEAST
            && self.0.keys().all(|path| !now.0.contains_key(path))
    }

    /// Replaces folders by digests where the other listing has only digests.
    fn as_coarse_as(&mut self, other: &Self) {
        for folder in other.0.keys().filter(|key| key.ends_with('/')) {
            self.collapse(folder);
        }
    }

    /// The topmost folder of a path, or the path itself, that has no entry here.
    fn first_missing<'p>(&self, path: &'p str) -> &'p str {
        let ends = path.match_indices('/').map(|(slash, _)| &path[..=slash]);
        let is_missing = |folder: &&str| {
            let next = self.0.range((*folder).to_owned()..).next();
            next.is_none_or(|(key, _)| !key.starts_with(folder))
        };
        ends.into_iter().find(is_missing).unwrap_or(path)
    }
}

/// The bytes of JSON of a path and its digest, with punctuation.
fn room(key: &str) -> usize {
    let escaped = serde_json::to_string(key).map_or(key.len() + 2, |text| text.len());
    escaped + ":\"\",".len() + DIGITS
}

fn digest(entry: &ContextEntry, content: Option<&Digest>) -> String {
    let mut hasher = Hasher::default();
    let (kind, value) = match &entry.kind {
        EntryKind::File { .. } => {
            ("file", content.map_or(&b""[..], |digest| digest.hex().as_bytes()))
        }
        EntryKind::Folder => ("folder", &b""[..]),
        EntryKind::Link { target } => ("link", target.as_os_str().as_bytes()),
    };
    hasher.update(format!("{kind} {:o} ", entry.mode).as_bytes());
    hasher.update(value);
    let EntryExtras { hard_link, capabilities } = &entry.extras;
    for bytes in
        [hard_link.as_ref().map(|first| first.as_os_str().as_bytes()), capabilities.as_deref()]
    {
        hasher.update(bytes.unwrap_or_default());
    }
    short(&hasher.finish())
}

pub(super) fn short(digest: &Digest) -> String {
    digest.hex()[..DIGITS].to_owned()
}

/// A path as text, with `\xff` for bytes that are not UTF-8.
pub fn readable(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::fingerprint::context::Context;

    /// Files of a context: `path=content`, `path/` for an empty folder, `!path` for one to execute.
    fn listing(files: &str) -> Listing {
        let folder = tempfile::tempdir().unwrap();
        for file in files.split_whitespace() {
            let (path, content) = file.split_once('=').unwrap_or((file, ""));
            let place = folder.path().join(path.trim_start_matches('!'));
            if path.ends_with('/') {
                fs::create_dir_all(place).unwrap();
                continue;
            }
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(&place, content).unwrap();
            if path.starts_with('!') {
                fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        let context = Context::open(folder.path(), Path::new("Dockerfile")).unwrap();
        Listing::new(
            &context.manifest(&crate::fingerprint::HashCache::default()).unwrap(),
            Some(Path::new("Dockerfile")),
        )
    }

    fn told(then: &str, now: &str) -> String {
        let differences = listing(then).differences(&listing(now));
        let words: Vec<String> =
            differences.iter().map(|(how, path)| format!("{how:?} {path}")).collect();
        words.join(", ").to_lowercase()
    }

    #[test]
    fn what_is_different_is_named() {
        for (then, now, expected) in [
            ("a=1 b/c=1", "a=1 b/c=1", ""),
            ("Dockerfile=1 a=1", "Dockerfile=2 a=1", ""),
            ("a=1 b/c=1", "a=2 b/c=1", "changed a"),
            ("a=1", "!a=1", "changed a"),
            ("a=1", "a=1 b=1", "new b"),
            ("a=1 b=1", "a=1", "gone b"),
            ("", "x=1", "new x"),
            ("a=1", "a=1 src/x=1 src/y=1 src/z/k=1", "new src/"),
            ("a=1", "a=1 src/x=1", "new src/x"),
            ("a=1 src/x=1 src/y=1", "a=1", "gone src/"),
            ("s/a=1 s/b=1", "s/a=1 s/c=1 s/d/e=1 s/d/f=1", "new s/c, new s/d/, gone s/b"),
            ("a=1", "a=1 empty/", "new empty/"),
            ("a=1 empty/", "a=1 empty/x=1", "changed empty/"),
            ("a/b=1", "a=1", "new a, gone a/b"),
            ("a=1 b=1", "c=1", "new c, gone a, gone b"),
            (".env=1 l/x=1 l/y=1", "x=1 y=1", "new ./"),
            ("x=1 y=1", ".env=1 l/x=1 l/y=1", "new ./"),
            ("a=1 b=1 c=1", "a=2 d=1 e=1", "changed a, new d, new e, gone b, gone c"),
            ("", "a=1 b=1 c=1", "new a, new b, new c"),
        ] {
            assert_eq!(told(then, now), expected, "{then} to {now}");
        }
    }

    /// Folders of ten files each, as `top/mid/file`.
    fn many(folders: usize, change: &str) -> String {
        let mut files = String::from("readme=1 ");
        for folder in 0..folders {
            for file in 0..10 {
                _ = write!(files, "top{}/mid-{folder}/file-{file}=1 ", folder % 7);
            }
        }
        files + change
    }

    #[test]
    fn a_large_context_is_told_by_folders_and_always_fits() {
        for (folders, change, expected) in [
            (10, "top3/mid-3/file-3=2", "changed top3/mid-3/file-3"),
            (60, "top5/mid-33/file-3=2", "changed top5/mid-33/"),
            (60, "top0/mid-99/x=1", "new top0/mid-99/x"),
            (60, "readme=2", "changed readme"),
            (400, "top3/mid-3/file-3=2", "changed top3/"),
        ] {
            let (then, now) = (many(folders, ""), many(folders, change));
            assert_eq!(told(&then, &now), expected, "{folders} {change}");
            let listing = listing(&now);
            let size = serde_json::to_string(&listing).unwrap().len();
            assert!(size <= LIMIT && listing.size() >= size, "{size}");
        }
        let flat: String = files("a-file-with-a-long-name", 600);
        assert_eq!(told(&flat, &format!("{flat} b=1")), "changed ./");
        assert_eq!(told("a=1", &flat), "changed ./");
    }

    fn files(name: &str, count: usize) -> String {
        (0..count).fold(String::new(), |text, n| format!("{text}{name}-{n}=1 "))
    }

    #[test]
    fn a_context_that_grew_is_compared_by_what_both_know() {
        let few = "top0/mid-0/a=1 top1/mid-1/a=1 ";
        let much: String = files("top1/mid-1/long-name", 300);
        for (change, expected) in [
            ("", "changed top1/mid-1/"),
            ("top0/mid-0/a=2", "changed top0/mid-0/a, changed top1/mid-1/"),
        ] {
            let grown = format!("{few}{much}{change}");
            assert_eq!(told(few, &grown), expected, "{change}");
            assert_eq!(told(&grown, few), expected, "{change}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_shown() {
        let path = Path::new(std::ffi::OsStr::from_bytes(b"a\xff/b"));
        assert_eq!(readable(path), "a\\xff/b");
    }
}
