//! Questions to images.

use std::time::Duration;

use rebuild::engine::{Engine, ImageCommand, Network, ProbeOutput};

use super::{Bench, bench::left, wait_until};

fn probe(script: &str, network: Network, seconds: u64) -> ImageCommand {
    let argv = ["sh", "-c", script].map(str::to_owned).into();
    ImageCommand { argv, network, timeout: Duration::from_secs(seconds) }
}

#[tokio::test]
#[ignore = "slow: CONTRIBUTING.md"]
async fn an_image_is_asked_as_root_and_without_its_settings() {
    let bench = Bench::new("probe").await;
    let lines = "ENTRYPOINT [\"/bin/false\"]\nCMD [\"no\"]\nHEALTHCHECK CMD false\nUSER 7:8\n\
                 WORKDIR /bin\nVOLUME /data";
    let image = bench.build("1", lines).await;
    for (script, network, stdout, stderr, exit_code) in [
        ("echo out; echo err >&2; exit 3", Network::None, "out\n", "err\n", 3),
        ("busybox id -u; busybox id -g; busybox pwd", Network::None, "0\n0\n/\n", "", 0),
        ("busybox ls /sys/class/net", Network::None, "lo\n", "", 0),
        ("busybox ls /sys/class/net | busybox wc -l", Network::Default, "2\n", "", 0),
        ("busybox grep NoNewPrivs /proc/self/status", Network::None, "NoNewPrivs:\t1\n", "", 0),
    ] {
        let asked = bench.docker.probe(&image, &probe(script, network, 60), &bench.name).await;
        let (stdout, stderr) = (stdout.as_bytes().to_vec(), stderr.as_bytes().to_vec());
        assert_eq!(asked, Ok(ProbeOutput { stdout, stderr, exit_code }), "{script}");
    }
    // Each line is one in JSON in the engine's log.
    let script = "busybox yes a-line-as-long-as-one-in-a-list-of-packages-with-their-versions \
                  | busybox head -c 8000000; echo end";
    let asked = bench.docker.probe(&image, &probe(script, Network::None, 60), &bench.name).await;
    let stdout = asked.unwrap().stdout;
    assert!(stdout.starts_with(b"a-line-") && stdout.ends_with(b"end\n"));
    assert_eq!(stdout.len(), 8_000_004);

    for (script, seconds, error) in [
        (
            "busybox yes a-line-as-long-as-one-in-a-list-of-packages | busybox head -c 9000000",
            60,
            "probing: the engine answered: it printed more than 8 MiB",
        ),
        ("echo begun; sleep 61701", 2, "probing took longer than its timeout of 2 seconds"),
    ] {
        let probe = probe(script, Network::None, seconds);
        let asked = bench.docker.probe(&image, &probe, &bench.name).await;
        assert_eq!(asked.unwrap_err().to_string(), error, "{script}");
    }
    let nothing =
        ImageCommand { argv: vec!["/bin/nothing".to_owned()], ..probe("", Network::None, 60) };
    let error = bench.docker.probe(&image, &nothing, &bench.name).await.unwrap_err().to_string();
    assert!(error.contains("/bin/nothing"), "{error}");

    assert_eq!(left(&bench.name), "");
    bench.clean().await;
}

#[tokio::test]
async fn a_dropped_probe_leaves_no_container() {
    let bench = Bench::new("probe-dropped").await;
    let image = bench.build("1", "").await;
    let (engine, name) = (bench.docker.clone(), bench.name.clone());
    let task = tokio::spawn(async move {
        engine.probe(&image, &probe("sleep 61702", Network::None, 600), &name).await
    });
    wait_until("the container is there", || left(&bench.name).contains("Up")).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    bench.docker.quiesce().await;
    assert_eq!(left(&bench.name), "");
    bench.clean().await;
}
