//! Builds, by whatever builder the engine has.

use std::{fs, sync::mpsc, time::Duration};

use rebuild::{
    engine::{BuildProgress, Capability, Engine, EngineError},
    hierarchy::BuildNetwork,
};

use crate::support::engine::lacks;

use super::{
    Bench,
    bench::{docker, runs},
    wait_until,
};

#[tokio::test]
async fn a_build_is_an_image_with_all_that_was_asked_for() {
    let bench = Bench::new("success").await;
    let mut request = bench.request(
        "FROM scratch AS other\nFROM scratch\nARG WHAT\nCOPY root /\n\
         RUN echo \"out-$WHAT\"; echo \"err-$WHAT\" >&2\nCMD [\"sh\"]",
    );
    // Or a run of yesterday has said it all.
    request.no_cache = true;
    request.build_args.insert("WHAT".to_owned(), "a b&c=d".to_owned());
    request.labels.insert("of".to_owned(), "\"us\" & them".to_owned());
    request.labels.insert("$HOME".to_owned(), "$$ ${HOME} '${x' \\$1 é".to_owned());
    let (steps, output, built) = bench.told(request).await;
    let id = built.unwrap();
    bench.docker.tag(&id, &bench.tagged("1")).await.unwrap();
    // BuildKit fills in the arguments.
    let run = if bench.info.capabilities.has(Capability::BuildKit) {
        "RUN echo \"out-a b&c=d\"; echo \"err-a b&c=d\" >&2"
    } else {
        "RUN echo \"out-$WHAT\"; echo \"err-$WHAT\" >&2"
    };
    assert!(steps.iter().any(|step| step.ends_with(run)), "{steps:?}");
    let lines: Vec<_> = output.lines().map(|line| line.replace("\u{1b}[91m", "")).collect();
    for line in ["out-a b&c=d", "err-a b&c=d"] {
        assert!(lines.iter().any(|l| l.replace("\u{1b}[0m", "") == line), "{output}");
    }

    let image = bench.docker.inspect(id.as_str()).await.unwrap().unwrap();
    assert_eq!(image.id, id);
    assert_eq!(image.platform, bench.info.platform);
    assert_eq!(image.labels["of"], "\"us\" & them");
    assert_eq!(image.labels["$HOME"], "$$ ${HOME} '${x' \\$1 é");
    assert!(image.config.starts_with(r#"{"Cmd":["sh"],"Env":["PATH="#), "{}", image.config);
    let seen = docker(&["inspect", "--format", "{{.Id}} {{len .RootFS.Layers}}", id.as_str()]);
    assert_eq!(seen.trim(), format!("{id} {}", image.layers.len()));
    bench.clean().await;
}

#[tokio::test]
async fn a_failure_names_its_step_and_its_exit_code() {
    let bench = Bench::new("failure").await;
    // Each release has words of its own; what is common to them names the cause.
    for (lines, message, step, code) in [
        ("RUN echo before; exit 7", &["exit", "7"][..], Some("RUN echo before; exit 7"), Some(7)),
        ("RUNN true", &["nknown instruction", "RUNN"], None, None),
        ("COPY missing /", &["/missing", "no"], Some("COPY missing /"), None),
    ] {
        let (_, _, built) = bench.told(bench.request(lines)).await;
        let Err(EngineError::Build { message: said, step: at, exit_code }) = built else {
            panic!("{lines}: {built:?}")
        };
        assert!(message.iter().all(|part| said.contains(part)), "{lines}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(exit_code, code, "{lines}: {said}");
        if let (Some(step), true) = (step, code.is_some()) {
            assert_eq!(at.as_deref(), Some(step), "{lines}");
        }
    }
    bench.clean().await;
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_cancelled() {
    if lacks(Capability::Cancel) {
        return;
    }
    let seconds = 61_101;
    let sleep = format!("sleep {seconds}");
    let bench = Bench::new("timeout").await;
    // A busy machine needs some time to begin the step.
    for timeout in [8, 20, 59] {
        let mut request = bench.request(&format!("RUN sleep {seconds}"));
        request.timeout = Duration::from_secs(timeout);
        let mut begun = false;
        let mut watch = |progress| {
            if let BuildProgress::Step { text, .. } = progress {
                begun |= text.contains(&sleep);
            }
        };
        let error = bench.docker.build(request, &mut watch).await.unwrap_err();
        let expected = format!("building took longer than its timeout of {timeout} seconds");
        assert_eq!(error.to_string(), expected);
        if begun {
            wait_until("the RUN ends", || !runs(&seconds.to_string())).await;
            return bench.clean().await;
        }
    }
    panic!("the step did not begin within the timeouts");
}

#[tokio::test]
async fn a_build_that_nobody_wants_any_more_is_cancelled() {
    if lacks(Capability::Cancel) {
        return;
    }
    let seconds = 61_201;
    let bench = Bench::new("drop").await;
    let request = bench.request(&format!("RUN echo ready; sleep {seconds}"));
    let (tell, told) = mpsc::channel();
    let docker = bench.docker.clone();
    let build = tokio::spawn(async move {
        let watch = |progress| {
            if matches!(&progress, BuildProgress::Output(bytes) if bytes.starts_with(b"ready")) {
                _ = tell.send(());
            }
        };
        docker.build(request, watch).await
    });
    wait_until("the RUN prints", || told.try_recv().is_ok()).await;
    assert!(runs(&seconds.to_string()));
    build.abort();
    wait_until("the RUN ends", || !runs(&seconds.to_string())).await;
    bench.clean().await;
}

#[tokio::test]
async fn a_build_has_the_network_and_the_hosts_of_its_settings() {
    let bench = Bench::new("network").await;
    let names = || {
        let all = fs::read_dir("/sys/class/net").unwrap().flatten();
        let names = all.map(|entry| entry.file_name().into_string().unwrap());
        // Those of containers come and go.
        names.filter(|name| !name.starts_with("veth")).collect::<Vec<_>>()
    };
    let ours = names();
    for (network, expected) in
        [(BuildNetwork::None, vec!["lo".to_owned()]), (BuildNetwork::Host, ours)]
    {
        let mut request =
            bench.request("RUN busybox ip -o link; busybox cat /etc/hosts 2>/dev/null || true");
        request.no_cache = true;
        request.settings.network = network;
        let hosts = [("db", "10.1.2.3"), ("six", "fd00::1")];
        let hosts = hosts.map(|(name, address)| (name.to_owned(), address.to_owned()));
        request.settings.add_hosts = hosts.into();
        let (_, output, built) = bench.told(request).await;
        bench.docker.tag(&built.unwrap(), &bench.tagged("1")).await.unwrap();
        let links = output.lines().filter_map(|line| line.split(": ").nth(1));
        let found: Vec<&str> = links.map(|name| name.split('@').next().unwrap()).collect();
        let is_there = |name: &String| found.contains(&name.as_str());
        assert!(expected.iter().all(is_there), "{network:?}: {expected:?} {output}");
        assert!(network == BuildNetwork::Host || found == ["lo"], "{output}");
        // Podman leaves them out where there is no network.
        if network == BuildNetwork::Host {
            for line in ["10.1.2.3\tdb", "fd00::1\tsix"] {
                assert!(output.lines().any(|one| one == line), "{output}");
            }
        }
    }
    bench.clean().await;
}

#[tokio::test]
async fn a_dockerfile_may_lie_outside_its_context() {
    let bench = Bench::new("outside").await;
    let elsewhere = tempfile::tempdir().unwrap();
    let mut request = bench.request("");
    request.dockerfile_path = elsewhere.path().join("Dockerfile");
    fs::write(&request.dockerfile_path, "FROM not-what-is-built\n").unwrap();
    let (_, _, built) = bench.told(request).await;
    bench.docker.tag(&built.unwrap(), &bench.tagged("1")).await.unwrap();
    bench.clean().await;
}
