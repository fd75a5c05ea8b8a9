use std::{collections::BTreeSet, fs, path::Path};

use super::*;

#[test]
fn codes_are_read_back_and_stand_in_order() {
    let codes: Vec<Code> = all().map(|rule| rule.code).collect();
    assert!(codes.is_sorted() && codes.iter().collect::<BTreeSet<_>>().len() == codes.len());
    for code in &codes {
        assert_eq!(code.to_string().parse(), Ok(*code));
        assert_eq!(code.rule().code, *code);
    }
    assert_eq!("rb040".parse(), Ok(Code::Floating));
    for text in ["RB999", "RB", "40", "", "RB40"] {
        assert_eq!(text.parse::<Code>(), Err(UnknownCode(text.to_owned())));
    }
}

/// What stands in people's files: a rule may come, and none may take another's number.
#[test]
fn codes_keep_their_meaning() {
    let variants = include_str!("mod.rs").split("pub enum Code {").nth(1).unwrap();
    let variants = variants.split('}').next().unwrap().lines();
    let variants = variants.filter_map(|line| line.trim().strip_suffix(',')?.split(" = ").nth(1));
    let numbers: Vec<String> =
        variants.map(|n| format!("RB{:03}", n.parse::<u16>().unwrap())).collect();
    let listed: Vec<String> = all().map(|rule| rule.code.to_string()).collect();
    assert_eq!(numbers, listed, "each code has its rule");
}

#[test]
fn rules_say_what_is_wrong_and_show_it_put_right() {
    for rule in all() {
        let Rule { code, title, why, bad, good, .. } = rule;
        assert!(!title.ends_with('.') && title.len() < 80, "{code}: {title}");
        assert!(why.ends_with('.') && why.len() > 30, "{code}: {why}");
        assert_ne!(bad, good, "{code}");
        let told = explanation(*code);
        let ignorable = told.contains(&format!("# rebuild ignore={code}"));
        assert_eq!(ignorable, rule.severity != Severity::Error, "{told}");
    }
}

/// With `UPDATE_DOCS=1` the page is written instead.
#[test]
fn the_page_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checks.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == page(), "run the tests with UPDATE_DOCS=1");
}
