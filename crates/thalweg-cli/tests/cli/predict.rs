//! `predict` and `evaluate`.

use super::*;

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// Rows of a table whose class follows from colour and size, with text and missing cells.
fn rows() -> Vec<[String; 4]> {
    let colours = ["red", "green", "blue"];
    let row = |i: usize| {
        let (colour, size) = (colours[i % 3], (i * 7 % 20) as f32 / 2.0);
        let class = if colour == "red" && size > 3.0 { "large, red" } else { "other" };
        [colour.into(), format!("{size}"), format!("{}", i % 4), class.into()]
    };
    (0..120).map(row).collect()
}

fn table(columns: &[usize]) -> String {
    let names = ["colour", "size", "noise", "kind"].map(String::from);
    let line = |cells: &[String; 4]| {
        let cells: Vec<String> = columns.iter().map(|&column| format!("\"{}\"", cells[column])).collect();
        cells.join(",") + "\n"
    };
    std::iter::once(&names).chain(&rows()).map(line).collect()
}

#[test]
fn a_saved_model_predicts_rows_of_other_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let [data, model, run, other, out] = ["data.csv", "model", "run", "other.csv", "out.csv"].map(|name| path(&folder, name));
    fs::write(&data, table(&[0, 1, 2, 3])).expect("a file");
    let args = ["--data", &data, "--epochs", "60", "--lr", "0.02", "--batch", "16", "--hidden", "16"];
    let lines = trained(&[&args[..], &["--save", &model, "--checkpoint", &run]].concat());
    let last = lines.last().expect("a result").clone();

    // On the run's own test rows, with the accuracy that training printed; the folder has the best checkpoint.
    let measured = thalweg(&["evaluate", "--engine", "cpu", "--model", &model, "--json"]);
    let [object] = &measured.json()[..] else { panic!("one object") };
    assert_eq!(keys(object), BTreeSet::from(["model", "rows", "loss", "accuracy", "macro_f1", "classes", "confusion"]));
    assert_eq!((&object["accuracy"], &object["rows"]), (&last["test_accuracy"], &24.into()));
    let off = object["loss"].as_f64().expect("a loss") - last["test_loss"].as_f64().expect("a loss");
    assert!(off.abs() < 1e-6, "off by {off}");
    let best = thalweg(&["evaluate", "--engine", "cpu", "--model", &run, "--json"]).json();
    assert_eq!(best[0]["accuracy"], last["best_test_accuracy"]);
    let text = thalweg(&["evaluate", "--engine", "cpu", "--model", &model, "--data", &data]);
    assert!(text.code == Some(0) && text.out.starts_with("accuracy ") && text.out.contains("on 120 rows\n"), "{text:?}");

    // Columns in another order, without the label: the same predictions, in the order of the rows.
    fs::write(&other, table(&[2, 0, 1])).expect("a file");
    let predict = |more: &[&str]| thalweg(&[&["predict", "--engine", "cpu", "--model", &model, "--quiet"], more].concat());
    let ran = predict(&["--data", &other]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let found: Vec<&str> = ran.out.lines().collect();
    assert_eq!((found.len(), found[0]), (121, "prediction"));
    let right = rows().iter().zip(&found[1..]).filter(|(row, found)| found.trim_matches('"') == row[3]).count();
    assert!(right >= 114, "{right} of 120 are right");
    assert!(found.contains(&"\"large, red\""), "cells with commas are quoted");
    assert_eq!(predict(&["--data", &data]).out, ran.out, "a label is not looked at");
    let piped = {
        let mut command = command(&["predict", "--engine", "cpu", "--model", &model, "--quiet", "--data", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a child");
        child.stdin.take().expect("its input").write_all(table(&[0, 1, 2]).as_bytes()).expect("a table");
        String::from_utf8(child.wait_with_output().expect("an end").stdout).expect("UTF-8")
    };
    assert_eq!(piped, ran.out);

    let ran = predict(&["--data", &other, "--proba", "--out", &out]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""));
    let written = fs::read_to_string(&out).expect("a file");
    assert!(written.starts_with("prediction,\"large, red\",other\n") && written.lines().count() == 121, "{written}");
    let lines = predict(&["--data", &other, "--proba", "--json"]).json();
    assert_eq!(lines.len(), 120);
    for (line, row) in lines.iter().zip(1..) {
        let all = line["probabilities"].as_object().expect("an object");
        let sum: f64 = all.values().filter_map(Value::as_f64).sum();
        let largest = all.iter().max_by(|a, b| a.1.as_f64().partial_cmp(&b.1.as_f64()).expect("numbers")).expect("a class").0;
        assert!((sum - 1.0).abs() < 1e-12 && line["row"] == row && line["prediction"] == largest.as_str(), "{line}");
    }
}

#[test]
fn data_that_do_not_fit_the_model_are_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let [data, model, digits, wrong] = ["data.csv", "model", "digits", "wrong.csv"].map(|name| path(&folder, name));
    fs::write(&data, table(&[0, 1, 2, 3])).expect("a file");
    trained(&["--data", &data, "--epochs", "1", "--hidden", "4", "--save", &model]);
    trained(&["--epochs", "1", "--hidden", "4", "--save", &digits]);
    // Digits are predicted from digits.
    let ran = thalweg(&["predict", "--engine", "cpu", "--model", &digits, "--data", "digits", "--quiet"]);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 1798), "{}", ran.err);
    fs::write(&wrong, table(&[0, 2, 3])).expect("a file");
    let mut cells = table(&[0, 1, 2, 3]);
    cells = cells.replacen("\"3.5\"", "\"\"", 1);
    let holes = path(&folder, "holes.csv");
    fs::write(&holes, &cells).expect("a file");
    let unknown = path(&folder, "unknown.csv");
    fs::write(&unknown, table(&[0, 1, 2, 3]).replacen("\"other\"", "\"new\"", 1)).expect("a file");
    let cases: [(&[&str], i32, &str); 11] = [
        (&["predict", "--model", &model], 2, "--data says which rows"),
        (
            &["predict", "--model", &model, "--data", &wrong],
            1,
            "the header has no column 'size', which the table of the model has",
        ),
        (&["predict", "--model", &model, "--data", &holes], 1, "--missing"),
        (&["predict", "--model", &model, "--data", "digits"], 1, "the data have 64 features, and the model of"),
        (&["predict", "--model", &digits, "--data", &data], 1, "was not trained on a CSV file"),
        (&["evaluate", "--model", &model, "--data", &unknown], 1, "the label 'new' is not among the training labels"),
        (&["predict", "--model", "no/model", "--data", &data], 1, "No such file"),
        (&["predict", "--model", &data, "--data", &data], 1, "data.csv: it is no safetensors file: it begins with the text "),
        (&["predict", "--model", &model, "--data", &data, "--out", &model], 2, "this file is read, and would be lost"),
        (&["predict", "--model", &model, "--data", &data, "--out", &data], 2, "this file is read, and would be lost"),
        (&["predict", "--data", &data], 2, "--model"),
    ];
    for (args, code, expected) in cases {
        let ran = thalweg(&[args, &["--engine", "cpu"]].concat());
        let expected = expected.replace('\'', "");
        let said = ran.err.replace(['\'', '"'], "");
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{args:?}: {ran:?}");
        assert!(said.contains(&expected) && ran.err.lines().count() == 1, "{args:?}: {}", ran.err);
    }
    let ran = thalweg(&["predict", "--engine", "cpu", "--model", &model, "--data", &holes, "--missing", "mean", "--quiet"]);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 121), "{}", ran.err);
    let ran = thalweg(&["predict", "--engine", "cpu", "--model", &model, "--data", &holes, "--missing", "drop", "--quiet"]);
    // Rows that are left out are seen by the numbers of the others.
    let numbers: Vec<&str> = ran.out.lines().map(|line| line.split(',').next().unwrap_or_default()).collect();
    let expected: Vec<String> = (1..=120).filter(|row| *row != 2).map(|row: u32| row.to_string()).collect();
    assert_eq!(
        (ran.code, numbers[0], &numbers[1..]),
        (Some(0), "row", &expected.iter().map(|row| &**row).collect::<Vec<_>>()[..])
    );
    // A checkpoint of the library is not a model of the command line.
    let foreign = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/checkpoint/version_1.safetensors");
    let ran = thalweg(&["evaluate", "--engine", "cpu", "--model", foreign]);
    assert!(ran.code == Some(1) && ran.err.contains("no run of the command line"), "{}", ran.err);
}

#[test]
fn a_run_is_not_measured_on_data_that_have_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let [data, model] = ["data.csv", "model"].map(|name| path(&folder, name));
    let rows = table(&[0, 1, 2, 3]);
    fs::write(&data, &rows).expect("a file");
    trained(&["--data", &data, "--epochs", "1", "--hidden", "4", "--val-split", "0.2", "--save", &model]);
    let evaluate = |more: &[&str]| thalweg(&[&["evaluate", "--engine", "cpu", "--model", &model], more].concat());
    assert_eq!(evaluate(&[]).code, Some(0));
    let (head, last) = rows.trim_end().rsplit_once('\n').expect("lines");
    let (names, rest) = head.split_once('\n').expect("a header");
    for changed in [format!("{names}\n{last}\n{rest}\n"), format!("{names}\n{rest}\n")] {
        fs::write(&data, changed).expect("a file");
        let ran = evaluate(&[]);
        assert!(ran.code == Some(2) && ran.err.contains("the data of its run are others now: "), "{ran:?}");
        assert_eq!(evaluate(&["--data", &data]).code, Some(0));
    }
}

/// A row has a finite loss even if the probability of its label is too small for a number.
#[test]
fn a_loss_is_a_number_where_a_probability_underflows() {
    let folder = tempfile::tempdir().expect("a folder");
    let [data, far, model] = ["data.csv", "far.csv", "model"].map(|name| path(&folder, name));
    let rows = (-30..30).map(|i| format!("{},{}\n", i as f64 / 10.0, if i < 0 { "low" } else { "high" }));
    fs::write(&data, format!("x,side\n{}", rows.collect::<String>())).expect("a file");
    trained(&[
        "--data",
        &data,
        "--epochs",
        "30",
        "--lr",
        "0.05",
        "--batch",
        "8",
        "--hidden",
        "8",
        "--activation",
        "relu",
        "--save",
        &model,
    ]);
    fs::write(&far, "x,side\n1e6,low\n").expect("a file");
    let measured = thalweg(&["evaluate", "--engine", "cpu", "--model", &model, "--data", &far, "--json"]);
    let loss = measured.json()[0]["loss"].as_f64();
    // e^−745 is the smallest number of double precision.
    assert!(loss.is_some_and(|loss| loss > 745.0 && loss.is_finite()), "{measured:?}");
}
