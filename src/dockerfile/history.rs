//! The steps in an image's history, as the Dockerfile has them.
//!
//! Builders write them in their own form: `RUN /bin/sh -c make # buildkit`, `/bin/sh -c #(nop) COPY file:… in /`
//! (the classic builder and buildah), `|1 V=1 /bin/sh -c make` (with build arguments).

use super::{normal, stages::INSTRUCTIONS};

/// Instructions that may change files. `WORKDIR` may create a folder.
const OF_FILES: [&str; 4] = ["ADD", "COPY", "RUN", "WORKDIR"];

/// The instruction of a history entry: `RUN make`.
///
/// The classic builder names copied files by a digest of their content, which is left out.
pub fn instruction(created_by: &str) -> String {
    let text = created_by.trim();
    let text = text.strip_suffix("# buildkit").unwrap_or(text).trim_end();
    let (run, text) = match text.strip_prefix("RUN ") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let text = without_arguments(text);
    let shells = ["/bin/sh -c ", "/bin/bash -c ", "/bin/bash -o pipefail -c ", "cmd /S /C "];
    let in_shell = shells.iter().find_map(|shell| text.strip_prefix(shell));
    let text = match in_shell {
        Some(rest) if rest.trim_start().starts_with("#(nop)") => {
            let rest = rest.trim_start().trim_start_matches("#(nop)").trim();
            return normal(&without_digests(rest));
        }
        Some(rest) => format!("RUN {rest}"),
        None if run => format!("RUN {text}"),
        None => text.to_owned(),
    };
    normal(&text)
}

/// Whether a step with this instruction may have a layer.
pub fn may_have_layer(instruction: &str) -> bool {
    let word = instruction.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    OF_FILES.contains(&word.as_str()) || !INSTRUCTIONS.contains(&word.as_str())
}

/// Without `|2 A=1 B=2`, the build arguments of the step. A value may contain spaces, so the shell ends them.
fn without_arguments(text: &str) -> &str {
    let Some(rest) = text.strip_prefix('|') else { return text };
    let Some((count, rest)) = rest.split_once(' ') else { return text };
    let Ok(count) = count.parse::<usize>() else { return text };
    if let Some(at) = rest.find("/bin/sh -c ").or_else(|| rest.find("/bin/bash -c ")) {
        return &rest[at..];
    }
    rest.splitn(count.saturating_add(1), ' ').nth(count).unwrap_or(rest)
}

/// `COPY file:0123… in /` → `COPY in /`, so that the same step is the same text.
fn without_digests(text: &str) -> String {
    let is_digest = |word: &&str| {
        let hex = ["file:", "dir:", "multi:"].iter().find_map(|kind| word.strip_prefix(kind));
        hex.is_some_and(|hex| hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    text.split_whitespace().filter(|word| !is_digest(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builder_writes_the_same_instruction() {
        let digest = "7eb2c3ab7e1f0be7cd8f6e7e3d3d9d3f3e7c1c0a7eb2c3ab7e1f0be7cd8f6e7e";
        let copied = format!("/bin/sh -c #(nop) COPY file:{digest} in /srv ");
        for (created_by, expected) in [
            ("RUN /bin/sh -c make  all # buildkit", "RUN make all"),
            ("/bin/sh -c make all", "RUN make all"),
            ("|1 V=1 /bin/sh -c make all", "RUN make all"),
            ("RUN |2 V=a b W=2 /bin/sh -c make all # buildkit", "RUN make all"),
            ("RUN |1 V=1 make all # buildkit", "RUN make all"),
            ("RUN make all # buildkit", "RUN make all"),
            ("COPY a b # buildkit", "COPY a b"),
            ("ENV A=1", "ENV A=1"),
            (&copied, "COPY in /srv"),
            ("/bin/sh -c #(nop)  CMD [\"sh\"]", "CMD [\"sh\"]"),
            (
                "# debian.sh --arch 'amd64' out/ 'bookworm'",
                "# debian.sh --arch 'amd64' out/ 'bookworm'",
            ),
            ("", ""),
            ("|", "|"),
        ] {
            assert_eq!(instruction(created_by), expected, "{created_by}");
        }
        assert!(
            may_have_layer("RUN x") && may_have_layer("WORKDIR /x") && !may_have_layer("CMD x")
        );
    }
}
