//! Tests in containers.

use std::time::Duration;

use rebuild::{
    engine::{Docker, Engine, TestProgress},
    hierarchy::{Check, Test},
    image::Digest,
};

use super::{
    Bench,
    bench::{docker, left},
    wait_until,
};

fn run(script: &str, stdout: Option<&str>, seconds: u64) -> Test {
    let argv = ["sh", "-c", script].map(str::to_owned).into();
    let check = Check::Run { argv, stdout: stdout.map(str::to_owned) };
    Test {
        check,
        timeout: Duration::from_secs(seconds),
        network: false,
        read_only: false,
        isolated: false,
        inherit: true,
    }
}

/// The failure, and everything that the tests printed.
async fn tested(
    docker: &Docker,
    image: &Digest,
    tests: &[&Test],
    run: &str,
) -> (Option<String>, String) {
    let mut output = Vec::new();
    let failure = docker
        .test(image, tests, run, |progress| {
            if let TestProgress::Output(bytes) = progress {
                output.extend(bytes);
            }
        })
        .await
        .unwrap();
    // Containers are removed in the background.
    docker.quiesce().await;
    (failure, String::from_utf8(output).unwrap())
}

#[tokio::test]
async fn a_test_passes_or_says_what_was_wrong() {
    let bench = Bench::new("run").await;
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
        // Alone, and after another test in a shared container.
        for number in [1, 2] {
            let first = run("exit 0", None, 60);
            let tests = [&first, &test];
            let tests = &tests[2 - number..];
            let (failed, said) = tested(&bench.docker, &image, tests, &bench.name).await;
            assert_eq!(failed.as_deref(), failure, "{test:?}, {number}");
            let [mut said, mut expected] =
                [&said[..], output].map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
            // stdout and stderr come over two pipes.
            said.sort();
            expected.sort();
            assert_eq!(said, expected, "{test:?}, {number}");
        }
    }

    let long = run(long, Some("(?m)^1$"), 60);
    for tests in [&[&long][..], &[&run("exit 0", None, 60), &long]] {
        let (failure, output) = tested(&bench.docker, &image, tests, &bench.name).await;
        let (mark, kept) = output.split_once('\n').unwrap();
        assert!(mark.starts_with("… ") && mark.ends_with(" bytes before these"), "{mark}");
        assert_eq!((failure, kept.len()), (None, 64 << 10));
        assert!(kept.ends_with("39999\n40000\n"));
    }

    let mut missing = run("", None, 60);
    missing.check = Check::Run { argv: vec!["/bin/nothing".to_owned()], stdout: None };
    let memory = run("tail /dev/zero", None, 120);
    for tests in [&[][..], &[&run("exit 0", None, 60)]] {
        let [missing, memory] = [&missing, &memory].map(|last| [tests, &[last]].concat());
        let (failure, _) = tested(&bench.docker, &image, &missing, &bench.name).await;
        assert_eq!(failure.as_deref(), Some("the image has no program `/bin/nothing`"));
        let (failure, _) = tested(&bench.docker, &image, &memory, &bench.name).await;
        let expected = "exit code 137, out of memory (the limit is 512 MiB)";
        assert_eq!(failure.as_deref(), Some(expected));
    }
    assert_eq!(left(&bench.name), "");
    bench.clean().await;
}

/// What is left of the default of docker. The default of podman has no more. `CHOWN`, `DAC_OVERRIDE`,
/// `FOWNER`, `FSETID`, `KILL`, `SETGID`, `SETUID`, `SETPCAP`, `NET_BIND_SERVICE`.
const LEFT: u64 = 0b101_1111_1011;

#[tokio::test]
async fn a_test_has_few_capabilities_and_limits() {
    let bench = Bench::new("confined").await;
    let image = bench.build("1", "RUN mkdir -p /tmp && busybox touch /tmp/of-the-image").await;
    let limits = "busybox grep CapEff /proc/self/status; busybox mknod /dev/x c 1 3 || echo no device; \
                  busybox chroot / busybox true || echo no chroot; echo x >/written && echo written";
    let limits = run(limits, None, 60);
    for tests in [&[&limits][..], &[&run("exit 0", None, 60), &limits]] {
        let (failure, output) = tested(&bench.docker, &image, tests, &bench.name).await;
        assert_eq!(failure, None, "{output}");
        let effective = output.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        let effective = u64::from_str_radix(effective.trim(), 16).unwrap();
        assert_eq!(effective & !LEFT, 0, "{effective:b}");
        for line in ["no device", "no chroot", "written"] {
            assert!(output.lines().any(|it| it == line), "{line}: {output}");
        }
    }

    let script = "echo x >/written || echo read-only; echo x >/tmp/written && busybox ls /tmp";
    let read_only = Test { read_only: true, ..run(script, None, 60) };
    let (failure, output) = tested(&bench.docker, &image, &[&read_only], &bench.name).await;
    assert_eq!(failure, None, "{output}");
    for line in ["read-only", "written"] {
        assert!(output.lines().any(|it| it == line), "{line}: {output}");
    }
    bench.clean().await;
}

const ILL: &str = "not healthy after 4 seconds: it hurts";
const MUTE: &str = "not healthy after 4 seconds: the last check printed nothing, exit code 1";

#[tokio::test]
async fn an_image_shows_its_health() {
    let bench = Bench::new("health").await;
    let healthy = |check: &str| {
        format!("HEALTHCHECK --interval=1s --retries=1 CMD {check}\nCMD echo begun; sleep 61401")
    };
    for (tag, lines, seconds, failure, output) in [
        ("well", healthy("true"), 60, None, "begun\n"),
        ("ill", healthy("echo it hurts; exit 1"), 4, Some(ILL), "begun\n"),
        ("mute", healthy("exit 1"), 4, Some(MUTE), "begun\n"),
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
            isolated: false,
            inherit: false,
        };
        let (failed, said) = tested(&bench.docker, &image, &[&test], &bench.name).await;
        assert_eq!(failed.as_deref(), failure, "{tag}");
        assert_eq!(said, output, "{tag}");
    }
    assert_eq!(left(&bench.name), "");
    bench.clean().await;
}

#[tokio::test]
async fn a_dropped_test_leaves_no_container() {
    let bench = Bench::new("dropped").await;
    let image = bench.build("1", "").await;
    // At once, while it is made, and while it runs; in its own container, and in a shared one.
    for (wait_for_it, number) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
        let (docker, image, name) = (bench.docker.clone(), image.clone(), bench.name.clone());
        let mut test = Box::pin(async move {
            let sleeps = run("sleep 61501", None, 600);
            docker.test(&image, &vec![&sleeps; number], &name, |_| ()).await
        });
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

/// Each line: what a test prints, and in which container it ran, by its host name.
#[tokio::test]
async fn tests_share_a_container_until_one_leaves_a_trace() {
    let bench = Bench::new("shared").await;
    let image = bench.build("1", "").await;
    let volume = bench.build("2", "VOLUME /data").await;
    let where_ = |script: &str| run(&format!("{script}\nbusybox hostname"), None, 60);
    let same = where_("true");
    let isolated = Test { isolated: true, ..same.clone() };
    let read_only = Test { read_only: true, ..same.clone() };
    for (what, image, tests, containers) in [
        ("nothing is changed", &image, vec![&same, &same, &same, &same], vec![1, 1, 1, 1]),
        ("one alone", &image, vec![&same], vec![1]),
        (
            "a file is written",
            &image,
            vec![&same, &where_("echo x >/x"), &same, &same],
            vec![1, 1, 2, 2],
        ),
        (
            "a process is left",
            &image,
            vec![&where_("sleep 61601 >/dev/null 2>&1 &"), &same, &same],
            vec![1, 2, 2],
        ),
        // It holds the output open after the test has ended.
        ("a process holds the output", &image, vec![&where_("sleep 61602 &"), &same], vec![1, 2]),
        ("traces again and again", &image, vec![&where_("echo >/y"); 4], vec![1, 2, 3, 4]),
        (
            "some need their own",
            &image,
            vec![&same, &isolated, &same, &read_only, &same],
            vec![1, 2, 1, 3, 1],
        ),
        ("writes to a volume cannot be seen", &volume, vec![&same, &same], vec![1, 2]),
    ] {
        let (failure, output) = tested(&bench.docker, image, &tests, &bench.name).await;
        assert_eq!(failure, None, "{what}");
        let mut known = Vec::new();
        let mut number = |name| {
            if let Some(place) = known.iter().position(|it| *it == name) {
                return place + 1;
            }
            known.push(name);
            known.len()
        };
        let found: Vec<usize> = output.lines().map(&mut number).collect();
        assert_eq!(found, containers, "{what}: {output}");
    }
    assert_eq!(left(&bench.name), "");
    bench.clean().await;
}

/// But for the process's number: a program meets the same in both kinds of container.
#[tokio::test]
async fn a_shared_container_is_like_one_of_its_own() {
    let bench = Bench::new("alike").await;
    let lines = "RUN mkdir /there && mkdir -p /tmp && chmod 777 /there\nENV A=b\nWORKDIR /there\nUSER 7:8\n\
                 ENTRYPOINT [\"/bin/false\"]\nCMD [\"no\"]\nHEALTHCHECK CMD false";
    let image = bench.build("1", lines).await;
    let script = "busybox env | busybox grep -v HOSTNAME | busybox sort; busybox pwd; busybox id; umask; ulimit -n; ulimit -u; \
                  busybox grep -E '^(Cap|NoNewPrivs|Seccomp|Groups|SigIgn|SigBlk)' /proc/self/status; \
                  busybox readlink /proc/self/fd/0; test -t 1 || echo no terminal; \
                  busybox ls -a / | busybox grep -v rebuild-init; busybox cut -d' ' -f2- /proc/mounts | busybox cut -d, -f1 | busybox grep ^/ | busybox sort; \
                  busybox cat /proc/self/oom_score_adj /proc/self/cgroup | busybox sed 's/[0-9a-f]\\{64\\}/ID/'";
    let own = Test { isolated: true, ..run(script, None, 60) };
    let shared = run(script, None, 60);
    let (failure, own) = tested(&bench.docker, &image, &[&own], &bench.name).await;
    assert_eq!(failure, None);
    let (failure, both) = tested(&bench.docker, &image, &[&shared, &shared], &bench.name).await;
    assert_eq!(failure, None);
    assert_eq!(both, own.repeat(2));
    bench.clean().await;
}

/// `FROM scratch` with nothing but one program.
#[tokio::test]
async fn tests_share_a_container_of_an_image_without_a_shell() {
    let bench = Bench::new("bare").await;
    let mut request = bench.request("");
    request.dockerfile =
        format!("FROM scratch\nLABEL test={}\nCOPY root/bin/busybox /hostname\n", bench.name);
    let image = bench.docker.build(request, |_| ()).await.unwrap().id;
    bench.docker.tag(&image, &bench.tagged("1")).await.unwrap();
    let check = Check::Run { argv: vec!["/hostname".to_owned()], stdout: None };
    let name = Test { check, ..run("", None, 60) };
    let (failure, output) = tested(&bench.docker, &image, &[&name; 3], &bench.name).await;
    assert_eq!(failure, None, "{output}");
    let names: Vec<&str> = output.lines().collect();
    assert!(names.len() == 3 && names.iter().all(|name| *name == names[0]), "{names:?}");
    bench.clean().await;
}

#[tokio::test]
async fn leftovers_of_a_run_are_removed_and_no_others() {
    let bench = Bench::new("leftovers").await;
    let image = bench.build("1", "").await;
    let (mine, other) = (bench.name.clone(), format!("{}-other", bench.name));
    let label = |run: &str| format!("rebuild.run={run}");
    for run in [&mine, &other] {
        let name = format!("rebuild-{run}-1");
        docker(&["create", "--name", &name, "--label", &label(run), image.as_str(), "sh"]);
    }
    // A user's container of an image with that label.
    let user = format!("{mine}-user");
    docker(&["create", "--name", &user, "--label", &label(&mine), image.as_str(), "sh"]);
    assert_eq!(bench.docker.remove_leftovers(&mine).await.unwrap(), 1);
    assert_eq!(left(&mine).trim(), "Created");
    docker(&["rm", &user]);
    assert_ne!(left(&other), "");
    assert_eq!(bench.docker.remove_leftovers(&other).await.unwrap(), 1);
    assert_eq!(bench.docker.remove_leftovers(&other).await.unwrap(), 0);
    bench.clean().await;
}
