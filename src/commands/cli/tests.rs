use super::*;

fn all() -> Vec<clap::Command> {
    let root = command();
    let shown = root.get_subcommands().filter(|command| !command.is_hide_set());
    shown.cloned().chain([root.clone()]).collect()
}

#[test]
fn help_begins_with_examples() {
    for mut command in all() {
        let name = command.get_name().to_owned();
        for help in [command.render_help(), command.render_long_help()] {
            let help = help.to_string();
            let places = ["Examples:", "Usage:", "--help"].map(|word| help.find(word));
            assert!(places.iter().all(Option::is_some), "{name}: {places:?}\n{help}");
            assert!(places.is_sorted(), "{name}: {places:?}\n{help}");
        }
    }
}

/// The command in a line of examples, as words.
fn example(line: &str) -> Option<Vec<OsString>> {
    let line = line.trim_start();
    let line =
        line.strip_prefix("source <(").map_or(line, |rest| rest.split(')').next().unwrap_or(rest));
    if !line.starts_with("rebuild") {
        return None;
    }
    let command = line.split("  ").next().unwrap_or(line).split(['>', '|', ',']).next()?;
    let words = command.split_whitespace().map(|word| word.replace("HOST/PREFIX", "host/prefix"));
    Some(words.map(OsString::from).collect())
}

#[test]
fn examples_are_command_lines() {
    let mut tried = 0;
    for command in all() {
        let help = command.get_after_help().unwrap().to_string();
        for words in help.lines().filter_map(example) {
            tried += 1;
            let cli = Cli::read(words.clone());
            assert!(cli.is_ok(), "{words:?}: {}", cli.unwrap_err());
        }
    }
    assert!(tried > 40, "{tried}");
}
