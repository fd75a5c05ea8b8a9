//! Which instruction of a Dockerfile made which layer.
//!
//! The history of an image's configuration has an entry for each instruction, and says which of them made a
//! layer. Each builder words them in its own way, so they are compared without white space, in their order.

use serde::{Deserialize, Serialize};

use crate::dockerfile::{HeredocText, Instruction};

/// An entry of `history`: <https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md>.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    pub created_by: String,
    pub empty_layer: bool,
}

/// The history in the configuration of an image, a JSON document; empty if it has none.
pub fn history(config: &[u8]) -> Vec<HistoryEntry> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct ConfigHistory {
        history: Option<Vec<HistoryEntry>>,
    }
    serde_json::from_slice::<ConfigHistory>(config)
        .ok()
        .and_then(|it| it.history)
        .unwrap_or_default()
}

/// The entry of each layer; none if the history does not fit the number of layers.
pub(super) fn layer_texts(history: &[HistoryEntry], layers: usize) -> Vec<Option<&str>> {
    let made = history.iter().filter(|entry| !entry.empty_layer);
    let texts: Vec<Option<&str>> = made.map(|entry| Some(entry.created_by.as_str())).collect();
    if texts.len() == layers { texts } else { vec![None; layers] }
}

/// The instructions that make an image, each with its layer if it made one: those of the target's stage, and of
/// the stages that it is `FROM`. The texts are those of the image's own layers, in order.
pub(super) fn instructions<'f>(
    instructions: &'f [Instruction],
    target: Option<&str>,
    texts: &[Option<&str>],
) -> Vec<Option<&'f Instruction>> {
    let (all, stages) = crate::dockerfile::image_stages(instructions, target);
    let makes_layers = |one: &&Instruction| {
        ["RUN ", "COPY ", "ADD ", "WORKDIR "].iter().any(|name| one.text.starts_with(name))
    };
    let own = all.iter().filter(|(stage, _)| stages.contains(stage)).map(|(_, one)| *one);
    let candidates: Vec<&Instruction> = own.filter(makes_layers).collect();
    let mut next = 0;
    let found = texts.iter().map(|text| {
        let text = (*text)?;
        let rest = &candidates[next..];
        let at = rest
            .iter()
            .position(|one| is_made_by(text, one))
            .or_else(|| rest.iter().position(|one| is_alike(text, one)))?;
        next += at + 1;
        Some(rest[at])
    });
    found.collect()
}

/// What the `ONBUILD` instructions of an image do at the beginning of a build on it, as a stage.
pub(super) fn onbuild(instructions: &[Instruction], target: Option<&str>) -> Vec<Instruction> {
    let (all, stages) = crate::dockerfile::image_stages(instructions, target);
    let own = all.iter().filter(|(stage, _)| stages.contains(stage));
    let triggers = own.filter_map(|(_, one)| {
        let text = one.text.strip_prefix("ONBUILD ")?.to_owned();
        Some(Instruction { text, ..(*one).clone() })
    });
    let from = Instruction::new(0, "FROM parent");
    [from].into_iter().chain(triggers).collect()
}

/// `RUN make` of `RUN make`, of `RUN /bin/sh -c make # buildkit` and of `|1 A=b /bin/sh -c make`.
fn is_made_by(text: &str, one: &Instruction) -> bool {
    let (name, rest) = one.text.split_once(' ').unwrap_or((&one.text, ""));
    let text = text.strip_suffix("# buildkit").unwrap_or(text);
    if !is_of(text, name) {
        return false;
    }
    if name == "RUN" {
        let (text, command) = (squeezed(text), squeezed(without_flags(rest)));
        let is_end = |end: &str| !end.is_empty() && text.ends_with(end);
        return if one.heredocs.is_empty() {
            is_end(&command)
        } else {
            heredoc_texts(&command, &one.heredocs).iter().any(|end| is_end(end))
        };
    }
    // Sources are hashes in some builders, and variables are expanded.
    let destination = |text: &str| {
        let last = text.split_whitespace().next_back().unwrap_or_default();
        last.trim_matches(['/', '"', ']', '.']).to_owned()
    };
    let (made, written) = (destination(text), destination(rest));
    made.ends_with(&written) && (made.is_empty() || !written.is_empty())
}

/// How builders word a command with heredocs: BuildKit with the lines that end them, podman without. Of `RUN <<NAME`,
/// BuildKit has the lines only, or the name of the file with them if they begin with `#!`.
fn heredoc_texts(command: &str, heredocs: &[HeredocText]) -> Vec<String> {
    let lines = |has_names: bool| -> String {
        let each = heredocs.iter().map(|one| {
            let name = if has_names { one.name.as_str() } else { "" };
            squeezed(&one.body) + name
        });
        each.collect()
    };
    let mut texts = vec![format!("{command}{}", lines(true)), format!("{command}{}", lines(false))];
    if let [only] = heredocs
        && command.trim_start_matches(['<', '-', '"', '\'']).trim_end_matches(['"', '\''])
            == only.name
    {
        texts.push(if only.body.trim_start().starts_with("#!") {
            format!("/dev/pipes/{}", only.name)
        } else {
            lines(false)
        });
    }
    texts
}

/// The same instruction, whose text cannot be compared: it has variables, a list or a relative path.
fn is_alike(text: &str, one: &Instruction) -> bool {
    let name = one.text.split(' ').next().unwrap_or_default();
    let rest = one.text.strip_prefix(name).unwrap_or_default().trim_start();
    // The shell expands the variables of a `RUN`, so that its text is that of the Dockerfile.
    let text = text.strip_suffix("# buildkit").unwrap_or(text);
    let is_vague = if name == "RUN" {
        let words = serde_json::from_str::<Vec<String>>(without_flags(rest));
        words.is_ok_and(|words| squeezed(text).ends_with(&squeezed(&words.concat())))
    } else {
        rest.contains(['$', '[']) || [" .", " ./"].iter().any(|end| rest.ends_with(end))
    };
    is_of(text, name) && is_vague
}

fn is_of(text: &str, name: &str) -> bool {
    let text = text.trim_start();
    let nop = text.split_once("#(nop)").map(|(_, rest)| rest.trim_start());
    let named =
        |text: &str| ["COPY", "ADD", "WORKDIR"].into_iter().find(|name| text.starts_with(name));
    match nop.map_or_else(|| named(text), named) {
        Some(found) => found == name,
        None => nop.is_none() && name == "RUN",
    }
}

/// The command of a `RUN`, without `--mount` and the like.
pub(super) fn without_flags(rest: &str) -> &str {
    let mut rest = rest.trim_start();
    while rest.starts_with("--") {
        rest = rest.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
    }
    rest
}

fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::Settings;

    fn lines(dockerfile: &str, texts: &[&str]) -> String {
        let all: Vec<Instruction> =
            dockerfile.lines().enumerate().map(|(n, text)| Instruction::new(n + 1, text)).collect();
        let texts: Vec<Option<&str>> = texts.iter().map(|text| Some(*text)).collect();
        let found = instructions(&all, None, &texts);
        let line =
            |one: Option<&Instruction>| one.map_or("-".to_owned(), |one| one.line.to_string());
        found.into_iter().map(line).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_builder_words_its_history() {
        let dockerfile = "FROM base\nRUN make a\nENV A=b\nCOPY a b /opt/\nWORKDIR /opt\n\
                          RUN --mount=type=cache,target=/x cc  -o x\nADD x.tar /";
        for texts in [
            &[
                "RUN /bin/sh -c make a # buildkit",
                "COPY a b /opt/ # buildkit",
                "WORKDIR /opt",
                "RUN /bin/sh -c cc -o x # buildkit",
                "ADD x.tar / # buildkit",
            ],
            &[
                "/bin/sh -c make a",
                "/bin/sh -c #(nop) COPY multi:1f in /opt/ ",
                "/bin/sh -c #(nop) WORKDIR /opt",
                "|1 A=b /bin/sh -c cc  -o x",
                "/bin/sh -c #(nop) ADD file:2a in / ",
            ],
        ] {
            assert_eq!(lines(dockerfile, texts), "2 4 5 6 7");
        }
        // An instruction that made no layer, a layer of an `ONBUILD`, and other stages.
        let texts = ["/bin/sh -c #(nop) COPY dir:1 in /on ", "/bin/sh -c cc -o x"];
        assert_eq!(lines(dockerfile, &texts), "- 6");
        let stages = "FROM a AS x\nRUN one\nFROM a AS y\nRUN two\nFROM y\nRUN three";
        assert_eq!(lines(stages, &["RUN /bin/sh -c two", "RUN /bin/sh -c three"]), "4 6");
        // A Dockerfile that was changed since.
        let edited = "FROM a\nRUN chmod 711 /x\nRUN for i in $(seq 3)";
        let texts = ["RUN /bin/sh -c chmod 700 /x # buildkit", "RUN /bin/sh -c for i in $(seq 3)"];
        assert_eq!(lines(edited, &texts), "- 3");
        let vague = "FROM a\nRUN [\"a\", \"b\"]\nCOPY x $Y";
        assert_eq!(lines(vague, &["RUN a b # buildkit", "COPY x /y # buildkit"]), "2 3");
    }

    /// Copied from Docker 28.5 and podman 5.8, after a layer of an image that is not of the hierarchy.
    #[test]
    fn heredocs_are_found_by_their_lines() {
        let dockerfile = "FROM a\nRUN <<EOF\necho hi > /hi\necho b > /b\nEOF\nRUN cat <<EOF >/x\nbody\nEOF\n\
                          RUN <<EOF\n#!/bin/sh\necho c > /c\nEOF\nRUN <<-'A' cat >/y && cat <<B >/z\n\tone\nA\ntwo\nB\n";
        let (args, platform) = (std::collections::BTreeMap::new(), "linux/amd64".parse().unwrap());
        let settings = Settings {
            build_args: &args,
            target: None,
            platform: &platform,
            build_platform: &platform,
        };
        let scan = crate::dockerfile::scan(dockerfile, settings).unwrap();
        for texts in [
            [
                "RUN /bin/sh -c mkdir /of-the-base # buildkit",
                "RUN /bin/sh -c echo hi > /hi\necho b > /b\n # buildkit",
                "RUN /bin/sh -c cat <<EOF >/x\nbody\nEOF # buildkit",
                "RUN /bin/sh -c /dev/pipes/EOF # buildkit",
                "RUN /bin/sh -c <<-'A' cat >/y && cat <<B >/z\n one\nA\ntwo\nB # buildkit",
            ],
            [
                "/bin/sh -c mkdir /of-the-base",
                "/bin/sh -c <<EOF\necho hi > /hi\necho b > /b",
                "/bin/sh -c cat <<EOF >/x\nbody",
                "/bin/sh -c <<EOF\n#!/bin/sh\necho c > /c",
                "/bin/sh -c <<-'A' cat >/y && cat <<B >/z\none\ntwo",
            ],
        ] {
            let found = instructions(&scan.instructions, None, &texts.map(Some));
            let found: Vec<usize> =
                found.into_iter().map(|it| it.map_or(0, |it| it.line)).collect();
            assert_eq!(found, [0, 2, 6, 9, 13]);
        }
    }

    #[test]
    fn a_history_that_does_not_fit_is_none() {
        let config =
            br#"{"history": [{"created_by": "a"}, {"created_by": "b", "empty_layer": true}]}"#;
        let found = history(config);
        assert_eq!(layer_texts(&found, 1), [Some("a")]);
        assert_eq!(layer_texts(&found, 2), [None, None]);
        for bad in ["", "[]", "{}", r#"{"history": null}"#] {
            assert!(history(bad.as_bytes()).is_empty(), "{bad}");
        }
    }
}
