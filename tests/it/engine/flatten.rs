//! Layers made one, on the real engine: exported, merged, and loaded.

use std::fs;

use rebuild::{
    engine::{Engine, Flattening, LocalImage},
    image::{Digest, Repository, Tagged},
};
use serde_json::json;
use tar::{Builder, EntryType, Header};

use super::{Bench, bench::docker};
use crate::support::saved::{Saved, entries};

/// `cap_net_bind_service+ep`, as the file system keeps it.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A layer of lines: type, path, and `key=value`.
fn layer(lines: &str) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let (kind, path) = (words.next().unwrap(), words.next().unwrap());
        let mut header = Header::new_ustar();
        header.set_mode(if kind == "5" { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        let mut content = "";
        for (key, value) in words.map(|word| word.split_once('=').unwrap()) {
            match key {
                "is" => content = value,
                "to" => header.set_link_name(value).unwrap(),
                "mode" => header.set_mode(u32::from_str_radix(value, 8).unwrap()),
                "owner" => {
                    header.set_uid(value.parse().unwrap());
                    header.set_gid(value.parse().unwrap());
                }
                "time" => header.set_mtime(value.parse().unwrap()),
                "device" => {
                    header.set_device_major(1).unwrap();
                    header.set_device_minor(value.parse().unwrap()).unwrap();
                }
                "capability" => {
                    let record = ("SCHILY.xattr.security.capability", CAPABILITY);
                    tar.append_pax_extensions([record]).unwrap();
                }
                _ => panic!("{key}"),
            }
        }
        header.set_entry_type(EntryType::new(kind.as_bytes()[0]));
        header.set_path(path).unwrap();
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// An image of these layers in the engine.
async fn load(bench: &Bench, tag: &str, layers: &[&str]) -> LocalImage {
    let layers: Vec<Vec<u8>> = layers.iter().map(|lines| layer(lines)).collect();
    let digests: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let history: Vec<_> =
        (0..layers.len()).map(|n| json!({ "created_by": format!("RUN {n}") })).collect();
    let config = json!({
        "architecture": bench.info.platform.architecture,
        "os": "linux",
        "created": "2026-11-20T12:00:00Z",
        "config": {
            "Cmd": ["/bin/x"],
            "Env": ["A=<&>"],
            "Labels": { "a": "b" },
            "Healthcheck": { "Test": ["CMD", "/bin/x"], "Interval": 30_000_000_000_u64 },
            "StopSignal": "SIGUSR1",
        },
        "rootfs": { "type": "layers", "diff_ids": digests },
        "history": history,
    });
    let name = bench.tagged(tag);
    let files: Vec<String> = (0..layers.len()).map(|n| format!("{n}.tar")).collect();
    let list =
        json!([{ "Config": "config.json", "RepoTags": [name.to_string()], "Layers": files }]);
    let mut tar = Builder::new(Vec::new());
    let mut add = |path: &str, content: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content).unwrap();
    };
    for (file, layer) in files.iter().zip(&layers) {
        add(file, layer);
    }
    add("config.json", &serde_json::to_vec(&config).unwrap());
    add("manifest.json", &serde_json::to_vec(&list).unwrap());
    let path = bench.folder().join("image.tar");
    fs::write(&path, tar.into_inner().unwrap()).unwrap();
    docker(&["load", "--input", path.to_str().unwrap()]);
    bench.docker.inspect(&name.to_string()).await.unwrap().unwrap()
}

async fn flatten(bench: &Bench, image: &LocalImage, kept: usize, tag: &str) -> Saved {
    let name = flat(bench, tag);
    let flat = bench.docker.flatten(image, &Flattening { kept, name: name.clone() }).await.unwrap();
    assert_eq!((&flat.config, &flat.labels), (&image.config, &image.labels));
    assert_eq!(flat.platform, image.platform);
    let saved = Saved::of(&name.to_string());
    assert_eq!(saved.diff_ids(), flat.layers.iter().map(ToString::to_string).collect::<Vec<_>>());
    saved
}

/// As a run names it: containerd takes a name in an archive as it is.
fn flat(bench: &Bench, tag: &str) -> Tagged {
    let repository: Repository = format!("rebuild.invalid/it/{}", bench.name).parse().unwrap();
    repository.tagged(tag.parse().unwrap())
}

const BASE: &str = "\
5 bin/
0 bin/x mode=4755 owner=7 time=1234567890 capability=
0 bin/one is=1
1 bin/two to=bin/one
2 bin/link to=one
5 dev/
3 dev/null device=3 mode=666
6 dev/pipe
5 etc/
0 etc/a is=a
0 etc/b is=b
5 var/ mode=700
0 var/old is=old
0 var/older is=older";

const OWN: [&str; 2] = [
    "\
5 bin/
0 bin/x mode=755 owner=7 time=1234567890 capability=
0 bin/.wh.one
0 new is=new
5 etc/
0 etc/.wh.a",
    "\
5 etc/
0 etc/c is=c
1 etc/d to=etc/c
5 var/ mode=750
0 var/.wh..wh..opq
0 var/new is=new
0 .wh.new",
];

#[tokio::test]
async fn everything_that_a_layer_can_hold_is_in_the_one_layer() {
    let bench = Bench::new("flatten").await;
    let image = load(&bench, "layers", &[BASE, OWN[0], OWN[1]]).await;
    let whole = flatten(&bench, &image, 0, "whole").await;
    let cap = "SCHILY.xattr.security.capability=\\x01\\x00\\x00\\x02\\x00\\x04\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00";
    assert_eq!(
        entries(&whole.layers[0]),
        [
            "5 bin/ 755 0:0 1700000000".to_owned(),
            "2 bin/link -> one 777 0:0 1700000000".to_owned(),
            "0 bin/two 644 0:0 1700000000 \"1\"".to_owned(),
            format!("0 bin/x 755 7:7 1234567890 {cap}"),
            "5 dev/ 755 0:0 1700000000".to_owned(),
            "3 dev/null 1:3 666 0:0 1700000000".to_owned(),
            "6 dev/pipe 644 0:0 1700000000".to_owned(),
            "5 etc/ 755 0:0 1700000000".to_owned(),
            "0 etc/b 644 0:0 1700000000 \"b\"".to_owned(),
            "0 etc/c 644 0:0 1700000000 \"c\"".to_owned(),
            "1 etc/d -> etc/c 644 0:0 1700000000".to_owned(),
            "5 var/ 750 0:0 1700000000".to_owned(),
            "0 var/new 644 0:0 1700000000 \"new\"".to_owned(),
        ]
    );
    assert_eq!(whole.steps(), ["rebuild: flatten"]);
    assert_eq!(whole.config["config"]["Healthcheck"]["Interval"], 30_000_000_000_u64);
    assert_eq!(whole.config["config"]["StopSignal"], "SIGUSR1");

    let own = flatten(&bench, &image, 1, "own").await;
    assert_eq!(own.diff_ids()[0], image.layers[0].to_string(), "the base's layer stays");
    assert_eq!(Digest::of(&own.layers[0]), image.layers[0]);
    assert_eq!(
        entries(&own.layers[1]),
        [
            "5 bin/ 755 0:0 1700000000".to_owned(),
            "0 bin/.wh.one 644 0:0 0".to_owned(),
            format!("0 bin/x 755 7:7 1234567890 {cap}"),
            "5 etc/ 755 0:0 1700000000".to_owned(),
            "0 etc/.wh.a 644 0:0 0".to_owned(),
            "0 etc/c 644 0:0 1700000000 \"c\"".to_owned(),
            "1 etc/d -> etc/c 644 0:0 1700000000".to_owned(),
            "5 var/ 750 0:0 1700000000".to_owned(),
            "0 var/.wh..wh..opq 644 0:0 0".to_owned(),
            "0 var/new 644 0:0 1700000000 \"new\"".to_owned(),
        ]
    );
    assert_eq!(own.steps(), ["RUN 0", "rebuild: flatten"]);
    // The same content again, in other layers.
    let again = flatten(&bench, &image, 0, "again").await;
    assert_eq!(again.diff_ids(), whole.diff_ids());
    let twice = bench.docker.inspect(&flat(&bench, "own").to_string()).await.unwrap().unwrap();
    let twice = flatten(&bench, &twice, 0, "twice").await;
    assert_eq!(twice.diff_ids(), whole.diff_ids(), "the layers of the layers do not matter");
    for tag in ["whole", "own", "again", "twice"] {
        bench.docker.untag(&flat(&bench, tag)).await.unwrap();
    }
    bench.clean().await;
}
