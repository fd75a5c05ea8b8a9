use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;

fn moves() -> Vec<Move> {
    let tag = |name: &str| {
        let (repository, tag) = name.rsplit_once(':').unwrap();
        Tagged { repository: repository.parse().unwrap(), tag: tag.parse().unwrap() }
    };
    let digest = |text: &str| Some(Digest::of(text.as_bytes()));
    vec![
        Move { node: "os".into(), tag: tag("os:1"), from: None, to: digest("os"), wave: 0 },
        Move {
            node: "web".into(),
            tag: tag("h:5000/web:latest"),
            from: digest("old"),
            to: digest("new"),
            wave: 1,
        },
    ]
}

fn began(run: &str, place: &str) -> Began {
    let at = "2026-11-23T12:00:00.5Z".parse().unwrap();
    let asked = RunRequest::Run { flags: "--from os".to_owned() };
    Began { at, commit: Some("0123-dirty".to_owned()), ..Began::new(test_id(run), place, asked) }
}

fn whole(folder: &Path, run: &str, place: &str) -> Journal {
    let mut journal = Journal::begin(&file(folder, run), began(run, place));
    journal.commit(&moves()).unwrap();
    journal.moved(0);
    journal.left(1);
    journal.end(Exit::Done, false);
    assert!(journal.take_failure().is_none());
    journal
}

#[test]
fn what_is_written_is_read() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path().join("not/there/yet");
    let journal = whole(&folder, "1", "here");
    let bytes = fs::read(file(&folder, "1")).unwrap();
    assert_eq!(bytes, journal.text());
    let past = PastRun::read(&bytes).unwrap();
    assert_eq!(&past, journal.past());
    assert_eq!(past.moves, Some(moves()));
    assert_eq!(past.fates, [(0, MoveFate::Moved), (1, MoveFate::Left)].into());
    assert_eq!(past.standing().collect::<Vec<_>>(), [&moves()[0]]);
    assert_eq!(find(&folder, "here"), [past]);
    assert_eq!(find(&folder, "elsewhere"), []);
}

#[test]
fn what_stands_before_a_cut_counts_and_half_a_line_does_not() {
    let folder = TempDir::new().unwrap();
    let bytes = whole(folder.path(), "1", "here").text().to_owned();
    let ends: Vec<usize> =
        (0..bytes.len()).filter(|at| bytes[*at] == b'\n').map(|at| at + 1).collect();
    assert_eq!(ends.len(), 5);
    for cut in 0..=bytes.len() {
        let lines = ends.iter().filter(|end| **end <= cut).count();
        for garbage in [&b""[..], b"\0\0\0\n", b"{\"moved\":\n{\"moved\":1}\n"] {
            let read = PastRun::read(&[&bytes[..cut], garbage].concat());
            assert_eq!(read.is_some(), lines >= 1, "cut at {cut}");
            let Some(past) = read else { continue };
            assert_eq!(past.moves.is_some(), lines >= 2, "cut at {cut}");
            assert_eq!(past.fates.len(), lines.saturating_sub(2).min(2), "cut at {cut}");
            assert_eq!(past.ended.is_some(), lines >= 5, "cut at {cut}");
            assert_eq!(past.is_open(), (2..5).contains(&lines), "cut at {cut}");
        }

        // The next writer overwrites the half line.
        let path = file(folder.path(), "cut");
        fs::write(&path, &bytes[..cut]).unwrap();
        let reopened = Journal::reopen(&path).unwrap();
        assert_eq!(reopened.is_some(), (2..5).contains(&lines), "cut at {cut}");
        let Some(mut journal) = reopened else { continue };
        journal.back(1);
        let past = PastRun::read(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(past.fates.get(&1), Some(&MoveFate::Back), "cut at {cut}");
        assert_eq!(&past, journal.past());
    }
}

#[test]
fn only_runs_of_this_place_that_are_committed_and_have_not_ended_are_finished() {
    let folder = TempDir::new().unwrap();
    let folders = [folder.path().join("a"), folder.path().join("b")];
    whole(&folders[0], "1", "here");
    for (folder, run, place) in
        [(0, "5", "here"), (1, "3", "here"), (0, "4", "elsewhere"), (1, "2", "here")]
    {
        let path = file(&folders[folder], run);
        let mut journal = Journal::begin(&path, began(run, place));
        if run != "2" {
            journal.commit(&moves()).unwrap();
        }
    }
    fs::write(folders[0].join("notes.txt"), "").unwrap();
    let found = open(&folders, "here", |_| true);
    let runs: Vec<&str> = found.iter().map(|journal| journal.past().began.run.as_str()).collect();
    assert_eq!(runs, [&*test_id(3), &*test_id(5)]);
}

/// Files that every write fails to: as on a full disk, and as on one that breaks, since nobody has memory
/// at the address 0.
const BROKEN: [(&str, &str); 2] =
    [("/dev/full", "No space left"), ("/proc/self/mem", "Input/output error")];

#[test]
fn a_journal_that_cannot_be_written_is_not_committed() {
    for (path, expected) in BROKEN {
        let mut journal = Journal::begin(Path::new(path), began("1", "here"));
        let error = journal.commit(&moves()).unwrap_err().to_string();
        assert!(error.contains(&format!("`{path}` cannot be written: {expected}")), "{error}");
        assert!(!journal.past().is_open());
    }

    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("journal"), "").unwrap();
    let path = file(&folder.path().join("journal"), "1");
    let mut nowhere = Journal::begin(&path, began("1", "here"));
    assert!(nowhere.commit(&moves()).is_err());
    // And when it can be again, the lines that were missed are there, but for the one that failed.
    fs::remove_file(folder.path().join("journal")).unwrap();
    nowhere.end(Exit::PromotionFailed, false);
    let past = PastRun::read(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((past.moves, past.ended.map(|it| it.exit)), (None, Some(Exit::PromotionFailed)));
}

#[test]
fn what_cannot_be_written_after_the_commit_is_a_warning() {
    for (broken, expected) in BROKEN {
        let folder = TempDir::new().unwrap();
        let path = file(&folder.path().join("journal"), "1");
        let mut journal = Journal::begin(&path, began("1", "here"));
        journal.commit(&moves()).unwrap();
        journal.goes_on_in(Path::new(broken));
        journal.moved(0);
        journal.moved(1);
        let failure = journal.take_failure().unwrap().to_string();
        assert!(failure.contains(expected), "{failure}");
        assert!(journal.take_failure().is_none(), "told once");
        assert_eq!(journal.past().standing().count(), 2);
    }
}

#[test]
fn the_oldest_are_forgotten_but_none_that_is_open() {
    let folder = TempDir::new().unwrap();
    let mut open = Journal::begin(&file(folder.path(), "000"), began("000", "here"));
    open.commit(&moves()).unwrap();
    for run in 1..=101 {
        let run = format!("{run:03}");
        Journal::begin(&file(folder.path(), &run), began(&run, "here"));
    }
    forget_old(folder.path());
    let runs: Vec<String> =
        find(folder.path(), "here").into_iter().map(|past| past.began.run).collect();
    assert_eq!(runs.len(), 101);
    assert_eq!(
        (runs[0].as_str(), runs[99].as_str(), runs[100].as_str()),
        (&*test_id("101"), &*test_id("002"), &*test_id("000"))
    );
}

#[test]
fn a_record_that_calls_its_run_something_else_is_none() {
    let text = |run: &str, of: &str| {
        let asked = RunRequest::Rollback { of: of.to_owned() };
        let began = Began { run: run.to_owned(), ..Began::new("", "here", asked) };
        format!("{}\n", serde_json::to_string(&super::JournalLine::Began(began)).unwrap())
    };
    let good = "01kb6d1w7s4ppyhq2gm3jdy0tc";
    assert!(PastRun::read(text(good, good).as_bytes()).is_some());
    let upper = good.to_uppercase();
    for bad in ["", "1", "../../etc/passwd", "01kb6d1w7s4ppyhq2gm3jdy0t\u{1b}", "01", &upper] {
        assert_eq!(PastRun::read(text(bad, good).as_bytes()), None, "{bad:?}");
        assert_eq!(PastRun::read(text(good, bad).as_bytes()), None, "{bad:?}");
    }
}

#[test]
fn moves_of_other_tags_are_no_moves_of_ours() {
    let folder = TempDir::new().unwrap();
    let past = whole(folder.path(), "1", "here").past().clone();
    let second = moves().remove(1);
    let only = past.only(|tag| *tag == second.tag);
    assert_eq!(only.moves, Some(vec![second]));
    assert_eq!(only.fates, [(0, MoveFate::Left)].into());
    let folders = [folder.path().to_owned()];
    let mut cut_off = Journal::begin(&file(folder.path(), "2"), began("2", "here"));
    cut_off.commit(&moves()).unwrap();
    assert_eq!(open(&folders, "here", |_| true).len(), 1);
    assert_eq!(open(&folders, "here", |tag| *tag == moves()[0].tag).len(), 0);
}

/// Records are read from a registry, where anyone who may push can write one.
#[test]
fn fuzz_record() {
    const WORDS: [&str; 10] = [
        "{",
        "}",
        "\n",
        "\"",
        "{\"moved\":0}\n",
        "{\"left\":9999999}\n",
        "null",
        "-1",
        "[]",
        "\\u001b",
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.jsonl");
    let mut journal = Journal::begin(&path, began("1", "place"));
    journal.commit(&moves()).unwrap();
    journal.moved(0);
    journal.left(1);
    journal.end(Exit::Done, false);
    let whole = fs::read(&path).unwrap();
    crate::testing::fuzz::each(&[&whole], &WORDS, |text| {
        if let Some(past) = PastRun::read(text) {
            assert!(is_run_id(&past.began.run));
            _ = (past.is_open(), past.age(), past.made().count(), past.standing().count());
            _ = past.wanted().count();
        }
    });
}
