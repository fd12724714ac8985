//! `bench`.

use super::*;

/// One repetition per line, until there are no more.
#[test]
fn the_benchmark_takes_turns() {
    let mut command = command(&["bench", "--turns", "--engine", "cpu", "--what", "clip + adamw", "--n", "4096"]);
    let mut lines = tempfile::tempfile().expect("a file");
    lines.write_all(b"\n\n\n").and_then(|()| lines.rewind()).expect("three lines");
    command.stdin(lines);
    let ran = finish(command);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let times: Vec<f64> = ran.out.lines().map(|line| line.parse().expect("milliseconds")).collect();
    assert!(times.len() == 3 && times.iter().all(|&ms| ms > 0.0), "{times:?}");
}

#[test]
fn the_benchmark_has_a_row_for_every_rule() {
    let lines = thalweg(&["bench", "--engine", "cpu", "--n", "1024", "--reps", "1", "--json"]).json();
    let named = |name: &str| lines.iter().filter(|line| line["what"] == name).count();
    for rule in thalweg::rules() {
        assert_eq!(named(rule.name()), 1, "{}", rule.name());
    }
    for special in ["copy", "norm", "sgd momentum", "rmsprop centered momentum", "adamw amsgrad", "clip + adamw"] {
        assert_eq!(named(special), 1, "{special}");
    }
}
