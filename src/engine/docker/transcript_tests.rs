//! The messages below were recorded from Docker 20.10.24.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;

use super::*;

const CLASSIC_FAILURE: &str = include_str!("testdata/classic-exit-7.ndjson");
const BUILDKIT_FAILURE: &str = include_str!("testdata/buildkit-exit-7.ndjson");
const CLASSIC_SUCCESS: &str = include_str!("testdata/classic-success.ndjson");
const BUILDKIT_SUCCESS: &str = include_str!("testdata/buildkit-success.ndjson");

/// Everything a build says: steps, output, and the verdict as the last line.
fn told(messages: &str) -> String {
    let mut text = String::new();
    let mut transcript = Transcript::default();
    let mut progress = |progress| match progress {
        BuildProgress::Step { number, total, text: step, .. }
        | BuildProgress::CountedStep { number, total, text: step } => {
            _ = writeln!(text, "[{number}/{total}] {step}");
        }
        BuildProgress::Output(bytes) => text.push_str(&String::from_utf8(bytes).unwrap()),
        BuildProgress::Exporting => text.push_str("exporting\n"),
    };
    let taken = messages.lines().try_for_each(|line| {
        let message: EngineMessage = serde_json::from_str(line).unwrap();
        match (message.id.as_deref(), &message.aux) {
            // The recordings of BuildKit are from `POST /build`.
            (Some("moby.buildkit.trace"), Some(aux)) => {
                let status = BASE64_STANDARD.decode(aux.as_str().unwrap()).unwrap();
                transcript.status(StatusResponse::decode(&status[..]).unwrap(), &mut progress);
                Ok(())
            }
            _ => transcript.take(&message, &mut progress),
        }
    });
    let verdict = match taken.and_then(|()| transcript.finish()) {
        Ok(id) => format!("image {}", id.short()),
        Err(EngineError::Build { message, step, exit_code }) => {
            format!("failed: {message} | {step:?} | {exit_code:?}")
        }
        Err(error) => error.to_string(),
    };
    text + &verdict
}

#[test]
fn a_classic_failure() {
    assert_eq!(
        told(CLASSIC_FAILURE),
        r#"[1/6] FROM scratch AS a
 ---> 
[2/6] COPY busybox /bin/busybox
 ---> 3a8907380754
[3/6] RUN ["/bin/busybox","ln","-s","busybox","/bin/sh"]
 ---> Running in 8318f984a8a4
Removing intermediate container 8318f984a8a4
 ---> a0271a6dc862
[4/6] FROM a
 ---> a0271a6dc862
[5/6] RUN echo out; echo err >&2
 ---> Running in 16ea9a8cb03a
out
"#
        .to_owned()
            + "\u{1b}[91merr\n\u{1b}[0m"
            + r#"Removing intermediate container 16ea9a8cb03a
 ---> e9e1e14e6561
[6/6] RUN echo before; exit 7
 ---> Running in 40e71e5166fd
before
Removing intermediate container 40e71e5166fd
failed: The command '/bin/sh -c echo before; exit 7' returned a non-zero code: 7 | Some("RUN echo before; exit 7") | Some(7)"#
    );
}

#[test]
fn a_buildkit_failure() {
    assert_eq!(
        told(BUILDKIT_FAILURE),
        r#"[1/2] COPY busybox /bin/busybox
[2/2] RUN ["/bin/busybox","ln","-s","busybox","/bin/sh"]
[1/2] RUN echo out; echo err >&2
out
err
[2/2] RUN echo before; exit 7
before
failed: executor failed running [/bin/sh -c echo before; exit 7]: exit code: 7 | Some("RUN echo before; exit 7") | Some(7)"#
    );
}

#[test]
fn buildahs_errors_are_a_sentence() {
    for (text, message, code) in [
        (
            r#"building at STEP \"RUN echo \\\"x\\\"; exit 7\": while running runtime: exit status 7\n"#,
            "while running runtime: exit status 7",
            Some(7),
        ),
        (
            r#"building at STEP \"RUNN \": Build error: Unknown instruction: \"RUNN\" &imagebuilder.Step{Env:[]string{\"A=1\"}}\n"#,
            "Unknown instruction: \"RUNN\"",
            None,
        ),
    ] {
        let line = format!(r#"{{"errorDetail":{{"message":"{text}"}},"error":"{text}"}}"#);
        let told = told(&line);
        assert_eq!(told, format!("failed: {message} | None | {code:?}"));
    }
}

#[test]
fn each_stage_of_buildah_counts_its_own_steps() {
    let messages = r#"{"stream":"[1/2] STEP 1/1: FROM scratch AS other\n"}
{"stream":"[2/2] STEP 1/2: FROM scratch\n"}
{"stream":"[2/2] STEP 2/2: RUN true\n"}
{"stream":"[1/2] STEP 1/1: what a command prints\n"}"#;
    let steps: Vec<_> = told(messages).lines().take(3).map(str::to_owned).collect();
    assert_eq!(steps, ["[1/1] FROM scratch AS other", "[1/2] FROM scratch", "[2/2] RUN true"]);
    assert!(told(messages).contains("\n[1/2] STEP 1/1: what a command prints"));
}

#[test]
fn success_is_an_image() {
    let verdict = |messages| told(messages).lines().last().unwrap().to_owned();
    assert_eq!(verdict(CLASSIC_SUCCESS), "image 7f33abea92c8");
}

/// A stream that ends early, wherever it is cut, is never an image.
#[test]
fn every_early_end_is_an_error() {
    for messages in [CLASSIC_SUCCESS, BUILDKIT_SUCCESS] {
        let lines: Vec<_> = messages.lines().collect();
        for end in 0..lines.len() {
            let told = told(&lines[..end].join("\n"));
            let verdict = told.lines().last().unwrap();
            assert_eq!(
                verdict,
                "building: the engine answered: the end of the build's messages, and no image",
                "cut after {end} of {} lines",
                lines.len()
            );
        }
    }
}

#[test]
fn a_run_cannot_pass_for_a_step() {
    let line = |text: &str| serde_json::json!({ "stream": text }).to_string();
    let messages = [
        line("Step 1/2 : FROM x"),
        line("\n"),
        line("Step 1/2 : RUN again\n"),
        line("Step 2/9 : RUN other\n"),
        line("Step 2/2 : RUN make"),
    ];
    assert_eq!(
        told(&messages.join("\n")),
        "[1/2] FROM x\nStep 1/2 : RUN again\nStep 2/9 : RUN other\n[2/2] RUN make\n\
         building: the engine answered: the end of the build's messages, and no image"
    );
}

#[test]
fn errors_lose_their_wrapping_and_give_their_code() {
    for (text, message, code) in [
        (
            "failed to solve with frontend dockerfile.v0: failed to create LLB definition: \
             dockerfile parse error line 2: unknown instruction: RUNN",
            "dockerfile parse error line 2: unknown instruction: RUNN",
            None,
        ),
        (
            "building at STEP \"RUN exit 7\": while running runtime: exit status 7",
            "while running runtime: exit status 7",
            Some(7),
        ),
        (
            "failed to solve: process \"/bin/sh -c exit 3\" did not complete successfully: exit \
             code: 3",
            "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3",
            Some(3),
        ),
    ] {
        assert_eq!(
            Transcript::default().failure(text, None),
            EngineError::Build { message: message.to_owned(), step: None, exit_code: code }
        );
    }
}
