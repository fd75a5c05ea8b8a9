use std::io::Write as _;

use serde_json::json;

use super::*;

#[test]
fn a_line_is_read_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let mut file = File::create(&path).unwrap();
    let mut reader = EventReader::new(&path).unwrap();
    assert_eq!(reader.next().unwrap(), None);
    file.write_all(b"one\ntw").unwrap();
    assert_eq!(reader.next().unwrap(), Some("one"));
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.offset, 4);
    file.write_all(b"o\nthree\n").unwrap();
    assert_eq!(reader.next().unwrap(), Some("two"));
    assert_eq!(reader.next().unwrap(), Some("three"));
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.offset, 14);
    let mut other = EventReader::new(&path).unwrap();
    other.seek(8).unwrap();
    assert_eq!(other.next().unwrap(), Some("three"));
    assert_eq!(other.offset, 14);
}

#[test]
fn the_result_is_a_sentence() {
    let result = |steps: &[(&str, &str)], moved: u64| {
        let step = |(node, outcome): &(&str, &str)| json!({ "node": node, "outcome": outcome });
        let steps: Vec<Value> = steps.iter().map(step).collect();
        result_of(&json!({ "steps": steps, "promotion": { "moved": moved } }))
    };
    assert_eq!(result(&[("a", "kept")], 0), "nothing to do");
    assert_eq!(
        result(&[("a", "built"), ("b", "unchanged")], 1),
        "1 built, 1 unchanged, 1 tag moved"
    );
    assert_eq!(
        result(&[("a", "failed"), ("b", "skipped"), ("c", "built")], 0),
        "`a` failed, 1 built"
    );
    assert_eq!(result(&[("a", "failed"), ("b", "failed")], 0), "`a` and 1 more failed");
}

#[tokio::test]
async fn a_run_that_an_earlier_server_began_ended_or_is_to_run_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("runs")).unwrap();
    let recover = |run: i64, events: &str| {
        fs::write(folder.path().join(format!("runs/{run}.jsonl")), events).unwrap();
        let live = LiveRun::recovered(run, folder.path());
        async move { live.recover().await.unwrap() }
    };
    let started = "{\"event\":\"run-started\",\"run\":\"r\",\"plan\":{\"steps\":[]}}\n";
    let finished = |code: i32| {
        format!("{started}{{\"event\":\"run-finished\",\"exit_code\":{code},\"steps\":[]}}\n")
    };
    let ended = recover(1, &finished(0)).await.unwrap();
    assert_eq!((ended.state, ended.run.as_deref()), (RunState::Succeeded, Some("r")));
    assert_eq!(recover(2, &finished(10)).await.unwrap().state, RunState::Failed);
    // It was cancelled because its server ended.
    assert!(recover(3, &finished(130)).await.is_none());
    assert!(recover(4, started).await.is_none());
    assert!(recover(5, "").await.is_none());
    let none = LiveRun::recovered(6, folder.path());
    assert!(none.recover().await.unwrap().is_none());
}
