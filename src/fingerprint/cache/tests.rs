use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

use tempfile::TempDir;

use super::*;
use crate::fingerprint::context::{Context, ContextManifest};

const MACHINE: &str = "here";

/// Long after any file of these tests was written.
fn later() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(60)
}

fn cache(kept: &[u8]) -> HashCache {
    HashCache::with_clock(kept, MACHINE, later)
}

/// A context whose files are `f` and `d/g`.
fn folder() -> (TempDir, Context) {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("f"), "first").unwrap();
    fs::write(folder.path().join("d/g"), "second").unwrap();
    let context = Context::open(folder.path(), Path::new("Dockerfile")).unwrap();
    (folder, context)
}

fn count(cache: &HashCache) -> usize {
    cache.known().entries.len()
}

/// What is known of the context after it was read once.
fn kept(context: &Context) -> (Vec<u8>, ContextManifest) {
    let cache = cache(&[]);
    let manifest = context.manifest(&cache).unwrap();
    (cache.kept().unwrap(), manifest)
}

/// Every cached hash is wrong, so a test fails that uses one.
fn forged(kept: &[u8]) -> Vec<u8> {
    let cache = cache(kept);
    for (content, _) in cache.known().entries.values_mut() {
        *content = [7; DIGEST];
    }
    cache.known().is_new = true;
    cache.kept().unwrap()
}

#[test]
fn what_is_known_is_not_read_again() {
    let (_folder, context) = folder();
    let (kept, read) = kept(&context);
    let known = cache(&kept);
    assert_eq!(context.manifest(&known).unwrap(), read);
    assert_eq!(known.kept(), None, "nothing new is known");
    // Only a hash that was not computed can be a forged one.
    let believed = context.manifest(&cache(&forged(&kept))).unwrap();
    assert!(believed.entries.iter().all(|(entry, content)| {
        let is_file = entry.path != Path::new("d");
        content.as_ref().map(Digest::bytes) == is_file.then_some([7; DIGEST])
    }));
}

#[test]
fn a_change_is_seen_whatever_it_leaves_as_it_was() {
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let put_back = |path: &Path, time| {
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    };
    // The size stays, and what the file was last modified at is put back.
    let rewrite = |path: &Path| {
        let before = (modified(path), fs::metadata(path).unwrap());
        fs::write(path, "other").unwrap();
        put_back(path, before.0);
        let after = fs::metadata(path).unwrap();
        assert_eq!(
            (after.len(), after.mtime(), after.ino()),
            (5, before.1.mtime(), before.1.ino())
        );
    };
    let replace = |path: &Path| {
        let time = modified(path);
        let new = path.with_extension("new");
        fs::write(&new, "other").unwrap();
        put_back(&new, time);
        fs::rename(&new, path).unwrap();
    };
    let swap = |path: &Path| {
        fs::write(path.with_extension("new"), "other").unwrap();
        fs::remove_file(path).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    };
    for change in [&rewrite as &dyn Fn(&Path), &replace, &swap] {
        let (folder, context) = folder();
        let (kept, before) = kept(&context);
        change(&folder.path().join("f"));
        let known = cache(&kept);
        let now = context.manifest(&known).unwrap();
        assert_eq!(now.digest(), context.digest().unwrap());
        assert_ne!(now.digest(), before.digest());
    }
}

#[test]
fn a_file_that_was_just_written_is_not_taken_in() {
    let (folder, context) = folder();
    let changed = |name: &str| fs::metadata(folder.path().join(name)).unwrap().ctime();
    assert!(changed("f") > 0);
    // By this clock the files are of this very moment, and a second write could look like the first.
    let young = HashCache::read(&[], MACHINE);
    context.manifest(&young).unwrap();
    assert_eq!((count(&young), young.kept()), (0, None));

    // An old time of the file's own does not make it older than it is.
    let file = File::options().write(true).open(folder.path().join("f")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    context.manifest(&young).unwrap();
    assert_eq!(count(&young), 0);

    let settled = cache(&[]);
    context.manifest(&settled).unwrap();
    assert_eq!(count(&settled), 2);

    // Nor is one from the future.
    file.set_modified(SystemTime::now() + 10 * DAY).unwrap();
    let settled = cache(&[]);
    context.manifest(&settled).unwrap();
    assert_eq!(count(&settled), 1);
}

#[test]
fn cut_anywhere_it_is_nothing() {
    let (_folder, context) = folder();
    let (kept, read) = kept(&context);
    for length in 0..kept.len() {
        let cut = cache(&kept[..length]);
        assert_eq!(count(&cut), 0, "{length} of {} bytes", kept.len());
    }
    assert_eq!(context.manifest(&cache(&kept[..kept.len() - 1])).unwrap(), read);
    assert_eq!(count(&cache(&kept)), 2);
}

#[test]
fn with_any_bit_wrong_it_is_nothing() {
    let (_folder, context) = folder();
    let (kept, _) = kept(&context);
    for byte in 0..kept.len() {
        for bit in 0..8 {
            let mut wrong = kept.clone();
            wrong[byte] ^= 1 << bit;
            assert_eq!(count(&cache(&wrong)), 0, "bit {bit} of byte {byte}");
        }
    }
    for garbage in [&b"rebuild hashes 1\n"[..], b"\0", &[0xff; 1000], &[&kept[..], b"x"].concat()] {
        assert_eq!(count(&cache(garbage)), 0);
    }
}

#[test]
fn of_another_machine_or_version_it_is_nothing() {
    let (_folder, context) = folder();
    let (kept, _) = kept(&context);
    assert_eq!(count(&HashCache::with_clock(&kept, "there", later)), 0);
    // Well formed, and of a version to come.
    let end = kept.len() - DIGEST;
    let mut next = kept[..end].to_vec();
    next[HEAD.len() - 2] = b'2';
    let sum = Digest::of(&next).bytes();
    next.extend_from_slice(&sum);
    assert_eq!(count(&cache(&next)), 0);
}

#[test]
fn the_same_files_elsewhere_are_other_files() {
    let (a, b) = (folder(), folder());
    let (kept, _) = kept(&a.1);
    let known = cache(&kept);
    b.1.manifest(&known).unwrap();
    assert_eq!(count(&known), 4);
    let keys = |root: &str, path: &str| key(Path::new(root), Path::new(path), b"stamp");
    assert_ne!(keys("/a/b", "c"), keys("/a", "b/c"));
    assert_ne!(keys("/a", "b"), keys("/a", "c"));
    assert_eq!(PathBuf::from("/a"), Path::new("/a/"), "paths are compared by their bytes");
}

/// On a day of the year 2030.
fn filled(days: &[u32]) -> HashCache {
    let cache = HashCache::with_clock(&[], MACHINE, || 22_000 * DAY);
    for (n, day) in days.iter().enumerate() {
        let key = Digest::of(&n.to_be_bytes()).bytes();
        cache.known().entries.insert(key, (key, *day));
    }
    cache.known().is_new = true;
    cache
}

fn days(kept: &[u8]) -> Vec<u32> {
    let cache = cache(kept);
    let mut days: Vec<u32> = cache.known().entries.values().map(|(_, day)| *day).collect();
    days.sort_unstable();
    days
}

#[test]
fn what_is_of_no_use_any_more_is_dropped() {
    let kept = filled(&[22_000, 21_999, 21_970, 21_969, 0, 22_001, u32::MAX]).kept().unwrap();
    assert_eq!(days(&kept), [21_970, 21_999, 22_000]);

    // To be found makes it new again, once a day.
    let cache = HashCache::with_clock(&kept, MACHINE, || 22_010 * DAY);
    let key = Digest::of(&2_usize.to_be_bytes()).bytes();
    for is_first in [true, false] {
        assert_eq!(cache.get(&key), Some(Digest::from_bytes(&key)));
        assert_eq!(cache.kept().is_some(), is_first);
    }
    cache.known().is_new = true;
    assert_eq!(days(&cache.kept().unwrap()), [21_999, 22_000, 22_010]);
}

#[test]
fn it_does_not_grow_for_ever() {
    let old_and_new = [vec![21_990; MOST], vec![22_000; 10]].concat();
    let kept = filled(&old_and_new).kept().unwrap();
    let days = days(&kept);
    assert_eq!(days.len(), MOST);
    assert_eq!(days.iter().filter(|day| **day == 22_000).count(), 10);
    assert!(kept.len() < 8_000_000);
}
