//! Models that learn numbers.

use super::*;

/// Rows of a table with a number that follows from three others.
fn table(rows: usize) -> String {
    let mut random = fastrand::Rng::with_seed(5);
    let mut text = String::from("a,b,c,price\n");
    for _ in 0..rows {
        let [a, b, c] = [random.f64(), random.f64(), random.f64()];
        text += &format!("{a:.4},{b:.4},{c:.4},{:.3}\n", 5000.0 + 300.0 * a - 200.0 * b + 400.0 * c * c);
    }
    text
}

fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("written");
    path.display().to_string()
}

/// Numbers far from 0 are learned with default settings, told in their own units, kept, and predicted.
#[test]
fn a_quantity_is_learned_kept_and_predicted() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = file(&folder, "houses.csv", &table(300));
    let [model, out] = ["model", "run"].map(|name| folder.path().join(name).display().to_string());
    let args = ["--data", &data, "--epochs", "60", "--batch", "16", "--save", &model, "--out", &out];
    let ran = thalweg(&[&["train", "--engine", "cpu", "--json"], &args[..]].concat());
    assert_eq!((&ran.data()["task"], &ran.data()["classes"]), (&"regression".into(), &serde_json::json!([])), "{ran:?}");
    let lines = ran.epochs();
    let keys_of = ["epoch", "train_loss", "train_r2", "train_mae", "test_loss", "test_r2", "test_mae", "steps", "seconds"];
    assert_eq!(keys(&lines[0]), BTreeSet::from(keys_of));
    let last = lines.last().expect("a result");
    let number = |name: &str| last[name].as_f64().unwrap_or_else(|| panic!("{name}: {last}"));
    assert!(number("test_r2") > 0.98, "{last}");
    // In units of the data: the deviation is about 160.
    assert!(
        number("test_mae") < 30.0 && number("test_loss") < 1000.0 && number("test_loss") > number("test_mae").powi(2),
        "{last}"
    );

    let measured = thalweg(&["evaluate", "--engine", "cpu", "--model", &model, "--json"]).json();
    assert_eq!(keys(&measured[0]), BTreeSet::from(["model", "rows", "rmse", "loss", "r2", "mae"]));
    for name in ["r2", "mae", "loss"] {
        let (found, expected) = (measured[0][name].as_f64().expect("a number"), number(&format!("test_{name}")));
        // Predictions of some thousands are rounded to 5e-4 in single precision, and are off by some tens.
        assert!((found - expected).abs() <= 1e-4 * expected.abs(), "{name}: {found} {expected}");
    }
    // Without the column of the numbers, and with other ones in another order.
    let other = file(&folder, "other.csv", "c,a,b\n0.5,0.5,0.5\n1,1,0\n");
    let predicted = thalweg(&["predict", "--engine", "cpu", "--model", &model, "--data", &other, "--quiet"]);
    let values: Vec<f64> = predicted.out.lines().skip(1).map(|line| line.parse().expect("a number")).collect();
    assert!((values[0] - 5150.0).abs() < 60.0 && (values[1] - 5700.0).abs() < 120.0, "{predicted:?}");
    let shares = thalweg(&["predict", "--engine", "cpu", "--model", &model, "--data", &other, "--proba"]);
    assert!(shares.code == Some(2) && shares.err.contains("which have no probabilities"), "{shares:?}");

    let picture = fs::read_to_string(Path::new(&out).join("predictions.svg")).expect("a picture");
    super::picture::well_formed(&picture).expect("SVG");
    assert!(picture.contains("true") && picture.contains("predicted") && picture.matches("<circle").count() > 50, "{picture}");
    let curve = fs::read_to_string(Path::new(&out).join("curve.svg")).expect("a picture");
    assert!(curve.contains("Mean squared error") && curve.contains("R²"));
    let text = thalweg(&["train", "--engine", "cpu", "--data", &data, "--epochs", "2"]);
    assert!(text.out.starts_with("test R² ") && text.out.contains("mean absolute error"), "{text:?}");
    assert!(text.err.contains("with numbers to predict (regression): "), "{text:?}");
}

/// `auto` takes fractions and many different integers for a quantity, and neither few integers nor numbers that count the rows.
#[test]
fn the_task_follows_from_the_column_unless_it_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |label: &dyn Fn(usize) -> String| -> String {
        (0..120).map(|i| format!("{}.5,{}.5,{}\n", i % 7, i % 11, label(i))).collect()
    };
    let task = |text: &str, args: &[&str]| {
        let data = file(&folder, "rows.csv", text);
        let common = ["train", "--engine", "cpu", "--json", "--epochs", "1", "--header", "no", "--data", &data];
        let ran = thalweg(&[&common[..], args].concat());
        if ran.code == Some(0) { Ok(ran.data()["task"].as_str().expect("a text").to_string()) } else { Err(ran.err) }
    };
    let halves = of(&|i| format!("{}", i as f64 / 2.0));
    let few = of(&|i| format!("{}", i % 3));
    let many = of(&|i| format!("{}", i * i % 53));
    let counts = of(&|i| i.to_string());
    assert_eq!(task(&halves, &[]), Ok("regression".into()));
    assert_eq!(task(&many, &[]), Ok("regression".into()));
    assert_eq!(task(&few, &[]), Ok("classification".into()));
    assert_eq!(task(&few, &["--task", "regression"]), Ok("regression".into()));
    assert_eq!(task(&counts, &["--task", "regression"]), Ok("regression".into()));
    let error = task(&counts, &[]).expect_err("an identifier");
    assert!(error.contains("looks like an identifier or a quantity") && error.contains("--task regression"), "{error}");
    let error = task(&halves, &["--task", "classification"]).expect_err("a quantity");
    assert!(error.contains("is a fraction") && error.contains("say --task regression"), "{error}");
    let error = task(&of(&|_| "1.5".into()), &["--task", "regression"]).expect_err("one number");
    assert!(error.contains("is 1.5 in all 120 rows, so nothing is to be predicted"), "{error}");
    let error =
        task(&of(&|i| if i == 70 { "x".into() } else { i.to_string() }), &["--task", "regression"]).expect_err("a text");
    assert!(error.contains("line 71, column 3: the label 'x' is not a finite number"), "{error}");
}

#[test]
fn raw_numbers_are_learned_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = file(&folder, "houses.csv", &table(200));
    let last = |more: &[&str]| trained(&[&["--data", &data, "--epochs", "10"], more].concat()).pop().expect("a result");
    let (scaled, raw) = (last(&[]), last(&["--raw-targets"]));
    // In ten epochs no rate of this size comes from 0 to 5,000.
    let r2 = |last: &Value| last["test_r2"].as_f64().expect("a number");
    assert!(r2(&scaled) > -1.0 && r2(&raw) < -10.0, "{scaled} {raw}");
}

#[test]
fn a_sweep_searches_for_the_best_of_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = file(&folder, "houses.csv", &table(200));
    let out = folder.path().join("run");
    let common = [
        "sweep", "--engine", "cpu", "--json", "--data", &data, "--hidden", "16", "--epochs", "4", "--trials", "3", "--batch",
        "16",
    ];
    let more = [
        "--space",
        "lr=log:1e-3:3e-2",
        "--folds",
        "3",
        "--ensemble",
        "2",
        "--out-of-fold",
        "--out",
        out.to_str().expect("UTF-8"),
    ];
    let lines = thalweg(&[&common[..], &more].concat()).json();
    let last = lines.last().expect("a result");
    assert_eq!(lines[0]["settings"]["metric"], "r2");
    assert!(last["refit"]["test_r2"].as_f64().is_some_and(|r2| r2 > 0.5), "{last}");
    assert!(last["ensemble"]["tested"]["test_mae"].as_f64().is_some_and(|mae| mae < 100.0), "{last}");
    let rows = fs::read_to_string(out.join("out_of_fold.csv")).expect("a table");
    assert!(rows.starts_with("row,target,prediction\n") && rows.lines().count() == 161, "{rows}");
    let by_error = thalweg(&[&common[..], &["--space", "lr=log:1e-3:3e-2", "--metric", "mae"]].concat()).json();
    let last = by_error.last().expect("a result");
    assert_eq!(by_error[0]["goal"], "minimize");
    let again: Vec<&str> = last["train"].as_array().expect("options").iter().filter_map(Value::as_str).collect();
    let alone = trained(&again).pop().expect("a result");
    let (found, expected) = (alone["test_mae"].as_f64().expect("a number"), last["best"]["mean"].as_f64().expect("a number"));
    assert!((found - expected).abs() <= 1e-6 * expected, "{found} {expected}");
}
