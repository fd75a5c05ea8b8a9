//! Build commands of shell scripts, Makefiles and CI steps.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    arrays::{self, added},
    bind::{bind, keep_common_tags},
    build_command::{command, rename, renamed},
    cases::{self, KnownHere, OpenCases},
    evidence::{EvidenceRule, FoundBuilds, Open, Values, tidy},
    functions::{Functions, NumberedLine},
    loops::{self, Lists, loops, rows, targets},
    makefile,
    path_words::is_one_of,
    recipes,
    script_calls::{self, ScriptCall},
    variables::{Syntax, expand},
};

/// Functions that call each other are followed to this depth.
const DEEPEST_CALL: usize = 4;

/// Commands, and where they are.
pub(super) struct Script<'a> {
    pub(super) rule: EvidenceRule,
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    /// The number of the text's first line.
    pub(super) first_line: usize,
    /// The folder that the commands run in; empty for the folder of the hierarchy.
    pub(super) folder: &'a Path,
    pub(super) values: &'a Values,
}

/// The assignments of a file, and of the files that it includes.
pub(super) fn assignments(text: &str, syntax: Syntax) -> Values {
    let mut values = Values::new();
    let mut conditions = 0usize;
    for (_, line) in logical_lines(text) {
        let line = line.trim_start_matches(['\t', ' ']);
        if syntax == Syntax::Make {
            arrays::count(line, ("ifeq ifneq ifdef ifndef", "endif"), &mut conditions);
        }
        let declared = ["export ", "local ", "readonly ", "declare ", "typeset ", "override "]
            .iter()
            .fold(line, |line, word| line.strip_prefix(word).unwrap_or(line));
        let parts = parts(declared).into_iter();
        let parts = parts.map(|part| part.trim_start().strip_prefix("do ").unwrap_or(part));
        // Behind the first other word are the arguments of a command.
        let is_leading = |word: &&str| declared != line || word.contains('=');
        let one_or_more = |part| match syntax {
            Syntax::Shell => words(part).into_iter().take_while(is_leading).collect(),
            Syntax::Make => vec![part],
        };
        for part in parts.flat_map(one_or_more) {
            let Some((name, value)) = part.split_once('=') else { continue };
            let is_more = syntax == Syntax::Make && name.trim_end().ends_with('+');
            let name = match syntax {
                Syntax::Shell => name.trim_start(),
                Syntax::Make => name.trim_end_matches([':', '?', '+', ' ']).trim_start(),
            };
            let is_name = !name.is_empty()
                && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c))
                && !name.starts_with('-');
            if is_name {
                let value = value.split(" #").next().unwrap_or("").trim();
                let is_quoted = value.len() > 1
                    && ['"', '\''].iter().any(|q| value.starts_with(*q) && value.ends_with(*q));
                let value = if is_quoted { &value[1..value.len() - 1] } else { value };
                if is_more && values.contains_key(name) {
                    let present = values.get_mut(name).filter(|_| conditions == 0);
                    _ = present.map(|present| present.extend([" ", value]));
                    continue;
                }
                // The first is the default; a value that takes the variable itself adds to it.
                let own = [format!("${name}"), format!("${{{name}"), format!("$({name})")];
                if !own.iter().any(|own| value.contains(own))
                    || [":-", "$(or "].iter().any(|one| value.contains(one))
                {
                    let value = match value.strip_prefix(&format!("${{{name}:-")) {
                        Some(default) => default.trim_end_matches('}'),
                        None => value,
                    };
                    values.entry(name.to_owned()).or_insert_with(|| value.to_owned());
                }
            }
        }
    }
    values
}

/// The parts of a line between `;` and `&&` outside of quotes.
fn parts(line: &str) -> Vec<&str> {
    let (mut parts, mut quote, mut start) = (Vec::new(), None, 0);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, _) => {
                let ends = ["; ", " && "].into_iter().find(|end| line[at..].starts_with(end));
                if let Some(end) = ends.filter(|_| at >= start) {
                    parts.push(&line[start..at]);
                    start = at + end.len();
                }
            }
            _ => {}
        }
    }
    parts.push(&line[start..]);
    parts
}

/// The words of a part of a line as they are written: what is in quotes or brackets is not taken apart.
pub(super) fn words(part: &str) -> Vec<&str> {
    let (mut quote, mut depth) = (None, 0usize);
    let is_between = |c: char| {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(' | '{') => depth += 1,
            (None, ')' | '}') => depth = depth.saturating_sub(1),
            (None, c) => return depth == 0 && c.is_whitespace(),
        }
        false
    };
    part.split(is_between).filter(|word| !word.is_empty()).collect()
}

/// `{{name}}` of just and `{{.NAME}}` of Task as `${NAME}`.
pub(super) fn with_dollars(text: &str) -> String {
    let mut parts = text.split("{{");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let inside = part.split_once("}}").map(|(name, rest)| (name.trim(), rest));
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c))
        };
        let named = inside.map(|(name, rest)| (name.strip_prefix('.').unwrap_or(name), rest));
        match named.filter(|(name, _)| is_name(name) && !out.ends_with('$')) {
            Some((name, rest)) => out.extend(["${", name, "}", rest]),
            None => out.extend(["{{", part]),
        }
    }
    out
}

/// The files that a Makefile or a script reads, as they are written.
pub(super) fn includes(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim_start);
    let named = lines.filter_map(|line| {
        let words = ["include ", "-include ", "source ", ". "];
        words.iter().find_map(|word| line.strip_prefix(word))
    });
    named.map(|name| name.trim().trim_matches(['"', '\'']).to_owned()).collect()
}

/// Empties the lines of here-documents that are only printed or written into a file.
fn without_prints(text: &str) -> String {
    let lines: BTreeSet<&str> = text.lines().map(str::trim).collect();
    let mut end: Option<String> = None;
    let line = |line| {
        let line: &str = line;
        if let Some(word) = &end {
            if line.trim() == word {
                end = None;
            }
            return "";
        }
        if let Some((command, rest)) = line.split_once("<<")
            && !rest.starts_with('<')
            && command.split_whitespace().any(|word| ["cat", "tee"].contains(&word))
        {
            let word = rest.trim_start_matches(['-', ' ']).split([' ', ';', '|', '>']).next();
            let word = word.unwrap_or_default().trim_matches(['"', '\'', '\\']);
            end = Some(word.to_owned())
                .filter(|word| !word.is_empty() && lines.contains(word.as_str()));
        }
        line
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Lines that end in a backslash are one, with the number of the first.
fn logical_lines(text: &str) -> Vec<NumberedLine> {
    let mut lines: Vec<NumberedLine> = Vec::new();
    let mut continues = false;
    for (number, line) in text.lines().enumerate() {
        let (part, goes_on) = match line.trim_end().strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some((_, whole)) if continues => {
                if !part.trim_start().starts_with('#') {
                    whole.push(' ');
                    whole.push_str(part.trim_start());
                }
            }
            _ => lines.push((number, part.to_owned())),
        }
        continues = goes_on;
    }
    lines
}

/// What is known in a line of a script.
struct ScriptState {
    values: Values,
    /// Of several assignments, the first after the last build counts: the others are those of other branches.
    assigned: BTreeSet<String>,
    folder: PathBuf,
    /// What the variables of loops may be.
    lists: Lists,
    /// How many conditions the line is in.
    conditions: usize,
    cases: OpenCases,
    /// Keys of `lists` of which each run has one turn.
    alternatives: BTreeSet<String>,
    /// Variables of loops over files.
    files: BTreeSet<String>,
    /// How many calls of functions this is in.
    depth: usize,
}

impl ScriptState {
    /// In a function that is called with these words.
    fn called(&self, row: &Values, folder: &Path, arguments: &[String]) -> Self {
        let mut values = row.clone();
        for number in 1..10 {
            values.remove(&number.to_string());
        }
        for (number, argument) in arguments.iter().enumerate() {
            values.insert((number + 1).to_string(), argument.clone());
        }
        let all = [arguments.join(" ")];
        for name in ["@", "*"] {
            values.insert(name.to_owned(), all[0].clone());
        }
        let lists = ["@", "*"].map(|name| (name.to_owned(), all.to_vec()));
        let (lists, folder, files) = (lists.into(), folder.to_owned(), self.files.clone());
        let (assigned, depth) = (BTreeSet::new(), self.depth + 1);
        let (cases, alternatives) = (OpenCases::default(), BTreeSet::new());
        Self { values, assigned, folder, lists, files, conditions: 0, cases, alternatives, depth }
    }

    /// Whether the first line is a part of a `case`, or in an arm of one that is not run.
    fn is_of_case(&mut self, lines: &[NumberedLine]) -> bool {
        let (values, lists, assigned) = (&mut self.values, &mut self.lists, &mut self.assigned);
        let alternatives = &mut self.alternatives;
        self.cases.take(lines, KnownHere { values, lists, assigned, alternatives })
    }

    /// Whether each run has only one of the turns of a line.
    fn is_one_of_several(&self, line: &str) -> bool {
        let mut keys = self.alternatives.iter().filter(|key| self.lists.contains_key(*key));
        keys.any(|key| loops::takes(line, key, &self.values))
    }

    /// Takes what a line adds to a variable. What only a condition adds is not in every build.
    fn add(&mut self, line: &str) {
        arrays::count(line, ("if", "fi"), &mut self.conditions);
        if let Some((name, more)) = added(line).filter(|_| self.conditions == 0)
            && let Some(value) = self.values.get_mut(name)
        {
            let end = if value.starts_with('(') && value.ends_with(')') { ")" } else { "" };
            value.truncate(value.len() - end.len());
            value.extend([more.as_str(), end]);
        }
    }
}

impl Script<'_> {
    /// The builds of a script, each with the Dockerfiles that it is for.
    pub(super) fn read(&self, dockerfiles: &BTreeSet<PathBuf>, found: &mut FoundBuilds) {
        self.read_with(&[], dockerfiles, found);
    }

    /// Those of a script that is called with arguments.
    fn read_with(
        &self,
        arguments: &[String],
        dockerfiles: &BTreeSet<PathBuf>,
        found: &mut FoundBuilds,
    ) {
        let is_call = !found.scripts.texts.is_empty();
        if !is_call && !["build", "bud", "executor"].iter().any(|word| self.text.contains(word)) {
            return;
        }
        let syntax = self.syntax();
        let text = without_prints(self.text);
        let text = match syntax {
            Syntax::Shell => arrays::read_loops(&arrays::on_one_line(&text)),
            Syntax::Make => text,
        };
        let mut lines = logical_lines(&text);
        let mut values = match syntax {
            Syntax::Shell => {
                lines = cases::apart(lines);
                assignments(&cases::outside(&lines), syntax)
            }
            Syntax::Make => assignments(&text, syntax),
        };
        values.extend(self.values.iter().map(|(key, value)| (key.clone(), value.clone())));
        let mut functions = Functions::default();
        if recipes::is_justfile(self.path) {
            recipes::take(&mut lines, &mut functions);
        }
        match syntax {
            Syntax::Shell => functions.take(&mut lines),
            Syntax::Make => makefile::take(&mut lines, &mut functions),
        }
        let start = || ScriptState {
            values: values.clone(),
            assigned: BTreeSet::new(),
            folder: self.folder.to_owned(),
            lists: BTreeMap::new(),
            conditions: 0,
            cases: OpenCases::default(),
            alternatives: BTreeSet::new(),
            files: BTreeSet::new(),
            depth: 0,
        };
        let first = match arguments {
            [] => start(),
            arguments => start().called(&values, self.folder, arguments),
        };
        self.lines(&lines, first, &mut functions, (dockerfiles, &mut *found));
        for body in functions.others() {
            self.lines(&body, start(), &mut functions, (dockerfiles, &mut *found));
        }
    }

    fn syntax(&self) -> Syntax {
        if self.rule == EvidenceRule::Makefile { Syntax::Make } else { Syntax::Shell }
    }

    fn lines(
        &self,
        lines: &[NumberedLine],
        mut state: ScriptState,
        functions: &mut Functions,
        (dockerfiles, found): (&BTreeSet<PathBuf>, &mut FoundBuilds),
    ) {
        let syntax = self.syntax();
        let has_environment = self.rule == EvidenceRule::Ci && !self.values.is_empty();
        for (at, (number, line)) in lines.iter().enumerate() {
            if syntax == Syntax::Shell && state.is_of_case(&lines[at..]) {
                continue;
            }
            let is_recipe = line.starts_with('\t');
            let trimmed = line.trim_start_matches(['\t', ' ', '@', '-']);
            if trimmed.starts_with('#') {
                continue;
            }
            if syntax == Syntax::Make
                && self.calls((*number, line), &state, functions, (dockerfiles, &mut *found))
            {
                continue;
            }
            if syntax == Syntax::Make && !is_recipe {
                targets(line, &mut state.values, &mut state.lists);
                continue;
            }
            // All arguments are words of their own, also in quotes.
            let trimmed = &arrays::unquoted(&trimmed.replace("\"$@\"", "$@"));
            if syntax == Syntax::Shell {
                for (name, value) in assignments(trimmed, syntax) {
                    if state.assigned.insert(name.clone()) && !self.values.contains_key(&name) {
                        loops::forget(&name, &mut state.lists);
                        state.values.insert(name, value);
                    }
                }
                state.add(trimmed);
            }
            let place = (state.folder.as_path(), dockerfiles);
            let known = (&state.values, syntax);
            loops(trimmed, known, place, (&mut state.lists, &mut state.files));
            if is_recipe {
                self.folder.clone_into(&mut state.folder);
            }
            let plain = commands(&expand(trimmed, &state.values, syntax));
            let concerns = |words: &Vec<String>| {
                ["cd", "pushd"].iter().any(|one| words[0] == *one)
                    || called(words).first().is_some_and(|name| functions.has(name))
                    || renamed(words).is_some()
                    || found.scripts.has(called(words), &state.folder)
                    || command(words, &state.values).is_some()
            };
            // Most lines build nothing, and need no turn for each value of a loop.
            if !plain.iter().any(concerns) {
                continue;
            }
            let start = found.known.len();
            for row in rows(trimmed, &state.lists, &state.values) {
                let expanded = expand(trimmed, &row, syntax);
                let mut here = state.folder.clone();
                for words in commands(&expanded) {
                    if let ["cd" | "pushd", to, ..] =
                        &words[..].iter().map(String::as_str).collect::<Vec<_>>()[..]
                        && Open(to.to_string()).is_known()
                    {
                        here = tidy(&here.join(to).to_string_lossy());
                        continue;
                    }
                    if let Some(names) = renamed(&words) {
                        rename(&names, &mut found.known);
                        continue;
                    }
                    if state.depth < DEEPEST_CALL
                        && let [name, arguments @ ..] = called(&words)
                        && let Some(body) = functions.call(name, arguments)
                    {
                        let inside = state.called(&row, &here, arguments);
                        self.lines(&body, inside, functions, (dockerfiles, &mut *found));
                        continue;
                    }
                    if let Some(call) = found.scripts.called(called(&words), &here, has_environment)
                    {
                        self.follow(&call, dockerfiles, found);
                        continue;
                    }
                    let Some(mut command) = command(&words, &row) else { continue };
                    command.files.clone_from(&state.files);
                    state.assigned.clear();
                    let place = format!("{}:{}", self.path.display(), self.first_line + number);
                    bind(self.rule, &place, &here, &command, dockerfiles, found);
                }
                if !is_recipe && !trimmed.contains('(') {
                    state.folder = here;
                }
            }
            if state.is_one_of_several(trimmed) {
                keep_common_tags(&mut found.known[start..]);
            }
        }
    }
}

impl Script<'_> {
    /// Reads a script that a command calls. The variables of a CI file are those of its environment.
    fn follow(&self, call: &ScriptCall, dockerfiles: &BTreeSet<PathBuf>, found: &mut FoundBuilds) {
        let mut values = match self.rule {
            EvidenceRule::Ci => self.values.clone(),
            _ => Values::new(),
        };
        values.extend(call.variables.clone());
        let script = Script {
            rule: EvidenceRule::Script,
            path: &call.path,
            text: &call.text,
            first_line: 1,
            folder: &call.folder,
            values: &script_calls::not_set_in(&call.text, &values),
        };
        found.scripts.enter(true);
        script.read_with(&call.arguments, dockerfiles, found);
        found.scripts.enter(false);
    }

    /// Reads what a line of a Makefile calls; `false` if it calls nothing.
    fn calls(
        &self,
        (number, line): (usize, &str),
        state: &ScriptState,
        functions: &mut Functions,
        (dockerfiles, found): (&BTreeSet<PathBuf>, &mut FoundBuilds),
    ) -> bool {
        if state.depth >= DEEPEST_CALL || !line.contains("$(call ") {
            return false;
        }
        let mut is_one = false;
        for row in rows(line, &state.lists, &state.values) {
            for (name, arguments) in makefile::calls(line, &row) {
                // `name = docker build …` is one line.
                let variable = || vec![(number, row.get(&name).cloned().unwrap_or_default())];
                let mut body = functions.call(&name, &arguments).unwrap_or_else(variable);
                if line.starts_with('\t') || !functions.has(&name) {
                    for (_, line) in &mut body {
                        line.insert(0, '\t');
                    }
                }
                is_one = true;
                let mut inside = state.called(&row, &state.folder, &arguments);
                // `$@` is the target of the rule.
                inside.lists.clone_from(&state.lists);
                inside.values.remove("@");
                inside.values.extend(row.get("@").map(|own| ("@".to_owned(), own.clone())));
                self.lines(&body, inside, functions, (dockerfiles, &mut *found));
            }
        }
        is_one
    }
}

/// The words of each simple command of a line.
pub(super) fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), String::new());
    let (mut quote, mut has_word, mut is_open) = (None, false, false);
    for c in line.chars() {
        match (quote, c) {
            (_, '\u{1}' | '\u{2}') => {
                is_open = c == '\u{1}';
                has_word = true;
                word.push(c);
            }
            _ if is_open => word.push(c),
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.push(c),
            (None, '"' | '\'') => (quote, has_word) = (Some(c), true),
            (None, c) if c.is_whitespace() || ";&|()".contains(c) => {
                if has_word {
                    words.push(std::mem::take(&mut word));
                }
                has_word = false;
                if !c.is_whitespace() && !words.is_empty() {
                    all.push(std::mem::take(&mut words));
                }
            }
            (None, c) => {
                has_word = true;
                word.push(c);
            }
        }
    }
    if has_word {
        words.push(word);
    }
    if !words.is_empty() {
        all.push(words);
    }
    all
}

/// A command without the words of the shell before it.
fn called(words: &[String]) -> &[String] {
    let skip = words.iter().take_while(|word| is_one_of(word, "do then else if ! { time just"));
    &words[skip.count()..]
}

#[cfg(test)]
mod tests {
    use super::{super::evidence::Evidence, *};

    fn found(rule: EvidenceRule, path: &str, text: &str, files: &[&str]) -> FoundBuilds {
        let files = files.iter().map(PathBuf::from).collect();
        let mut found = FoundBuilds::default();
        let folder = Path::new(path).parent().unwrap();
        let values = Values::new();
        let script =
            Script { rule, path: Path::new(path), text, first_line: 1, folder, values: &values };
        script.read(&files, &mut found);
        found
    }

    fn read(rule: EvidenceRule, path: &str, text: &str, files: &[&str]) -> Vec<String> {
        found(rule, path, text, files).known.iter().map(Evidence::shown).collect()
    }

    #[test]
    fn commands_without_a_known_dockerfile_are_listed() {
        let text = "docker build -t acme/one:$V \"$1\"\ndocker build -t acme/two no\ndocker build https://x.org/y.git";
        let found = found(EvidenceRule::Script, "b.sh", text, &["a/Dockerfile", "b/Dockerfile"]);
        assert!(found.known.is_empty());
        assert_eq!(found.unknown, ["b.sh:1 (acme/one:$V)", "b.sh:2 (acme/two)"]);
    }

    #[test]
    fn variables_in_braces_are_those_of_a_shell() {
        let text = "a {{ b }} {{.C}} ${{ d }} {{e f}} {{";
        assert_eq!(with_dollars(text), "a ${b} ${C} ${{ d }} {{e f}} {{");
    }

    #[test]
    fn a_dockerfile_from_standard_input_has_no_context() {
        let text = "docker build -t acme/pad - < legacy/Dockerfile";
        let found = found(EvidenceRule::Script, "b.sh", text, &["legacy/Dockerfile"]);
        assert_eq!(found.known[0].shown(), "legacy/Dockerfile acme/pad:latest");
        assert_eq!(found.known[0].given.context, None);
    }

    #[test]
    fn commands_of_scripts_and_makefiles() {
        let files =
            ["base/Dockerfile", "web/Dockerfile", "web/Dockerfile.slim", "tools/base/Dockerfile"];
        for (rule, path, text, expected) in [
            (
                EvidenceRule::Script,
                "build.sh",
                "exec docker build -t acme/base:1 -- base",
                vec!["base/Dockerfile acme/base:1"],
            ),
            (
                EvidenceRule::Script,
                "build.sh",
                "V=2\nfor i in base web; do\n  docker build --pull -t \"acme/$i:$V\" \\\n    $i/\ndone",
                vec!["base/Dockerfile acme/base:2", "web/Dockerfile acme/web:2"],
            ),
            (
                EvidenceRule::Script,
                "tools/build.sh",
                "cd base && podman build . --tag=x/tools --build-arg A=b --build-arg TOKEN=s --target t",
                vec!["tools/base/Dockerfile x/tools:latest @t A=b TOKEN="],
            ),
            (
                EvidenceRule::Script,
                "all.sh",
                "for d in */; do docker buildx build -t \"$R/${d%/}\" \"$d\"; done",
                vec!["base/Dockerfile base:latest", "web/Dockerfile web:latest"],
            ),
            (
                EvidenceRule::Script,
                "all.sh",
                "for f in */Dockerfile; do\n  docker build -t acme/$(basename $(dirname \"$f\")):1 $(dirname $f)\ndone",
                vec!["base/Dockerfile acme/base:1", "web/Dockerfile acme/web:1"],
            ),
            (
                EvidenceRule::Script,
                "all.sh",
                "for f in */Dockerfile.prod; do\n  docker build -t no/$(basename $(dirname $f)) $(dirname $f)\ndone\nfor d in zz*/; do docker build -t no/${d%/} $d; done",
                vec![],
            ),
            (
                EvidenceRule::Script,
                "all.sh",
                "for d in */*/; do t=$(basename $(dirname $d)); n=$(basename $d); docker build -t $t/$n:1 $d; done",
                vec!["tools/base/Dockerfile tools/base:1"],
            ),
            (
                EvidenceRule::Script,
                "all.sh",
                "for f in $(git ls-files '*Dockerfile'); do\n  docker build -t acme/$(basename $(dirname $f)) $(dirname $f)\ndone",
                vec!["base/Dockerfile acme/base:latest", "web/Dockerfile acme/web:latest"],
            ),
            (
                EvidenceRule::Script,
                "build.sh",
                "I=acme/base\ndocker build -t $I base\nif x; then\n  I=acme/web\nelse\n  I=no\nfi\ndocker build -t $I web",
                vec!["base/Dockerfile acme/base:latest", "web/Dockerfile acme/web:latest"],
            ),
            (
                EvidenceRule::Makefile,
                "Makefile",
                "ORG ?= acme\nbuild-%:\n\t@docker build -t $(ORG)/$* -f $*/Dockerfile .\n",
                vec!["base/Dockerfile acme/base:latest", "web/Dockerfile acme/web:latest"],
            ),
            (
                EvidenceRule::Makefile,
                "Makefile",
                "IMAGES = base web\n$(IMAGES):\n\tdocker build -t acme/$@:$(shell git describe) $@\n",
                vec!["base/Dockerfile acme/base:?", "web/Dockerfile acme/web:?"],
            ),
            (
                EvidenceRule::Makefile,
                "web/Makefile",
                "all:\n\tbuildah bud -t acme/web-slim -f Dockerfile.slim .\n\tdocker tag acme/web-slim acme/web-slim:2\n",
                vec!["web/Dockerfile.slim acme/web-slim:latest,acme/web-slim:2"],
            ),
            (
                EvidenceRule::Script,
                "x.sh",
                "cat <<<x >f\ntee f << MISSING\nusage() {\ncat <<-'USAGE'\n  docker build -t acme/usage:1 web\nUSAGE\n}\ndocker build -t acme/real:3 web",
                vec!["web/Dockerfile acme/real:3"],
            ),
            (
                EvidenceRule::Script,
                "x.sh",
                "V=3\nA=$V\nexport A\nOPTS=\"--build-arg A --build-arg B=$A\"\ndocker build $OPTS -t acme/base:1 base",
                vec!["base/Dockerfile acme/base:1 A=3 B=3"],
            ),
            (
                EvidenceRule::Script,
                "x.sh",
                "A=(--build-arg A=1)\nB=(\n  --build-arg \"B=2 3\" # two\n  # three\n)\nA+=(\"${B[@]}\")\nC=\"--build-arg C=4\"\nif x; then C=\"$C --build-arg NO=5\"; fi\nif x\nthen\n  C+=\" --build-arg NO=5\"\nfi\nC=\"$C --build-arg D=6\"\ndocker build \"${A[@]}\" $C -t acme/base:1 base",
                vec!["base/Dockerfile acme/base:1 A=1 B=2 3 C=4 D=6"],
            ),
            (
                EvidenceRule::Makefile,
                "Makefile",
                "A := --build-arg A=1\nA += --build-arg B=2\nifdef X\nA += --build-arg NO=3\nendif\nx:\n\tdocker build $(A) -t acme/base:1 base\n",
                vec!["base/Dockerfile acme/base:1 A=1 B=2"],
            ),
            (EvidenceRule::Script, "x.sh", "# docker build -t acme/base base\necho build", vec![]),
            (
                EvidenceRule::Script,
                "x.sh",
                "build() {\n  local name=$1 v=${2:-latest}\n  docker build -t acme/$name:$v $3 \"$name\"\n}\nbuild base 3\nfor i in web; do build $i; done\nbuild",
                vec!["base/Dockerfile acme/base:3", "web/Dockerfile acme/web:latest"],
            ),
            (
                EvidenceRule::Script,
                "x.sh",
                "main() { with-log all; }\nwith-log() {\n  \"$@\"\n}\nall() {\n  b -t acme/base:1 base; b -t acme/web:2 web\n}\nb() { docker build --pull \"$@\"; }\nmain \"$@\"",
                vec!["base/Dockerfile acme/base:1", "web/Dockerfile acme/web:2"],
            ),
        ] {
            assert_eq!(read(rule, path, text, &files), expected, "{text}");
        }
    }

    #[test]
    fn arrays_loops_and_calls_of_scripts_and_makefiles() {
        let files = ["base/Dockerfile", "web/Dockerfile", "tools/base/Dockerfile"];
        for (rule, path, text, expected) in [
            (
                EvidenceRule::Makefile,
                "Makefile",
                "IMAGES := base web\ndefine rule\n.PHONY: $(1)\n$(1):\n\tdocker build -t acme/team-$(1):1 -t acme/$(1):$(shell git) $(1)\nendef\n$(foreach i,$(IMAGES),$(eval $(call rule,$(i))))\n",
                vec![
                    "base/Dockerfile acme/team-base:1,acme/base:?",
                    "web/Dockerfile acme/team-web:1,acme/web:?",
                ],
            ),
            (
                EvidenceRule::Makefile,
                "Makefile",
                "image-web: V = 1\nimage-%: %/Dockerfile all\n\tdocker build -t acme/$@:2 $(<D)\nbase: base/Dockerfile\n\tdocker build -t acme/one -f $< .\n",
                vec![
                    "base/Dockerfile acme/image-base:2",
                    "web/Dockerfile acme/image-web:2",
                    "base/Dockerfile acme/one:latest",
                ],
            ),
            (
                EvidenceRule::Makefile,
                "Makefile",
                "define build\ndocker build -t acme/$(1):$(2) $@\nendef\none = docker build -t acme/one $(1)\nbase:\n\t$(call build,core,3)\nw:\n\t$(call one,web)\n",
                vec!["base/Dockerfile acme/core:3", "web/Dockerfile acme/one:latest"],
            ),
            (
                EvidenceRule::Script,
                "x.sh",
                "declare -A V=( [base]=1.2 [web]=3 )\nfor n in \"${!V[@]}\"; do\n  v=${V[$n]}\n  docker build --build-arg \"V=$v\" -t \"acme/$n:$v\" \"$n\"\ndone",
                vec!["base/Dockerfile acme/base:1.2 V=1.2", "web/Dockerfile acme/web:3 V=3"],
            ),
            (
                EvidenceRule::Script,
                "x.sh",
                "while read -r n t; do\n  docker build -t acme/$n:$t $n\ndone <<LIST\nbase 5\nweb 6\nLIST",
                vec!["base/Dockerfile acme/base:5", "web/Dockerfile acme/web:6"],
            ),
            (
                EvidenceRule::Script,
                "x.sh",
                "ALL=(\n  base # one\n  web\n)\nfor n in \"${ALL[@]}\"; do docker build -t acme/$n:1 $n; done",
                vec!["base/Dockerfile acme/base:1", "web/Dockerfile acme/web:1"],
            ),
            (
                EvidenceRule::Script,
                "justfile",
                "owner=\"acme\"\nimage name tag=\"6\":\n    docker build -t ${owner}/${name}:${tag} ${name}\nf: (image \"base\")\ng: && (image \"web\" '7')\n    just image tools/base",
                vec![
                    "base/Dockerfile acme/base:6",
                    "web/Dockerfile acme/web:7",
                    "tools/base/Dockerfile acme/tools/base:6",
                ],
            ),
        ] {
            assert_eq!(read(rule, path, text, &files), expected, "{text}");
        }
    }
}
