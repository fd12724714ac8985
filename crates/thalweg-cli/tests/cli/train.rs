//! The options of `train`, and what it prints and writes.

use super::picture::well_formed;
use super::*;

#[test]
fn json_lines_have_exactly_their_keys() {
    let lines = trained(&["--epochs", "3"]);
    assert_eq!(lines.len(), 4);
    for (index, line) in lines[..3].iter().enumerate() {
        assert_eq!(keys(line), BTreeSet::from(EPOCH_KEYS));
        assert_eq!(line["epoch"], index + 1);
        assert_eq!(line["steps"], 23 * (index + 1));
    }
    let last = &lines[3];
    assert_eq!(keys(last), BTreeSet::from(LAST_KEYS));
    assert_eq!(last["engine"], "cpu");
    assert!(last["adapter"].as_str().is_some_and(|adapter| adapter.starts_with("CPU, f32")));
    for key in ["test_accuracy", "train_loss", "seconds", "steps"] {
        assert_eq!(last[key], lines[2][key], "{key}");
    }
}

#[test]
fn without_json_there_is_a_line_per_epoch_on_stderr_and_a_summary_on_stdout() {
    let ran = thalweg(&["train", "--engine", "cpu", "--epochs", "3"]);
    assert_eq!(ran.err.lines().filter(|line| line.starts_with("epoch ")).count(), 3, "{ran:?}");
    assert!(ran.out.starts_with("test accuracy ") && ran.out.lines().count() == 1, "{ran:?}");
}

#[test]
fn every_option_of_training_changes_it() {
    let base = ["--epochs", "2"];
    let default = last_test(&trained(&base));
    let others: [&[&str]; 12] = [
        &["--rule", "sgd"],
        &["--set", "beta2=0.9"],
        &["--schedule", "linear,end_factor=0.5"],
        &["--lr", "0.01"],
        &["--weight-decay", "0.5"],
        &["--clip-norm", "0.01"],
        &["--state", "bf16"],
        &["--batch", "32"],
        &["--hidden", "32"],
        &["--hidden", "64,64,64"],
        &["--seed", "2"],
        &["--epochs", "3"],
    ];
    for other in others {
        // A later --epochs would be a second one.
        let args = if other[0] == "--epochs" { other.to_vec() } else { [&base, other].concat() };
        assert_ne!(last_test(&trained(&args)), default, "{other:?}");
    }
    assert_eq!(last_test(&trained(&["--epochs", "2", "--lr", "0.001", "--hidden", "128,64", "--seed", "1"])), default);
}

#[test]
fn every_rule_trains() {
    for rule in thalweg::rules() {
        // At LARS's default of 1 the loss goes up and down from epoch to epoch.
        let rate: &[&str] = if rule.name() == "lars" { &["--lr", "0.3"] } else { &[] };
        let lines = trained(&[&["--rule", rule.name(), "--epochs", "2"], rate].concat());
        let [first, second] = [0, 1].map(|epoch| lines[epoch]["train_loss"].as_f64().expect("a finite loss"));
        assert!(second < first, "{}: {first} to {second}", rule.name());
    }
}

/// In 16 bits AdamW learns the digits as well as in 32.
#[test]
fn state_in_16_bits_trains_as_well() {
    let accuracy = |state: &str| {
        let lines = trained(&["--epochs", "10", "--state", state]);
        lines[9]["test_accuracy"].as_f64().expect("an accuracy")
    };
    let [wide, narrow] = ["f32", "bf16"].map(accuracy);
    assert!((wide - narrow).abs() < 0.02 && narrow > 0.9, "{wide} and {narrow}");
    let refused = thalweg(&["train", "--engine", "cpu", "--state", "f64"]);
    assert!(refused.err.contains("f32 or bf16 expected"), "{refused:?}");
    let refused = thalweg(&["train", "--engine", "cpu", "--rule", "asgd", "--state", "bf16"]);
    let reason = "a state in bf16 cannot be combined with plane 'ax' of asgd: it needs all the bits of f32";
    assert!(refused.err.contains(reason), "{refused:?}");
}

#[test]
fn set_takes_what_the_short_options_take() {
    let long = ["--set", "weight_decay=0.1", "--set", "lr=0.003"];
    let short = ["--lr", "0.003", "--weight-decay", "0.1"];
    let run = |args: &[&str]| last_test(&trained(&[&["--epochs", "2"], args].concat()));
    assert_eq!(run(&long), run(&short));
}

#[test]
fn a_schedule_is_a_factor_and_takes_the_runs_steps_where_it_needs_some() {
    // Two epochs are 46 steps.
    let run = |args: &[&str]| last_test(&trained(&[&["--epochs", "2"], args].concat()));
    assert_eq!(run(&["--schedule", "cosine"]), run(&["--schedule", "cosine,steps=46"]));
    assert_ne!(run(&["--schedule", "cosine"]), run(&["--schedule", "cosine,steps=45"]));
    // A warm-up comes first.
    assert_eq!(run(&["--schedule", "cosine,warmup=10"]), run(&["--schedule", "cosine,warmup=10,steps=36"]));
    let half = run(&["--lr", "0.002", "--schedule", "constant,value=0.5"]);
    assert_eq!(half, run(&["--lr", "0.001"]));
    // A list has commas. After step 30, in the second epoch, the rate is almost 0.
    let stopped = trained(&["--epochs", "3", "--schedule", "multi_step,milestones=30,31,gamma=1e-30,from=1"]);
    assert_ne!(stopped[0]["test_loss"], stopped[1]["test_loss"]);
    assert_eq!(stopped[1]["test_loss"], stopped[2]["test_loss"]);
}

#[test]
fn a_schedule_moves_the_learning_rates_of_both_rules() {
    let run = |args: &[&str]| last_test(&trained(&[&["--epochs", "2", "--rule", "muon"], args].concat()));
    let halves = run(&["--lr", "0.01", "--others", "adamw,lr=0.001"]);
    assert_eq!(halves, run(&["--lr", "0.02", "--others", "adamw,lr=0.002", "--schedule", "constant,value=0.5"]));
    assert_ne!(halves, run(&["--lr", "0.01", "--others", "adamw,lr=0.002"]));
    assert_eq!(run(&["--lr", "0.01"]), run(&["--lr", "0.01", "--others", "adamw"]));
}

#[test]
fn biases_have_a_rule_of_their_own() {
    let run = |args: &[&str]| last_test(&trained(&[&["--epochs", "2"], args].concat()));
    let plain = run(&["--weight-decay", "0.5"]);
    assert_eq!(plain, run(&["--weight-decay", "0.5", "--others", "adamw,weight_decay=0.5"]));
    assert_ne!(plain, run(&["--weight-decay", "0.5", "--others", "adamw,weight_decay=0"]));
    assert_ne!(plain, run(&["--weight-decay", "0.5", "--others", "sgd,lr=0.1,momentum=0.9"]));
}

#[test]
fn a_plateau_lowers_the_rate_once_the_loss_is_no_better() {
    let run = |args: &[&str]| trained(&[&["--epochs", "5"], args].concat());
    let losses = |lines: &[Value]| lines[..lines.len() - 1].iter().map(|line| line["test_loss"].clone()).collect::<Vec<_>>();
    let steady = losses(&run(&[]));
    // The first loss is the best so far, whatever the threshold; no later one is better by that much.
    let reduced = losses(&run(&["--schedule", "plateau,threshold=absolute:9,patience=1,factor=1e-30"]));
    assert_eq!(reduced[..3], steady[..3]);
    assert_ne!(reduced[3], steady[3]);
    assert_eq!(reduced[3], reduced[2]);
    assert_eq!(losses(&run(&["--schedule", "plateau"])), steady);
    // A loss that falls every time is no plateau, even for the least patient.
    assert!(steady.windows(2).all(|pair| pair[1].as_f64() < pair[0].as_f64()), "{steady:?}");
    assert_eq!(losses(&run(&["--schedule", "plateau,patience=0,factor=1e-30"])), steady);
    let half = losses(&run(&["--schedule", "plateau,from=0.5", "--lr", "0.002"]));
    assert_eq!(half, steady);
}

#[test]
fn a_seed_decides_everything_but_the_seconds() {
    let run = |seed: &str| without_seconds(trained(&["--epochs", "4", "--seed", seed]));
    assert_eq!(run("7"), run("7"));
    let (one, other) = (run("7"), run("8"));
    (0..4).for_each(|epoch| assert_ne!(one[epoch], other[epoch]));
}

#[test]
fn the_digits_are_learned() {
    let accuracy = |seed: u32| trained(&["--seed", &seed.to_string()]).last().and_then(|last| last["test_accuracy"].as_f64());
    let accuracies: Vec<f64> = (1..=5).map(|seed| accuracy(seed).expect("a number")).collect();
    let mean = accuracies.iter().sum::<f64>() / 5.0;
    assert!(mean >= 0.965, "{mean} is the mean of {accuracies:?}");
}

#[test]
fn out_gets_a_line_per_epoch_and_the_curves() {
    let temp = TempDir::new().expect("a directory");
    let out = temp.path().join("new/run");
    let lines = trained(&["--epochs", "3", "--out", out.to_str().expect("UTF-8")]);
    let table = fs::read_to_string(out.join("metrics.csv")).expect("a table");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((rows.len(), &rows[0][..]), (4, &EPOCH_KEYS[..]));
    for (row, line) in rows[1..].iter().zip(&lines) {
        for (key, value) in EPOCH_KEYS.iter().zip(row) {
            // serde_json reads numbers to within an ulp.
            let (value, expected) = (value.parse::<f64>().expect("a number"), line[key].as_f64().expect("a number"));
            assert!((value - expected).abs() <= 1e-15 * expected, "{key}: {value} {expected}");
        }
    }
    let picture = fs::read_to_string(out.join("curve.svg")).expect("a picture");
    well_formed(&picture).expect("SVG");
    assert!(picture.matches("<polyline").count() >= 4, "{picture}");
    for text in ["Cross-entropy", "Accuracy", "training", "test", "epoch"] {
        assert!(picture.contains(text), "{text}");
    }
}

#[test]
fn a_run_that_diverges_says_so_and_still_draws() {
    let temp = TempDir::new().expect("a directory");
    let out = temp.path().to_str().expect("UTF-8");
    let args = ["train", "--engine", "cpu", "--json", "--rule", "sgd", "--lr", "1e30", "--epochs", "2", "--out", out];
    let ran = thalweg(&args);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    // The data and one epoch; the other is not run.
    assert!(lines.len() == 2 && lines[1]["train_loss"].is_null(), "{ran:?}");
    assert!(ran.err.contains("try a smaller --lr"), "{ran:?}");
    well_formed(&fs::read_to_string(temp.path().join("curve.svg")).expect("a picture")).expect("SVG");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_after_a_step_and_keeps_what_was_written() {
    let temp = TempDir::new().expect("a directory");
    let out = temp.path().to_str().expect("UTF-8");
    let mut child = command(&["train", "--engine", "cpu", "--json", "--epochs", "100000", "--out", out])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    // When this returns, the line about data and run and two epochs have been printed.
    (0..3).for_each(|_| assert!(stdout.read_line(&mut String::new()).expect("a line") > 0));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(killed.success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("UTF-8");
    let mut err = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut err).expect("UTF-8");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{err}");
    assert!(rest.lines().all(|line| keys(&serde_json::from_str(line).expect("JSON")) == BTreeSet::from(EPOCH_KEYS)), "{rest}");

    let table = fs::read_to_string(temp.path().join("metrics.csv")).expect("a table");
    let rows: Vec<&str> = table.lines().skip(1).collect();
    assert!(table.ends_with('\n') && rows.len() == 2 + rest.lines().count(), "{table}");
    assert!(rows.iter().all(|row| row.split(',').filter(|field| field.parse::<f64>().is_ok()).count() == 7), "{table}");
    assert!(err.contains(&format!("interrupted after {} whole epochs", rows.len())), "{err}");
    well_formed(&fs::read_to_string(temp.path().join("curve.svg")).expect("a picture")).expect("SVG");
}

#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    let table =
        [(&["train", "--engine", "cpu", "--json", "--epochs", "100000"][..], 141), (&["info"], 0), (&["train", "--help"], 0)];
    for (args, code) in table {
        let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        assert!(stdout.read_line(&mut String::new()).expect("a line") > 0);
        drop(stdout);
        let mut err = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut err).expect("UTF-8");
        assert_eq!((child.wait().expect("it ends").code(), err.as_str()), (Some(code), ""), "{args:?}");
    }
}
