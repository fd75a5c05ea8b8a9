use std::{fmt::Write as _, io::Write as _};

use ::tar::{Builder, EntryType, Header};
use flate2::{Compression, write::GzEncoder};

use super::*;

/// One line an entry: `type path key=value…`, where the type is a letter as `tar tv` shows it, or
/// another to be written as it is. In values and paths, `\n` is a line end and `\xff` no UTF-8.
fn tar(lines: &str) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let (kind, path) = (words.next().unwrap(), words.next().unwrap());
        let mut header = Header::new_ustar();
        header.set_mode(if kind == "d" { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        let mut content = String::new();
        for (key, value) in words.map(|word| word.split_once('=').unwrap()) {
            match key {
                "is" => content = value.replace("\\n", "\n"),
                "to" => header.set_link_name(value).unwrap(),
                "mode" => header.set_mode(u32::from_str_radix(value, 8).unwrap()),
                "user" => header.set_uid(value.parse().unwrap()),
                "group" => header.set_gid(value.parse().unwrap()),
                "time" => header.set_mtime(value.parse().unwrap()),
                "major" => header.set_device_major(value.parse().unwrap()).unwrap(),
                "minor" => header.set_device_minor(value.parse().unwrap()).unwrap(),
                "xattr" => {
                    let value = value.replace("\\n", "\n");
                    let key = "SCHILY.xattr.security.capability";
                    tar.append_pax_extensions([(key, value.as_bytes())]).unwrap();
                }
                _ => panic!("{key}"),
            }
        }
        header.set_entry_type(match kind {
            "-" => EntryType::Regular,
            "d" => EntryType::Directory,
            "l" => EntryType::Symlink,
            "h" => EntryType::Link,
            "c" => EntryType::Char,
            "b" => EntryType::Block,
            "p" => EntryType::Fifo,
            other => EntryType::new(other.as_bytes()[0]),
        });
        // Written past the tar crate, which takes neither `..` nor what is not UTF-8.
        let bytes = path.split("\\xff").map(str::as_bytes).collect::<Vec<_>>().join(&0xff);
        header.as_old_mut().name[..bytes.len()].copy_from_slice(&bytes);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// As `docker save` writes it: things that are no layers, and the layers.
fn archive(layers: &[&[u8]]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let mut add = |path: &str, content: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, path, content).unwrap();
    };
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    add("blobs/sha256/aa", &br#"{"rootfs":{"type":"layers"}}"#.repeat(40));
    for (n, layer) in layers.iter().enumerate() {
        add(&format!("{n}/VERSION"), b"1.0");
        add(&format!("{n}/layer.tar"), layer);
    }
    add("manifest.json", b"[]");
    tar.into_inner().unwrap()
}

fn compared(old: &[&str], new: &[&str], extra: &[&str]) -> String {
    let extra: Vec<String> = extra.iter().map(|&pattern| pattern.to_owned()).collect();
    let tars = |layers: &[&str]| layers.iter().map(|lines| tar(lines)).collect::<Vec<_>>();
    let (old, new) = (tars(old), tars(new));
    let all: Vec<&[u8]> = old.iter().chain(&new).map(|tar| &tar[..]).collect();
    let stack = |tars: &[Vec<u8>]| tars.iter().map(|tar| Digest::of(tar)).collect::<Vec<_>>();
    let volatile = Volatile::new(&extra).unwrap();
    let found = differences(&archive(&all)[..], &stack(&old), &stack(&new), &volatile);
    told(found)
}

fn told(found: io::Result<Vec<PathDifference>>) -> String {
    use std::os::unix::ffi::OsStrExt as _;

    let mut text = String::new();
    match found {
        Ok(found) => {
            for PathDifference { path, what } in found {
                let path = path.as_os_str().as_bytes().escape_ascii();
                write!(text, "{what:?} {path}; ").unwrap();
            }
        }
        Err(error) => write!(text, "error: {error}").unwrap(),
    }
    text
}

#[test]
fn what_counts_as_a_difference() {
    for (old, new, expected) in [
        ("- a is=1", "- a is=1", ""),
        ("- a is=1 time=1", "- a is=1 time=2", ""),
        ("- ./a is=1", "- /a is=1", ""),
        ("- a is=1", "- a is=2", "Changed a; "),
        ("- a is=1", "- a is=1 mode=600", "Changed a; "),
        ("- a is=1", "- a is=1 mode=4644", "Changed a; "),
        ("- a is=1", "- a is=1 user=7", "Changed a; "),
        ("- a is=1", "- a is=1 group=7", "Changed a; "),
        ("- a is=1", "- a is=1 xattr=x", "Changed a; "),
        ("- a xattr=x\\n\\ny", "- a xattr=x\\n\\nz", "Changed a; "),
        ("- a xattr=x\\n\\ny", "- a xattr=x\\n\\ny time=7", ""),
        ("d a time=1", "d a/ time=2", ""),
        ("d a", "d a mode=700", "Changed a; "),
        ("d a", "d a user=7", "Changed a; "),
        ("d a", "- a/ mode=755", ""),
        ("- a", "d a", "Changed a; "),
        ("- a", "d a\n- a/b", "Changed a; New a/b; "),
        ("d .", "", ""),
        ("d . mode=700", "", "Changed .; "),
        ("l a to=b", "l a to=b mode=777 time=9", ""),
        ("l a to=b", "l a to=./b", "Changed a; "),
        ("l a to=b", "l a to=b user=7", "Changed a; "),
        ("l a to=b", "- a is=b", "Changed a; "),
        ("c a major=1 minor=3", "c a major=1 minor=3 time=9", ""),
        ("c a major=1 minor=3", "c a major=1 minor=5", "Changed a; "),
        ("c a major=1 minor=3", "c a major=2 minor=3", "Changed a; "),
        ("c a major=1 minor=3", "b a major=1 minor=3", "Changed a; "),
        ("p a", "p a time=9", ""),
        ("p a", "- a", "Changed a; "),
        // A hard link is the file that it links to.
        ("- a is=1\nh b to=a", "- a is=1\n- b is=1", ""),
        ("- a is=1\nh b to=a", "- b is=1\nh a to=b", ""),
        ("- a is=1\nh b to=./a", "- a is=1\nh b to=a mode=600 user=9", ""),
        ("- a is=1\nh b to=a", "- a is=2\nh b to=a", "Changed a; Changed b; "),
        ("- a is=1 mode=600\nh b to=a", "- a is=1 mode=600\n- b is=1", "Changed b; "),
        ("- a\n- c", "- b\n- c", "Gone a; New b; "),
        ("- \\xff is=1", "- \\xff is=2", "Changed \\xff; "),
        // Sorted as paths are, not as text.
        ("", "d a\n- a/b\n- a-b", "New a; New a/b; New a-b; "),
    ] {
        assert_eq!(compared(&[old], &[new], &[]), expected, "{old:?}, {new:?}");
    }
}

#[test]
fn layers_are_folded() {
    let base = "d a\n- a/b is=1\n- a/c is=2\nd a/d\n- a/d/e is=3\n- a-b is=4";
    for (layers, flat) in [
        (&[base][..], base),
        (&[base, ""], base),
        (&[base, "- a/b is=9"], "d a\n- a/b is=9\n- a/c is=2\nd a/d\n- a/d/e is=3\n- a-b is=4"),
        // Put back as it was, in a layer that the other image does not have.
        (&[base, "d a\n- a/b is=1 time=9"], base),
        (&[base, "- a/.wh.b", "- a/b is=1"], base),
        (&[base, "- a/.wh.b"], "d a\n- a/c is=2\nd a/d\n- a/d/e is=3\n- a-b is=4"),
        (&[base, "- .wh.a"], "- a-b is=4"),
        (&[base, "d a\n- a/.wh.d"], "d a\n- a/b is=1\n- a/c is=2\n- a-b is=4"),
        (&[base, "- .wh.nothing"], base),
        (&[base, "d a mode=700\n- a/.wh..wh..opq\n- a/f"], "d a mode=700\n- a/f\n- a-b is=4"),
        // What it hides is what is below, wherever in the layer it stands.
        (
            &[base, "d a\n- a/f\nd a/g\n- a/g/h\n- a/.wh..wh..opq"],
            "d a\n- a/f\nd a/g\n- a/g/h\n- a-b is=4",
        ),
        (&[base, "- .wh..wh..opq\n- z"], "- z"),
        (&[base, "- a is=x"], "- a is=x\n- a-b is=4"),
        (&[base, "l a to=z"], "l a to=z\n- a-b is=4"),
        (
            &[base, "- a-b is=5", "d a-b\n- a-b/x"],
            "d a\n- a/b is=1\n- a/c is=2\nd a/d\n- a/d/e is=3\nd a-b\n- a-b/x",
        ),
        (
            &[base, "d a mode=700"],
            "d a mode=700\n- a/b is=1\n- a/c is=2\nd a/d\n- a/d/e is=3\n- a-b is=4",
        ),
        // A link to a file of a layer below has its content, even after that is gone.
        (
            &[base, "h l to=a/b", "- a/.wh.b"],
            "d a\n- a/c is=2\nd a/d\n- a/d/e is=3\n- a-b is=4\n- l is=1",
        ),
        (&[base, "- .wh..wh.aufs\nd .wh..wh.plnk\n- .wh..wh.plnk/1.2"], base),
    ] {
        assert_eq!(compared(layers, &[flat], &[]), "", "{layers:?}");
    }
    // The same, seen from both sides of a base that they share.
    let (touched, untouched) = ([base, "- a/.wh.c\n- a-b is=4"], [base, "- x"]);
    assert_eq!(compared(&touched, &untouched, &[]), "New a/c; New x; ");
}

#[test]
fn volatile_paths_do_not_count() {
    for (old, new, extra, expected) in [
        ("- var/log/a is=1", "- var/log/a is=2\n- var/log/b", &[][..], ""),
        ("- var/log/a", "", &[], ""),
        // Somebody may count on these.
        ("- var/log/a is=1", "- var/log/a is=2 user=33", &[], "Changed var/log/a; "),
        ("- var/log/a is=1", "l var/log/a to=/dev/stdout", &[], "Changed var/log/a; "),
        ("", "d var/log/nginx", &[], "New var/log/nginx; "),
        ("d run/app user=7", "d run/app", &[], "Changed run/app; "),
        ("d tmp mode=1777", "d tmp", &[], "Changed tmp; "),
        ("d tmp", "d tmp\nd tmp/x.a8\n- tmp/x.a8/log", &[], ""),
        ("", "d usr/lib/x/__pycache__\n- usr/lib/x/__pycache__/a.pyc", &[], ""),
        ("", "- usr/lib/x/a.pyc", &[], "New usr/lib/x/a.pyc; "),
        (
            "",
            "d proc\nd sys\nd dev\nc dev/null major=1 minor=3\n- .dockerenv\n- etc/hosts",
            &[],
            "",
        ),
        ("- etc/hosts is=1", "- etc/hosts.allow", &[], "New etc/hosts.allow; "),
        ("- var/cache/debconf/config.dat is=1", "", &[], "Gone var/cache/debconf/config.dat; "),
        ("- var/cache/debconf/config.dat-old is=1", "", &[], ""),
        ("- var/lib/dpkg/status is=1", "", &[], "Gone var/lib/dpkg/status; "),
        ("- etc/shadow- is=1", "", &[], ""),
        ("- etc/shadow is=a:*:1::::::", "- etc/shadow is=a:*:2::::::", &[], ""),
        ("- etc/shadow is=a:*:1::::::", "- etc/shadow is=a:x:1::::::", &[], "Changed etc/shadow; "),
        (
            "- etc/shadow is=a:*:1::::::",
            "- etc/shadow mode=600 is=a:*:2::::::",
            &[],
            "Changed etc/shadow; ",
        ),
        ("- x/shadow is=a:*:1::::::", "- x/shadow is=a:*:2::::::", &[], "Changed x/shadow; "),
        // The user's own leave out whatever is there, and may take back what we leave out.
        ("d opt/a\n- opt/a/b is=1", "l opt/b to=x", &["/opt/*"], ""),
        ("d opt/a\n- opt/a/b is=1", "d opt/a", &["opt/*/c"], "Gone opt/a/b; "),
        ("- var/log/a is=1", "- var/log/a is=2", &["!var/log/a"], "Changed var/log/a; "),
        ("- etc/hosts is=1", "- etc/hosts is=2", &["!etc/hosts"], "Changed etc/hosts; "),
        ("- opt/a\n- opt/b", "", &["opt/*", "!opt/b"], "Gone opt/b; "),
    ] {
        assert_eq!(compared(&[old], &[new], extra), expected, "{old:?}, {new:?}, {extra:?}");
    }
    let error = Volatile::new(&["a".to_owned(), "[".to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), "line 2: `[` is not a pattern: a `[` needs its `]`");
}

#[test]
fn what_is_not_whole_is_never_the_same() {
    let layers = [tar("d a\n- a/b is=1"), tar("- a/b is=1 time=9 xattr=x\\ny")];
    let stacks =
        [vec![Digest::of(&layers[0])], vec![Digest::of(&layers[0]), Digest::of(&layers[1])]];
    let volatile = Volatile::new(&[]).unwrap();
    let read = |bytes: &[u8]| differences(bytes, &stacks[0], &stacks[1], &volatile);
    let whole = archive(&[&layers[0], &layers[1]]);
    assert_eq!(told(read(&whole)), "Changed a/b; ");
    // Wherever it is cut, but in the second half of its end.
    for length in 0..=whole.len() - 1024 {
        read(&whole[..length]).unwrap_err();
    }
    // Wherever a byte of a layer is another one.
    let at = |layer: &[u8]| whole.windows(layer.len()).position(|bytes| bytes == layer).unwrap();
    let layer = at(&layers[1])..at(&layers[1]) + layers[1].len();
    for at in layer.step_by(7) {
        let mut other = whole.clone();
        other[at] ^= 0x40;
        read(&other).unwrap_err();
    }
    let missing = archive(&[&layers[0]]);
    let lacks = format!("error: an archive that lacks the layer {}", stacks[1][1]);
    assert_eq!(told(read(&missing)), lacks);
    let zstd = archive(&[&layers[0], b"\x28\xb5\x2f\xfd and so on"]);
    assert!(told(read(&zstd)).starts_with("error: damaged zstd data: "));
}

#[test]
fn malformed_layers() {
    for (layer, expected) in [
        ("h a to=b", "`a`, a link to `b`, which is not there"),
        ("- a/../../b", "`a/../../b`, a path with `..`"),
        ("- a\nh b to=../a", "`../a`, a path with `..`"),
        ("Z a", "`a`, an entry of the unknown type 0x5a"),
        ("S a", "`a`, an entry of the unknown type 0x53"),
        ("x a is=nonsense\n- a", "a malformed pax record"),
        ("x a is=99_a=b\\n\n- a", "a malformed pax record"),
    ] {
        assert_eq!(compared(&[layer], &[""], &[]), format!("error: {expected}"), "{layer:?}");
    }
}

#[test]
fn a_layer_may_be_compressed() {
    let (old, new) = (tar("- a is=1"), tar("- a is=2"));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&new).unwrap();
    let gzip = gzip.finish().unwrap();
    let stacks = ([Digest::of(&old)], [Digest::of(&new)]);
    let volatile = Volatile::new(&[]).unwrap();
    let read =
        |new: &[u8]| told(differences(&archive(&[&old, new])[..], &stacks.0, &stacks.1, &volatile));
    assert_eq!(read(&gzip), "Changed a; ");
    assert!(read(&gzip[..gzip.len() - 9]).starts_with("error: "));
}

#[test]
fn fuzz_tar() {
    const WORDS: [&str; 6] = ["ustar", "\0\0\0", "77777777777", "9 path=x\n", "\u{80}", "../"];
    let mut layer = Builder::new(Vec::new());
    for (path, content) in
        [("etc/passwd", &b"root"[..]), ("a/very/long/path", b""), (".wh.gone", b"")]
    {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        layer.append_data(&mut header, path, content).unwrap();
    }
    let layer = layer.into_inner().unwrap();
    let mut archive = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(layer.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "x/layer.tar", &layer[..]).unwrap();
    let archive = archive.into_inner().unwrap();
    crate::testing::fuzz::each(&[&archive, &layer], &WORDS, |bytes| {
        _ = super::archive::Layers::read(bytes);
    });
}
