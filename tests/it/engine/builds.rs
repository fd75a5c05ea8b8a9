//! Builds with both builders.

use std::{fs, sync::mpsc, time::Duration};

use rebuild::engine::{BuildProgress, BuilderChoice, Engine, EngineError};

use super::{
    Bench,
    bench::{docker, runs},
    wait_until,
};
use crate::support::{is_left_out, project::is_race};

const BUILDERS: [BuilderChoice; 2] = [BuilderChoice::BuildKit, BuilderChoice::Classic];

#[tokio::test]
async fn a_build_is_an_image_with_all_that_was_asked_for() {
    for builder in BUILDERS {
        let Some(bench) = Bench::new("success", builder).await else { return };
        assert_eq!(bench.info.buildkit, builder == BuilderChoice::BuildKit);
        let mut request = bench.request(
            "FROM scratch AS other\nFROM scratch\nARG WHAT\nCOPY root /\n\
             RUN echo \"out-$WHAT\"; echo \"err-$WHAT\" >&2\nCMD [\"sh\"]",
        );
        // Or a run of yesterday has said it all.
        request.no_cache = true;
        request.build_args.insert("WHAT".to_owned(), "a b&c=d".to_owned());
        request.labels.insert("of".to_owned(), "\"us\" & them".to_owned());
        let (steps, output, built) = bench.told(request).await;
        let id = built.unwrap();
        bench.docker.tag(&id, &bench.tagged("1")).await.unwrap();
        // BuildKit fills in the arguments.
        let run = match builder {
            BuilderChoice::BuildKit => "RUN echo \"out-a b&c=d\"; echo \"err-a b&c=d\" >&2",
            _ => "RUN echo \"out-$WHAT\"; echo \"err-$WHAT\" >&2",
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
        assert!(image.config.starts_with(r#"{"Cmd":["sh"],"Env":["PATH="#), "{}", image.config);
        let seen = docker(&["inspect", "--format", "{{.Id}} {{len .RootFS.Layers}}", id.as_str()]);
        assert_eq!(seen.trim(), format!("{id} {}", image.layers.len()));
        bench.clean().await;
    }
}

#[tokio::test]
async fn what_an_image_does_is_the_same_from_both_builders() {
    if is_left_out() {
        return;
    }
    let mut configs = Vec::new();
    for builder in BUILDERS {
        let Some(bench) = Bench::new("config", builder).await else { return };
        let lines = "ENV A=1\nCMD echo hi\nHEALTHCHECK --interval=5s CMD true\nEXPOSE 80\n\
                     VOLUME /data\nUSER 7\nSTOPSIGNAL SIGINT\nONBUILD RUN true";
        let id = bench.build("1", lines).await;
        configs.push(bench.docker.inspect(id.as_str()).await.unwrap().unwrap().config);
        bench.clean().await;
    }
    assert_eq!(configs[0], configs[1]);
}

#[tokio::test]
async fn a_failure_names_its_step_and_its_exit_code() {
    for builder in BUILDERS {
        let Some(bench) = Bench::new("failure", builder).await else { return };
        let buildkit = builder == BuilderChoice::BuildKit;
        for (lines, kit_message, classic_message, step, code) in [
            (
                "RUN echo before; exit 7",
                "executor failed running [/bin/sh -c echo before; exit 7]: exit code: 7",
                "The command '/bin/sh -c echo before; exit 7' returned a non-zero code: 7",
                Some("RUN echo before; exit 7"),
                Some(7),
            ),
            (
                "RUNN true",
                "dockerfile parse error line 4: unknown instruction: RUNN",
                "dockerfile parse error line 4: unknown instruction: RUNN",
                None,
                None,
            ),
            (
                "COPY missing /",
                "failed to compute cache key: \"/missing\" not found: not found",
                "COPY failed: file not found in build context or excluded by .dockerignore: stat \
                 missing: file does not exist",
                Some("COPY missing /"),
                None,
            ),
        ] {
            let (_, _, built) = bench.told(bench.request(lines)).await;
            let message = if buildkit { kit_message } else { classic_message };
            let expected = EngineError::Build {
                message: message.to_owned(),
                step: step.map(str::to_owned),
                exit_code: code,
            };
            assert_eq!(built.unwrap_err(), expected, "{builder:?}");
        }
        bench.clean().await;
    }
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_cancelled() {
    for (builder, seconds) in BUILDERS.into_iter().zip([61_101, 61_102]) {
        let Some(bench) = Bench::new("timeout", builder).await else { return };
        let mut request = bench.request(&format!("RUN sleep {seconds}"));
        request.timeout = Duration::from_secs(8);
        let sleep = format!("sleep {seconds}");
        let mut begun = false;
        let mut watch = |progress| {
            if let BuildProgress::Step { text, .. } = progress {
                begun |= text.contains(&sleep);
            }
        };
        let mut error = bench.docker.build(request.clone(), &mut watch).await.unwrap_err();
        // It met another test: see `Bench::told`.
        while is_race(&error.to_string()) {
            error = bench.docker.build(request.clone(), &mut watch).await.unwrap_err();
        }
        assert!(begun, "the step did not begin within the timeout");
        assert_eq!(error.to_string(), "building took longer than its timeout of 8 seconds");
        wait_until("the RUN ends", || !runs(&seconds.to_string())).await;
        bench.clean().await;
    }
}

#[tokio::test]
async fn a_build_that_nobody_wants_any_more_is_cancelled() {
    for (builder, seconds) in BUILDERS.into_iter().zip([61_201, 61_202]) {
        let Some(bench) = Bench::new("drop", builder).await else { return };
        let request = bench.request(&format!("RUN echo ready; sleep {seconds}"));
        let (tell, told) = mpsc::channel();
        let mut build;
        loop {
            let (docker, tell, request) = (bench.docker.clone(), tell.clone(), request.clone());
            build = tokio::spawn(async move {
                let watch = |progress| {
                    if matches!(&progress, BuildProgress::Output(bytes) if bytes.starts_with(b"ready"))
                    {
                        _ = tell.send(());
                    }
                };
                docker.build(request, watch).await
            });
            let mut prints = false;
            wait_until("the RUN prints", || {
                prints = told.try_recv().is_ok();
                prints || build.is_finished()
            })
            .await;
            if prints {
                break;
            }
            // Before that it can only have met another test: see `Bench::told`.
            let error = build.await.unwrap().unwrap_err();
            assert!(is_race(&error.to_string()), "{error}");
        }
        assert!(runs(&seconds.to_string()));
        build.abort();
        wait_until("the RUN ends", || !runs(&seconds.to_string())).await;
        bench.clean().await;
    }
}

#[tokio::test]
async fn a_dockerfile_may_lie_outside_its_context() {
    for builder in BUILDERS {
        let Some(bench) = Bench::new("outside", builder).await else { return };
        let elsewhere = tempfile::tempdir().unwrap();
        let mut request = bench.request("");
        request.dockerfile_path = elsewhere.path().join("Dockerfile");
        fs::write(&request.dockerfile_path, "FROM not-what-is-built\n").unwrap();
        let (_, _, built) = bench.told(request).await;
        bench.docker.tag(&built.unwrap(), &bench.tagged("1")).await.unwrap();
        bench.clean().await;
    }
}
