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

/// A small population, and a network; neither is timed unless it is named.
#[test]
fn whole_steps_of_networks_and_populations_are_timed_by_name() {
    let timed = |what: &str| thalweg(&["bench", "--engine", "cpu", "--what", what, "--reps", "1", "--json"]).json();
    let [row] = &timed("population 16 32")[..] else { panic!("one row") };
    assert_eq!(row["what"], "population");
    for (name, size) in [("lanes", 16), ("hidden", 32), ("batch", 64)] {
        assert_eq!(row[name], size, "{name}");
    }
    let [ms, rate, alike] = ["ms", "model_steps_per_s", "alike_model_steps_per_s"].map(|name| row[name].as_f64().expect(name));
    assert!((rate * ms / 16e3 - 1.0).abs() < 1e-9 && alike > 0.0, "{row}");
    let [copy_ms, copy] = ["copy_ms", "copy_steps"].map(|name| row[name].as_f64().expect(name));
    assert!(copy > 0.0 && (copy * ms / copy_ms - 1.0).abs() < 1e-9, "{row}");

    let [row] = &timed("population 32 digits cnn")[..] else { panic!("one row") };
    assert_eq!((&row["lanes"], &row["batch"]), (&32.into(), &32.into()));
    let [ms, alone, of] = ["ms", "alone_ms", "of_alone"].map(|name| row[name].as_f64().expect(name));
    assert!(alone > 0.0 && (of * ms / alone / 32.0 - 1.0).abs() < 1e-9, "{row}");

    let [row] = &timed("network perceptron")[..] else { panic!("one row") };
    assert_eq!((&row["what"], &row["batch"]), (&"network perceptron 784-128-64-10".into(), &64.into()));
    assert!(row["ms"].as_f64().expect("milliseconds") > 0.0);

    let names = thalweg(&["bench", "--list"]).out;
    assert!(["population 64 32", "population 256 32", "population 64 128"].iter().all(|name| names.contains(name)), "{names}");
    let unnamed = thalweg(&["bench", "--engine", "cpu", "--n", "64", "--reps", "1", "--json"]).json();
    assert!(!unnamed.iter().any(|row| row["what"].as_str().is_some_and(|what| what.starts_with("population"))));
}
