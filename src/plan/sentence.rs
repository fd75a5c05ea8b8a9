//! The sentence for changed inputs: "its Dockerfile and `a` changed, `b` is new".

use super::{Change, ChangedPart};
use crate::{fingerprint::ListingDifference, hierarchy::NodeName};

/// How many files, and how many settings, a sentence names.
const NAMED: usize = 3;

/// The sentence without the image's name (`its Dockerfile changed`), or with it (`the Dockerfile of `os-base`
/// changed`).
pub(super) fn sentence(what: &[Change], parts: &[ChangedPart], of: Option<&NodeName>) -> String {
    let owner = of.map_or(String::new(), |node| format!(" of `{node}`"));
    let (mut clauses, mut others) = (Vec::new(), Vec::new());
    for difference in [ListingDifference::Changed, ListingDifference::New, ListingDifference::Gone]
    {
        let (mut subjects, mut inherited) = (Vec::new(), Vec::new());
        let mut unnamed: Vec<&ChangedPart> = Vec::new();
        for change in what {
            let all: Vec<(usize, &ChangedPart)> =
                parts.iter().filter(|part| part.what == *change).enumerate().collect();
            if all.is_empty() && difference == ListingDifference::Changed {
                subjects.push(possessed(&change.to_string(), of));
            }
            // One more name is as short as "1 more".
            let named = if all.len() == NAMED + 1 { NAMED + 1 } else { NAMED };
            for (n, part) in all.into_iter().filter(|(_, part)| part.difference == difference) {
                match part.inherited() {
                    _ if n >= named => unnamed.push(part),
                    _ if is_other_context(part) => others.push(part),
                    Some(subject) => inherited.push(subject),
                    None => subjects.push(possessed(&subject(part), of)),
                }
            }
        }
        subjects.extend(more(&unnamed));
        let is_many = subjects.len() > 1 || unnamed.len() > 1;
        if !subjects.is_empty() && of.is_some() {
            subjects = vec![format!("{}{owner}", list(&subjects))];
        }
        subjects.extend(inherited);
        if subjects.is_empty() {
            continue;
        }
        let verb = match (difference, is_many) {
            (ListingDifference::Changed, _) => "changed",
            (ListingDifference::New, false) => "is new",
            (ListingDifference::New, true) => "are new",
            (ListingDifference::Gone, false) => "was removed",
            (ListingDifference::Gone, true) => "were removed",
        };
        // The file may still exist: `.dockerignore` excludes it.
        let is_gone = |part: &&ChangedPart| part.difference == ListingDifference::Gone;
        let all_files = parts.iter().filter(is_gone).all(|part| part.what == Change::Context);
        let is_excluded = difference == ListingDifference::Gone && all_files;
        let from = if is_excluded { " from the context" } else { "" };
        clauses.push(format!("{} {verb}{from}", list(&subjects)));
    }
    if !others.is_empty() {
        let context = possessed(&Change::Context.to_string(), of);
        clauses.push(format!("{context}{owner} is another folder, or all of its files changed"));
    }
    list(&clauses)
}

/// Whether the build context has none of its former files.
fn is_other_context(part: &ChangedPart) -> bool {
    part.what == Change::Context && part.difference == ListingDifference::New && part.name == "./"
}

/// `2 more files`, if there are any.
fn more(parts: &[&ChangedPart]) -> Option<String> {
    let all = |is: fn(&ChangedPart) -> bool| parts.iter().all(|part| is(part));
    let noun = if all(|part| part.what == Change::Settings) {
        " setting"
    } else if all(|part| part.what == Change::Context && !part.name.ends_with('/')) {
        " file"
    } else if all(|part| part.what == Change::Context) {
        " path"
    } else {
        ""
    };
    let s = if parts.len() == 1 || noun.is_empty() { "" } else { "s" };
    (!parts.is_empty()).then(|| format!("{} more{noun}{s}", parts.len()))
}

/// Replaces `its` by `the` if the image is named.
fn possessed(subject: &str, of: Option<&NodeName>) -> String {
    match subject.strip_prefix("its ").filter(|_| of.is_some()) {
        Some(rest) => format!("the {rest}"),
        None => subject.to_owned(),
    }
}

fn subject(part: &ChangedPart) -> String {
    let name = &part.name;
    match part.what {
        Change::Settings => match name.split_once('.') {
            Some(("build_args", argument)) => format!("build arg `{argument}`"),
            Some(("labels", label)) => format!("label `{label}`"),
            Some(("secrets", id)) => format!("secret `{id}`"),
            _ if name == "context" || name == "dockerfile" => format!("its `{name}` setting"),
            _ if name == "ssh" => "its SSH agent".to_owned(),
            _ if name == "prepare" => "its prepare command".to_owned(),
            _ => format!("its {name}"),
        },
        Change::Tests if name == "max_size" => "its size limit".to_owned(),
        Change::Tests => format!("its {name}"),
        // The whole context, because it has too many files to name.
        _ if name == "./" => Change::Context.to_string(),
        _ => format!("`{name}`"),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [some @ .., last] => format!("{} and {last}", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_different_reads_well() {
        let file = |text: &str| {
            let (sign, name) = text.split_at(1);
            let difference = match sign {
                "+" => ListingDifference::New,
                "-" => ListingDifference::Gone,
                _ => ListingDifference::Changed,
            };
            let is_setting =
                (name.contains('.') && name != "./") || ["target", "prepare"].contains(&name);
            let what = if is_setting { Change::Settings } else { Change::Context };
            ChangedPart { what, name: name.to_owned(), difference }
        };
        let (dockerfile, context, settings) =
            (Change::Dockerfile, Change::Context, Change::Settings);
        for (what, parts, its, the) in [
            (&[dockerfile][..], "", "its Dockerfile changed", "the Dockerfile of `os` changed"),
            (&[context], "", "its build context changed", "the build context of `os` changed"),
            (&[context], "~a", "`a` changed", "`a` of `os` changed"),
            (&[context], "~a ~b", "`a` and `b` changed", "`a` and `b` of `os` changed"),
            (&[context], "+x", "`x` is new", "`x` of `os` is new"),
            (
                &[context],
                "-x -y",
                "`x` and `y` were removed from the context",
                "`x` and `y` of `os` were removed from the context",
            ),
            (
                &[context],
                "+./",
                "its build context is another folder, or all of its files changed",
                "the build context of `os` is another folder, or all of its files changed",
            ),
            (&[context], "~./", "its build context changed", "the build context of `os` changed"),
            (
                &[dockerfile, context],
                "~src/ +x",
                "its Dockerfile and `src/` changed and `x` is new",
                "the Dockerfile and `src/` of `os` changed and `x` of `os` is new",
            ),
            (
                &[context],
                "~a ~b ~c ~d ~e",
                "`a`, `b`, `c` and 2 more files changed",
                "`a`, `b`, `c` and 2 more files of `os` changed",
            ),
            (
                &[context],
                "~a ~b ~c ~d",
                "`a`, `b`, `c` and `d` changed",
                "`a`, `b`, `c` and `d` of `os` changed",
            ),
            (
                &[context],
                "~a +b +c +d -e",
                "`a` changed, `b`, `c` and 1 more file are new and 1 more file was removed from the context",
                "`a` of `os` changed, `b`, `c` and 1 more file of `os` are new and 1 more file of `os` was removed from the context",
            ),
            (&[settings], "-target", "its target was removed", "the target of `os` was removed"),
            (
                &[settings],
                "~build_args.VERSION +labels.a.b ~target",
                "build arg `VERSION` and its target changed and label `a.b` is new",
                "build arg `VERSION` and the target of `os` changed and label `a.b` of `os` is new",
            ),
        ] {
            let parts: Vec<ChangedPart> = parts.split_whitespace().map(file).collect();
            let of = NodeName::from("os");
            let said = [sentence(what, &parts, None), sentence(what, &parts, Some(&of))];
            assert_eq!(said, [its, the]);
        }
    }
}
