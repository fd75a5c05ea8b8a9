use std::io::{self, Cursor, Read as _, Write as _};

use ::tar::{Builder, EntryType, Header};
use flate2::{Compression as Level, write::GzEncoder};

use super::*;
use crate::image::Digest;

fn header(size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// A tar of these files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (path, content) in files {
        tar.append_data(&mut header(content.len()), path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Level::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn all(mut input: impl io::Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn decompressed(bytes: &[u8]) -> Result<Vec<u8>, String> {
    all(decompress(bytes).map_err(|error| error.to_string())?)
}

#[test]
fn compression_is_recognized_by_the_first_bytes() {
    let content = b"0123456789".repeat(40_000);
    // As zstd:chunked: frames, and frames to skip with a table of contents.
    let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"toc"].concat();
    let chunked =
        [&skipped[..], &zstd(&content[..1000]), &zstd(&content[1000..]), &skipped].concat();
    let members = [gzip(&content[..7]), gzip(&content[7..])].concat();
    for (name, packed) in [
        ("plain", content.clone()),
        ("gzip", gzip(&content)),
        ("several members", members),
        ("zstd", zstd(&content)),
        ("chunked", chunked),
    ] {
        assert_eq!(decompressed(&packed).unwrap(), content, "{name}");
        if name != "plain" {
            for length in [20, packed.len() / 2, packed.len() - 1] {
                decompressed(&packed[..length]).unwrap_err();
            }
        }
        let mut stream = decompress(Hashed::new(&packed[..])).unwrap();
        io::copy(&mut stream, &mut io::sink()).unwrap();
        assert_eq!(stream.into_inner().finish().unwrap(), Digest::of(&packed), "{name}");
    }
    for (bytes, expected) in [
        (&b"\xfd7zXZ\0..."[..], "a layer compressed with xz, which is not supported"),
        (b"BZh91AY&SY", "a layer compressed with bzip2, which is not supported"),
    ] {
        assert_eq!(decompressed(bytes).unwrap_err(), expected);
    }
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa0, 0x01, 0, 0];
    assert!(decompressed(&window).unwrap_err().starts_with("damaged zstd data: "));
    assert_eq!(decompressed(b"").unwrap(), b"");
}

#[test]
fn layers_of_an_archive_are_found_by_their_digest() {
    let layers = [tar(&[("a", b"1")]), tar(&[("b", b"2")]), tar(&[])];
    let archive = tar(&[
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("0/layer.tar", &layers[0]),
        ("blobs/sha256/aa", &gzip(&layers[1])),
        ("blobs/sha256/bb", &zstd(&layers[2])),
        ("manifest.json", b"[]"),
    ]);
    let mut found = (Vec::new(), Vec::new());
    each_file(&archive[..], &mut |file| {
        match file {
            ArchivedFile::Layer(tar) => found.0.push(Hashed::new(tar).finish()?),
            ArchivedFile::Document { path, content } => found.1.push((path, content.len())),
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(found.0, layers.each_ref().map(|layer| Digest::of(layer)));
    assert_eq!(found.1, [("oci-layout".to_owned(), 30), ("manifest.json".to_owned(), 2)]);
    // What a visitor does not read is skipped.
    let mut files = 0;
    each_file(&archive[..], &mut |_| {
        files += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(files, 5);
    let xz = tar(&[("0/layer.tar", b"\xfd7zXZ\0...")]);
    let error = each_file(&xz[..], &mut |_| Ok(())).unwrap_err().to_string();
    assert_eq!(error, "`0/layer.tar`: a layer compressed with xz, which is not supported");
}

#[test]
fn effects_of_entries() {
    let effect = |kind: EntryType, path: &[u8], target: &str| {
        let mut header = header(0);
        header.set_entry_type(kind);
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        if !target.is_empty() {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_cksum();
        let mut tar = Builder::new(Vec::new());
        tar.append(&header, io::empty()).unwrap();
        let tar = tar.into_inner().unwrap();
        let head = Entries::new(&tar[..]).next().unwrap().unwrap();
        match EntryEffect::of(&head) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(effect)) => match effect {
                EntryEffect::Put { path } => format!("put {}", path.escape_ascii()),
                EntryEffect::HardLink { path, target } => {
                    format!("{} = {}", path.escape_ascii(), target.escape_ascii())
                }
                EntryEffect::Whiteout { path } => format!("no {}", path.escape_ascii()),
                EntryEffect::Opaque { folder } => format!("empty {}", folder.escape_ascii()),
            },
            Err(error) => error.to_string(),
        }
    };
    let file = EntryType::Regular;
    for (kind, path, target, expected) in [
        (file, &b"./a//b"[..], "", "put a/b"),
        (file, b"/a", "", "put a"),
        (EntryType::Directory, b"./", "", "put "),
        (file, b"a/../b", "", "`a/../b`, a path with `..`"),
        (EntryType::Link, b"b", "./a", "b = a"),
        (EntryType::Link, b"b", "../a", "`../a`, a path with `..`"),
        (EntryType::Symlink, b"b", "../a", "put b"),
        (file, b"a/.wh.b", "", "no a/b"),
        (file, b".wh.b", "", "no b"),
        (file, b"a/.wh..wh..opq", "", "empty a"),
        (file, b".wh..wh..opq", "", "empty "),
        (EntryType::Directory, b".wh..wh.plnk", "", "nothing"),
        (file, b".wh..wh.plnk/1.2", "", "nothing"),
    ] {
        assert_eq!(effect(kind, path, target), expected);
    }
}

#[test]
fn files_with_holes() {
    // GNU tar's old format, with a map that continues behind the header.
    let mut header = header(3);
    header.set_entry_type(EntryType::GNUSparse);
    header.set_path("old").unwrap();
    let gnu = header.as_gnu_mut().unwrap();
    gnu.realsize = *b"00000100000\0";
    gnu.isextended = [1];
    header.set_cksum();
    let old = [header.as_bytes(), &[0; 512][..], b"abc", &[0; 509], &[0; 1024]].concat();
    // Format 1.0: the map is a part of the content.
    let mut pax = Builder::new(Vec::new());
    let records = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.name", b"new"),
        ("GNU.sparse.realsize", b"32768"),
    ];
    pax.append_pax_extensions(records).unwrap();
    pax.append_data(&mut self::header(3), "GNUSparseFile.0/new", &b"abc"[..]).unwrap();
    let pax = pax.into_inner().unwrap();
    for (name, tar) in [("old", old), ("new", pax)] {
        let mut entries = Entries::new(&tar[..]);
        let head = entries.next().unwrap().unwrap();
        assert_eq!(
            (head.path.as_slice(), head.size, head.sparse),
            (name.as_bytes(), 3, Some(32768))
        );
        assert_eq!(all(&mut entries).unwrap(), b"abc");
        assert!(entries.next().unwrap().is_none(), "{name}");
    }
}

#[test]
fn long_names_come_before_their_entry() {
    let long = "x/".repeat(200);
    let name = |format: &str| {
        let mut tar = Builder::new(Vec::new());
        let mut header = if format == "gnu" { Header::new_gnu() } else { Header::new_ustar() };
        header.set_size(1);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        if format == "pax" {
            let records = [
                ("SCHILY.xattr.user.a", &b"1\n2"[..]),
                ("path", long.as_bytes()),
                ("size", b"1"),
                ("uid", b"3000000"),
            ];
            tar.append_pax_extensions(records).unwrap();
            header.set_path("short").unwrap();
            header.set_size(0);
            header.set_cksum();
            // What the records say is the truth: the header says that it is empty.
            let mut bytes = tar.into_inner().unwrap();
            bytes.truncate(bytes.len() - 1024);
            bytes.extend(header.as_bytes());
            bytes.extend([&b"1"[..], &[0; 511], &[0; 1024]].concat());
            return bytes;
        }
        header.set_uid(3_000_000);
        tar.append_data(&mut header, &long, &b"1"[..]).unwrap();
        tar.into_inner().unwrap()
    };
    let mut heads = Vec::new();
    for format in ["gnu", "pax"] {
        let mut entries = Entries::new(Cursor::new(name(format)));
        let head = entries.next().unwrap().unwrap();
        let mut content = String::new();
        entries.read_to_string(&mut content).unwrap();
        assert!(entries.next().unwrap().is_none());
        heads.push((head.path, head.size, head.user, content));
    }
    assert_eq!(heads[0], heads[1]);
    assert_eq!(heads[0], (long.into_bytes(), 1, 3_000_000, "1".to_owned()));
}
