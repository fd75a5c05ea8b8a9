//! Tests in containers.

use std::time::Duration;

use rebuild::{
    engine::Engine,
    hierarchy::{Check, Test},
};

use super::{Bench, bench::docker, wait_until};

fn run(script: &str, stdout: Option<&str>, seconds: u64) -> Test {
    let argv = ["sh", "-c", script].map(str::to_owned).into();
    let check = Check::Run { argv, stdout: stdout.map(str::to_owned) };
    Test {
        check,
        timeout: Duration::from_secs(seconds),
        network: false,
        read_only: false,
        inherit: true,
    }
}

#[tokio::test]
async fn a_test_passes_or_says_what_was_wrong() {
    let Some(bench) = Bench::new("run").await else { return };
    // An entry point, a command and a health check that no test may meet.
    let lines = "ENTRYPOINT [\"/bin/false\"]\nCMD [\"no\"]\nHEALTHCHECK CMD false\nUSER 7:8";
    let image = bench.build("1", lines).await;
    let long = "busybox seq 1 40000";
    for (test, failure, output) in [
        (run("echo out; echo err >&2", None, 60), None, "out\nerr\n"),
        (run("echo out; exit 3", None, 60), Some("exit code 3"), "out\n"),
        (run("echo 'ruby 3.4.1'", Some(r"^ruby 3\.\d"), 60), None, "ruby 3.4.1\n"),
        (run("echo 3 >&2", Some("3"), 60), Some("stdout does not match `3`"), "3\n"),
        (run("exit 4", Some("3"), 60), Some("exit code 4"), ""),
        (
            run("echo x", Some("("), 60),
            Some(
                "`stdout` is not a pattern: regex parse error:\n    (\n    ^\nerror: unclosed group",
            ),
            "",
        ),
        (run("echo begun; sleep 61301", None, 3), Some("still running after 3 seconds"), "begun\n"),
        (run("busybox id -u; busybox id -g", None, 60), None, "7\n8\n"),
        (run("busybox ls /sys/class/net", None, 60), None, "lo\n"),
        (run("busybox grep NoNewPrivs /proc/self/status", Some("1"), 60), None, "NoNewPrivs:\t1\n"),
    ] {
        let result = bench.docker.test(&image, &test, &bench.name).await.unwrap();
        assert_eq!(result.failure.as_deref(), failure, "{test:?}");
        let (mut said, mut expected): (Vec<_>, Vec<_>) = (
            String::from_utf8(result.output).unwrap().lines().map(str::to_owned).collect(),
            output.lines().map(str::to_owned).collect(),
        );
        // stdout and stderr come over two pipes.
        said.sort();
        expected.sort();
        assert_eq!(said, expected, "{test:?}");
    }

    let result = bench.docker.test(&image, &run(long, Some("(?m)^1$"), 60), &bench.name).await;
    let result = result.unwrap();
    assert_eq!((result.failure, result.output.len()), (None, 64 << 10));
    assert!(result.output.ends_with(b"39999\n40000\n"));

    let mut missing = run("", None, 60);
    missing.check = Check::Run { argv: vec!["/bin/nothing".to_owned()], stdout: None };
    let failure = bench.docker.test(&image, &missing, &bench.name).await.unwrap().failure.unwrap();
    assert!(
        failure.starts_with("it cannot be started: ") && failure.contains("/bin/nothing"),
        "{failure}"
    );

    let memory = run("tail /dev/zero", None, 120);
    let result = bench.docker.test(&image, &memory, &bench.name).await.unwrap();
    assert_eq!(
        result.failure.as_deref(),
        Some("exit code 137, out of memory (the limit is 512 MiB)")
    );
    assert_eq!(left(&bench.name), "");
    bench.clean().await;
}

/// What is left of the default of docker. The default of podman has no more. `CHOWN`, `DAC_OVERRIDE`,
/// `FOWNER`, `FSETID`, `KILL`, `SETGID`, `SETUID`, `SETPCAP`, `NET_BIND_SERVICE`.
const LEFT: u64 = 0b101_1111_1011;

#[tokio::test]
async fn a_test_has_few_capabilities_and_limits() {
    let Some(bench) = Bench::new("confined").await else { return };
    let image = bench.build("1", "RUN mkdir -p /tmp && busybox touch /tmp/of-the-image").await;
    let limits = "busybox grep CapEff /proc/self/status; busybox mknod /dev/x c 1 3 || echo no device; \
                  busybox chroot / busybox true || echo no chroot; echo x >/written && echo written";
    let result = bench.docker.test(&image, &run(limits, None, 60), &bench.name).await.unwrap();
    let output = String::from_utf8(result.output).unwrap();
    assert_eq!(result.failure, None, "{output}");
    let effective = output.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let effective = u64::from_str_radix(effective.trim(), 16).unwrap();
    assert_eq!(effective & !LEFT, 0, "{effective:b}");
    for line in ["no device", "no chroot", "written"] {
        assert!(output.lines().any(|it| it == line), "{line}: {output}");
    }

    let script = "echo x >/written || echo read-only; echo x >/tmp/written && busybox ls /tmp";
    let read_only = Test { read_only: true, ..run(script, None, 60) };
    let result = bench.docker.test(&image, &read_only, &bench.name).await.unwrap();
    let output = String::from_utf8(result.output).unwrap();
    assert_eq!(result.failure, None, "{output}");
    for line in ["read-only", "written"] {
        assert!(output.lines().any(|it| it == line), "{line}: {output}");
    }
    bench.clean().await;
}

const ILL: &str = "not healthy after 4 seconds: it hurts";

#[tokio::test]
async fn an_image_shows_its_health() {
    let Some(bench) = Bench::new("health").await else { return };
    let healthy = |check: &str| {
        format!("HEALTHCHECK --interval=1s --retries=1 CMD {check}\nCMD echo begun; sleep 61401")
    };
    for (tag, lines, seconds, failure, output) in [
        ("well", healthy("true"), 60, None, "begun\n"),
        ("ill", healthy("echo it hurts; exit 1"), 4, Some(ILL), "begun\n"),
        // Asked more often than the image says, and not given up as soon as it says.
        (
            "late",
            "HEALTHCHECK --interval=30s --retries=1 CMD test -e /ok\n\
             CMD echo begun; sleep 3; touch /ok; sleep 61401"
                .to_owned(),
            20,
            None,
            "begun\n",
        ),
        ("slow", healthy("sleep 50"), 3, Some("not healthy after 3 seconds"), "begun\n"),
        (
            "ends",
            "HEALTHCHECK CMD true\nCMD echo bye; exit 5".to_owned(),
            60,
            Some("it ended before it was healthy: exit code 5"),
            "bye\n",
        ),
        ("none", "CMD sleep 61402".to_owned(), 60, Some("the image has no HEALTHCHECK"), ""),
        (
            "off",
            "HEALTHCHECK NONE\nCMD sleep 61403".to_owned(),
            60,
            Some("the image has no HEALTHCHECK"),
            "",
        ),
    ] {
        let image = bench.build(tag, &lines).await;
        let timeout = Duration::from_secs(seconds);
        let test = Test {
            check: Check::Healthy,
            timeout,
            network: false,
            read_only: false,
            inherit: false,
        };
        let result = bench.docker.test(&image, &test, &bench.name).await.unwrap();
        assert_eq!(result.failure.as_deref(), failure, "{tag}");
        assert_eq!(String::from_utf8(result.output).unwrap(), output, "{tag}");
    }
    assert_eq!(left(&bench.name), "");
    bench.clean().await;
}

#[tokio::test]
async fn a_dropped_test_leaves_no_container() {
    let Some(bench) = Bench::new("dropped").await else { return };
    let image = bench.build("1", "").await;
    // At once, while it is made, and while it runs.
    for wait_for_it in [false, true] {
        let (docker, image, name) = (bench.docker.clone(), image.clone(), bench.name.clone());
        let mut test =
            Box::pin(
                async move { docker.test(&image, &run("sleep 61501", None, 600), &name).await },
            );
        if wait_for_it {
            let task = tokio::spawn(test);
            wait_until("the container is there", || left(&bench.name).contains("Up")).await;
            let ours = bench.docker.leftovers().await.unwrap();
            assert!(ours.iter().any(|left| left.run == bench.name), "{ours:?}");
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        } else {
            let begun = tokio::time::timeout(Duration::from_millis(5), &mut test).await;
            assert!(begun.is_err(), "{begun:?}");
            drop(test);
        }
        bench.docker.quiesce().await;
        assert_eq!(left(&bench.name), "");
    }
    bench.clean().await;
}

#[tokio::test]
async fn leftovers_of_a_run_are_removed_and_no_others() {
    let Some(bench) = Bench::new("leftovers").await else { return };
    let image = bench.build("1", "").await;
    let (mine, other) = (bench.name.clone(), format!("{}-other", bench.name));
    for run in [&mine, &other] {
        let label = format!("rebuild.run={run}");
        docker(&["create", "--label", &label, image.as_str(), "sh"]);
    }
    assert_eq!(bench.docker.remove_leftovers(&mine).await.unwrap(), 1);
    assert_eq!(left(&mine), "");
    assert_ne!(left(&other), "");
    assert_eq!(bench.docker.remove_leftovers(&other).await.unwrap(), 1);
    assert_eq!(bench.docker.remove_leftovers(&other).await.unwrap(), 0);
    bench.clean().await;
}

/// What `docker` knows of a run's containers.
fn left(run: &str) -> String {
    let filter = format!("label=rebuild.run={run}");
    docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Status}}"])
}
