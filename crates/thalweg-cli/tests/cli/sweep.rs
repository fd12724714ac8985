//! Small sweeps: complete, stopped, resumed and refused ones.

use super::*;

/// A sweep on the CPU engine with these arguments, and with small defaults for the others.
fn swept(args: &[&str]) -> Ran {
    let mut all = vec!["sweep"];
    for (option, value) in [("--engine", "cpu"), ("--hidden", "8"), ("--batch", "256"), ("--epochs", "3"), ("--trials", "6")] {
        let other = option == "--epochs" && args.contains(&"--steps");
        if !other && !args.contains(&option) {
            all.extend([option, value]);
        }
    }
    all.extend(args);
    thalweg(&all)
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn out(temp: &TempDir) -> String {
    temp.path().join("run").to_str().expect("UTF-8").into()
}

/// The last object that a sweep prints.
fn result(ran: &Ran) -> Value {
    ran.json().pop().expect("a line")
}

const LR: [&str; 2] = ["--space", "lr=log:1e-4:1"];

#[test]
fn a_sweep_finds_the_best_rate_and_says_so() {
    let ran = swept(&LR);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("best of 6 trials: trial ") && ran.out.contains("accuracy"), "{ran:?}");
    assert!(ran.out.contains(" % on the 359 validation rows after 3 epochs: lr="), "{ran:?}");
    assert!(ran.err.contains("data: digits") && ran.err.contains("best after 3 epochs: trial 0, "), "{ran:?}");
    let quiet = swept(&[&LR[..], &["--quiet"]].concat());
    assert_eq!((quiet.code, quiet.err.as_str()), (Some(0), ""), "{quiet:?}");
    let line = |ran: &Ran| ran.out.lines().next().unwrap_or_default().to_string();
    assert_eq!(line(&quiet), line(&ran));
}

#[test]
fn every_strategy_and_sampler_leaves_a_table_of_its_trials() {
    let strategies = ["plain", "halving", "hyperband", "median", "patience", "population"];
    for (strategy, sampler) in strategies.into_iter().zip(["tpe", "random", "sobol", "latin", "grid", "random"]) {
        let ran = swept(&[&LR[..], &["--json", "--strategy", strategy, "--sampler", sampler, "--ask", "3"]].concat());
        let last = result(&ran);
        let ended: u64 = ["complete", "stopped", "failed"].iter().map(|name| last[name].as_u64().expect("a number")).sum();
        let trials = if sampler == "grid" { 5 } else { 6 };
        assert_eq!((ended, &last["trials"]), (trials, &Value::from(trials)), "{strategy}: {last}");
        assert!(last["best"]["mean"].as_f64().is_some_and(|mean| mean > 0.3), "{strategy}: {last}");
    }
}

#[test]
fn the_result_says_on_which_rows_of_folds_it_was_measured() {
    let ran = swept(&["--trials", "2", "--folds", "3", "--no-refit", "--space", "lr=log:1e-2:3e-2"]);
    assert!(ran.out.contains(" over 3 runs on the rows left out in each of 3 folds after 3 epochs: lr="), "{ran:?}");
}

#[test]
fn folds_and_seeds_are_counted_and_the_best_is_trained_on_all() {
    let args = ["--json", "--trials", "2", "--folds", "3", "--seeds", "2", "--space", "lr=log:1e-2:3e-2"];
    let last = result(&swept(&args));
    assert_eq!((&last["best"]["runs"], &last["complete"]), (&6.into(), &2.into()), "{last}");
    assert!(last["refit"]["test_accuracy"].as_f64().is_some_and(|accuracy| accuracy > 0.2), "{last}");
    let ran = swept(&[&args[..], &["--strategy", "folds", "--no-refit"]].concat());
    assert!(result(&ran)["refit"].is_null(), "{ran:?}");
}

/// A sweep that was killed anywhere and resumed ends with the table of an uninterrupted one.
#[test]
fn a_resumed_sweep_has_the_table_of_one_that_was_not_stopped() {
    for (strategy, sampler) in [("plain", "tpe"), ("hyperband", "random"), ("population", "random")] {
        let temp = TempDir::new().expect("a directory");
        let (folder, path) = (temp.path().join("run"), out(&temp));
        let args = [&LR[..], &["--strategy", strategy, "--sampler", sampler, "--ask", "2", "--quiet", "--out", &path]].concat();
        assert_eq!(swept(&args).code, Some(0));
        let (lines, csv) = (read(&folder, "trials.jsonl"), read(&folder, "trials.csv"));
        let again = swept(&args);
        assert!(again.code == Some(2) && again.err.contains("--resume goes on with it"), "{again:?}");
        // Killed in the middle of a line.
        let cut = lines.len() * 2 / 3;
        fs::write(folder.join("trials.jsonl"), &lines[..cut]).expect("written");
        let resumed = swept(&[&args[..], &["--resume"]].concat());
        assert_eq!(resumed.code, Some(0), "{resumed:?}");
        assert!(resumed.err.contains("trials.jsonl, line ") && resumed.err.contains("the line is left out"), "{resumed:?}");
        let table = |text: &str| {
            // Of several lines with the same key, the last one counts.
            let mut rows = std::collections::BTreeMap::new();
            for line in text.lines().skip(1) {
                let row: Value = serde_json::from_str(line).expect("JSON");
                rows.insert(format!("{} {}", row["trial"], row["rung"]), line.to_string());
            }
            rows
        };
        assert_eq!(table(&read(&folder, "trials.jsonl")), table(&lines), "{strategy}");
        // From the other table alone.
        fs::remove_file(folder.join("trials.jsonl")).expect("removed");
        fs::write(folder.join("trials.csv"), &csv[..csv.len() / 2]).expect("written");
        let resumed = swept(&[&args[..], &["--resume"]].concat());
        assert_eq!(resumed.code, Some(0), "{resumed:?}");
        assert_eq!(table(&read(&folder, "trials.jsonl")), table(&lines), "{strategy}");
        let run: Value = serde_json::from_str(&read(&folder, "run.json")).expect("JSON");
        assert_eq!((&run["state"], &run["settings"]["strategy"]), (&"finished".into(), &strategy.into()));
    }
}

#[test]
fn a_sweep_goes_on_only_with_its_own_table() {
    let temp = TempDir::new().expect("a directory");
    let path = out(&temp);
    let none = swept(&[&LR[..], &["--resume", "--out", &path]].concat());
    assert!(none.code == Some(1) && none.err.contains("there is no sweep to go on with"), "{none:?}");
    assert_eq!(swept(&[&LR[..], &["--trials", "2", "--epochs", "1", "--quiet", "--out", &path]].concat()).code, Some(0));
    let resumed = |args: &[&str]| {
        let trials: &[&str] = if args.contains(&"--trials") { &[] } else { &["--trials", "2"] };
        swept(&[trials, &["--epochs", "1", "--resume", "--out", &path], args].concat())
    };
    let other = resumed(&["--space", "lr=log:1e-4:2"]);
    assert!(other.code == Some(2) && other.err.contains("a table of another space: lr=log:0.0001:1.0"), "{other:?}");
    let other = resumed(&[&LR[..], &["--seed", "2"]].concat());
    assert!(other.code == Some(2) && other.err.contains("--resume: seed was 1 and is 2 now"), "{other:?}");
    // With a larger number of trials, further ones follow the existing ones.
    let more = resumed(&[&LR[..], &["--trials", "3", "--json"]].concat());
    assert_eq!(result(&more)["trials"], 3, "{more:?}");
}

#[test]
fn invalid_options_are_refused_before_anything_is_read() {
    let table: &[(&[&str], &str)] = &[
        (&[], "the search space is empty; give --space lr=log:1e-4:1e-1"),
        (&["--space", "lr=log:1:0.1"], "low of lr = 1 is out of range: below high = 0.1"),
        (&["--space", "lr=log:0:1"], "low of lr = 0 is out of range: finite and above 0"),
        (&["--space", "lr=uniform:0:x"], "'uniform:0:x' is out of range: of the form uniform:0:0.9"),
        (&["--space", "lr=lug:1e-4:1"], "did you mean log?"),
        (&["--space", "lrr=log:1e-4:1"], "did you mean lr?"),
        (
            &["--space", "lr=log:1e-4:1", "--sampler", "tpe", "--strategy", "hyperband"],
            "--sampler tpe: the sampler learns from",
        ),
        (&["--space", "momentum=uniform:0:0.9"], "unknown parameter 'momentum'"),
        (&["--space", "lr=choice:"], "the choice of lr is empty"),
        (&["--space", "lr=fixed:1", "--space", "lr=fixed:2"], "parameter 'lr' is given twice"),
        (&["--space", "rule=choice:adam,sdg"], "did you mean sgd?"),
        (
            &["--space", "rule=choice:adam,sgd", "--space", "beta1=uniform:0:0.9"],
            "beta1 is no setting of sgd; say where it exists",
        ),
        (&["--space", "beta1=uniform:0:1"], "at beta1=1.0: beta1 = 1 is out of range"),
        (&["--space", "lr=log:1e-3:1", "--lr", "0.1"], "lr is given as an option and searched by --space"),
        (&["--space", "clip_norm=uniform:0:1"], "clip_norm = 0 is out of range"),
        (&["--space", "dropout=uniform:0:1"], "dropout = 1 is out of range: at least 0 and below 1"),
        (&["--preset", "lr-scan", "--groups"], "--groups: all tensors are one group; --others RULE makes another one"),
        (&["--space", "lr=log:1e-3:1", "--groups"], "--groups goes with --preset lr-scan"),
        (&["--space", "others.lr=log:1e-3:1"], "unknown parameter 'others.lr'"),
        (&["--others", "adam,lr=0.1", "--space", "others.lr=log:1e-3:1"], "others.lr is given as an option and searched by"),
        (&["--others", "adam", "--space", "group=choice:default,biases"], "unknown group 'biases'"),
        (&["--space", "flip=uniform:0:2", "--model", "cnn"], "at flip=2.0: flip = 2 is out of range: 0 to 1"),
        (&["--space", "shift=uniform:0:2"], "--shift has no use for mlp"),
        (
            &["--space", "crop=fixed:0.1", "--model", "cnn", "--crop", "0.1"],
            "crop is given as an option and searched by --space",
        ),
        (&["--space", "hidden=choice:8,0"], "hidden = 0 is out of range: a whole number from 1 to 65536"),
        (&["--space", "activation=choice:relu,gellu"], "did you mean gelu?"),
        (&["--space", "schedule=choice:none,cosin"], "did you mean cosine?"),
        (&["--space", "schedule=fixed:plateau"], "schedule = plateau is out of range"),
        (&["--space", "lr=log:1e-3:1 if rule=adam"], "unknown parameter 'rule'"),
        (&["--space", "lr=log:1e-3:1", "--strategy", "folds"], "folds = 0 is out of range: at least 2"),
        (
            &["--space", "lr=log:1e-3:1", "--strategy", "median", "--every", "2"],
            "steps = 3 is out of range: a multiple of every = 2",
        ),
        (&["--space", "lr=log:1e-3:1", "--strategy", "hyperband", "--trials", "1"], "trials = 1 is out of range: at least 2"),
        (&["--space", "lr=log:1e-3:1", "--first", "lr=3"], "lr = 3 is out of range: in log:0.001:1.0"),
        (&["--space", "lr=log:1e-3:1", "--strategy", "hyprband"], "hyperband"),
        (&["--space", "lr=fixed:1", "--metric", "mae"], "--metric mae: the task is classification, which does not measure it"),
        (&["--space", "dropout=fixed:0.1", "--dropout", "0.1"], "dropout is given as an option and searched by --space"),
        (&["--space", "hidden=choice:8,16", "--model", "linear"], "--hidden has no use for linear"),
        (&["--space", "lr=fixed:1", "--save-best", "/no/such/x"], "--save-best: /no/such is no folder"),
        (&["--space", "hidden=choice:8,16", "--strategy", "population"], "the list of parameters to explore is empty"),
    ];
    for (args, says) in table {
        let ran = swept(args);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (Some(2), "", 1), "{args:?}: {ran:?}");
        assert!(ran.err.contains(says), "{args:?}: {ran:?}");
    }
    let ran = swept(&[&LR[..], &["--folds", "1000"]].concat());
    assert!(ran.code == Some(1) && ran.err.contains("folds = 1000 is out of range") && ran.out.is_empty(), "{ran:?}");
}

#[test]
fn a_file_says_what_the_line_would() {
    let temp = TempDir::new().expect("a directory");
    let file = temp.path().join("sweep.toml");
    fs::write(
        &file,
        "trials = 2\nepochs = 1\nmetric = \"loss\"\n[space]\nrule = \"choice:AdamW,sgd\"\nlearning_rate = \"log:1e-3:1\"\n",
    )
    .expect("written");
    let path = file.to_str().expect("UTF-8");
    let common = ["sweep", "--engine", "cpu", "--hidden", "8", "--batch", "256", "--json"];
    let by_file = thalweg(&[&common[..], &["--config", path]].concat());
    let line =
        ["--trials", "2", "--epochs", "1", "--metric", "loss", "--space", "rule=choice:adamw,sgd", "--space", "lr=log:1e-3:1"];
    let by_line = thalweg(&[&common[..], &line].concat());
    assert_eq!(result(&by_file)["best"], result(&by_line)["best"]);
    let other = thalweg(&[&common[..], &["--config", path, "--trials", "3"]].concat());
    assert_eq!(result(&other)["trials"], 3, "{other:?}");
    fs::write(&file, "trials = 0").expect("written");
    let wrong = thalweg(&["sweep", "--config", path]);
    assert!(wrong.code == Some(2) && wrong.err.contains("sweep.toml: invalid value '0' for '--trials <N>'"), "{wrong:?}");
}

#[test]
fn trials_whose_loss_is_not_finite_have_failed_and_end_nothing() {
    let args = ["--space", "lr=choice:0.1,1e30", "--sampler", "grid", "--rule", "sgd", "--json"];
    let last = result(&swept(&args));
    assert_eq!(
        (&last["failed"], &last["complete"], &last["best"]["settings"]["lr"]),
        (&1.into(), &1.into(), &0.1.into()),
        "{last}"
    );
    let ran = swept(&["--space", "lr=fixed:1e30", "--trials", "1", "--rule", "sgd"]);
    assert!(ran.code == Some(1) && ran.err.contains("none of the 1 trials has a loss that is finite"), "{ran:?}");
}

/// The rates of one group after the other are lanes; the other group keeps the rate that is given.
#[test]
fn a_range_test_may_go_group_by_group() {
    let groups = ["--preset", "lr-scan", "--groups", "--others", "adam,lr=0.003,beta1=0.8", "--lr", "0.01"];
    let last = result(&swept(&[&groups[..], &["--grid-values", "3", "--epochs", "1", "--json"]].concat()));
    assert_eq!((&last["trials"], &last["complete"]), (&6.into(), &6.into()), "{last}");
    let settings = &last["best"]["settings"];
    let (own, kept) = match settings["group"].as_str() {
        Some("default") => (("rates", "lr"), "--others=adam,lr=0.003,beta1=0.8"),
        _ => (("rates_of_others", "others.lr"), "--set=lr=0.01"),
    };
    for name in ["rates", "rates_of_others"] {
        let rates: Vec<f64> = last[name].as_array().expect("two").iter().filter_map(Value::as_f64).collect();
        let best = settings[own.1].as_f64().expect("a rate");
        assert!(rates.len() == 2 && (name != own.0 || (rates[0]..=rates[1]).contains(&best)), "{last}");
    }
    let train: Vec<&str> = last["train"].as_array().expect("options").iter().filter_map(Value::as_str).collect();
    assert!(train.contains(&kept), "{train:?}");
    let lines = trained(&train);
    let (alone, lane) = (&lines[lines.len() - 2]["test_loss"], &last["best"]["mean"]);
    let apart = (alone.as_f64().expect("a loss") - lane.as_f64().expect("a loss")).abs();
    assert!(apart < 1e-12, "{alone} and {lane}");
}

#[test]
fn presets_are_sweeps() {
    let scan = swept(&["--preset", "lr-scan", "--grid-values", "4", "--epochs", "1", "--json"]);
    assert_eq!(result(&scan)["trials"], 4, "{scan:?}");
    let best = result(&scan)["best"]["settings"]["lr"].as_f64().expect("a rate");
    let rates: Vec<f64> = result(&scan)["rates"].as_array().expect("two").iter().filter_map(Value::as_f64).collect();
    assert!(rates.len() == 2 && (rates[0]..=rates[1]).contains(&best), "{scan:?}");
    let seeds = result(&swept(&["--preset", "seeds", "--seeds", "3", "--trials", "1", "--epochs", "1", "--json"]));
    assert_eq!((&seeds["best"]["runs"], &seeds["trials"]), (&3.into(), &1.into()), "{seeds}");
    let rules =
        ["--preset", "rules", "--seeds", "2", "--epochs", "1", "--space", "rule=choice:adam,sgd", "--space", "lr=log:1e-6:10"];
    let rules = result(&swept(&[&rules[..], &["--json"]].concat()));
    assert_eq!((&rules["trials"], rules["rules"].as_array().map(Vec::len)), (&10.into(), Some(2)), "{rules}");
}

#[test]
fn the_best_are_tested_together_and_rows_are_judged_by_models_that_have_not_seen_them() {
    let temp = TempDir::new().expect("a directory");
    let args = ["--folds", "3", "--ensemble", "2", "--out-of-fold", "--json", "--trials", "3", "--space", "lr=log:1e-2:3e-2"];
    let last = result(&swept(&[&args[..], &["--out", &out(&temp)]].concat()));
    assert_eq!(last["ensemble"]["trials"].as_array().map(Vec::len), Some(2), "{last}");
    let [best, both] =
        [&last["refit"], &last["ensemble"]["tested"]].map(|tested| tested["test_accuracy"].as_f64().expect("a number"));
    assert!(best > 0.2 && both > 0.2, "{last}");
    assert!(last["refit"]["test_calibration_error"].as_f64().is_some_and(|error| (0.0..1.0).contains(&error)), "{last}");
    let rows = read(&temp.path().join("run"), "out_of_fold.csv");
    let mut lines = rows.lines();
    assert_eq!(lines.next(), Some("row,label,p0,p1,p2,p3,p4,p5,p6,p7,p8,p9"));
    let mut right = 0;
    for (row, line) in lines.enumerate() {
        let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().expect("a number")).collect();
        assert!(cells[0] == row as f64 && (cells[2..].iter().sum::<f64>() - 1.0).abs() < 1e-9, "{line}");
        let best = (0..10).max_by(|&a, &b| cells[2 + a].total_cmp(&cells[2 + b])).expect("ten");
        right += usize::from(best as f64 == cells[1]);
    }
    // The accuracy of a model on its own fold, over all folds, is that of the trial.
    let accuracy = right as f64 / (rows.lines().count() - 1) as f64;
    assert!((accuracy - last["best"]["mean"].as_f64().expect("a number")).abs() < 0.002, "{accuracy}: {last}");
}

/// A lane of a population equals the model alone, also across rungs, waves and programs.
#[test]
fn train_does_what_the_best_trial_did() {
    let temp = TempDir::new().expect("a directory");
    let table = temp.path().join("points.csv");
    let line = |i: usize| format!("{},{},{}\n", i % 7, i * i % 11, if i % 7 > 3 { "a" } else { "b" });
    fs::write(&table, "x,y,kind\n".to_string() + &(0..80).map(line).collect::<String>()).expect("written");
    let table = table.to_str().expect("UTF-8");
    let spaces: [&[&str]; 3] = [
        &["--space", "lr=log:1e-2:1e-1", "--strategy", "halving", "--trials", "9", "--epochs", "9", "--lanes", "4"],
        &["--space", "rule=choice:adam,sgd", "--space", "lr=fixed:0.05", "--space", "schedule=fixed:cosine", "--seeds", "1"],
        &[
            "--space",
            "hidden=choice:8,16",
            "--space",
            "batch=choice:128,200",
            "--space",
            "clip_norm=uniform:0.5:2",
            "--lr",
            "0.03",
        ],
    ];
    for space in spaces {
        let last = result(&swept(&[space, &["--json"]].concat()));
        let train: Vec<&str> =
            last["train"].as_array().expect("options").iter().map(|option| option.as_str().expect("text")).collect();
        let lines = trained(&train);
        assert_eq!(lines[lines.len() - 2]["test_accuracy"], last["best"]["mean"], "{last}");
    }
    // So the model can be kept.
    let model = temp.path().join("best.safetensors");
    let model = model.to_str().expect("UTF-8");
    let last = result(&swept(&["--space", "lr=log:1e-2:1e-1", "--trials", "2", "--save-best", model, "--json"]));
    let evaluated = thalweg(&["evaluate", "--model", model, "--engine", "cpu", "--json"]).json();
    assert_eq!(evaluated[0]["accuracy"], last["best"]["mean"], "{evaluated:?} {last}");
    // Features of a table are scaled on the device, by the rows of each fold; here by all rows.
    let csv = ["--data", table, "--target", "kind", "--space", "lr=log:1e-2:1e-1", "--json", "--batch", "16"];
    let last = result(&swept(&csv));
    let train: Vec<&str> =
        last["train"].as_array().expect("options").iter().map(|option| option.as_str().expect("text")).collect();
    assert!(train[0] == format!("--data={table}") && train[1] == "--target=kind", "{last}");
    let lines = trained(&train);
    assert_eq!(lines[lines.len() - 2]["test_accuracy"], last["best"]["mean"], "{last}");
}

#[test]
fn trials_may_be_counted_in_steps() {
    let by = |args: &[&str]| result(&swept(&[&LR[..], &["--json", "--trials", "2"], args].concat()))["best"].clone();
    // Six batches of 256 fill an epoch.
    let (steps, epochs) = (by(&["--steps", "12"]), by(&["--epochs", "2"]));
    assert_eq!((&steps["mean"], &steps["steps"], &epochs["steps"]), (&epochs["mean"], &12.into(), &2.into()));
    // Rungs in the middle of an epoch make no difference to trials that go on.
    let halved = by(&["--steps", "12", "--strategy", "halving", "--eta", "2", "--min-epochs", "6"]);
    let trial = |best: &Value| (best["trial"].clone(), best["mean"].clone());
    assert!(trial(&halved) == trial(&steps) || halved["trial"] != steps["trial"], "{halved} {steps}");
    let both = swept(&[&LR[..], &["--steps", "2", "--epochs", "2"]].concat());
    assert!(both.code == Some(2) && both.err.contains("cannot be used with"), "{both:?}");
}

#[test]
fn pictures_show_curves_parameters_importance_and_descent() {
    let temp = TempDir::new().expect("a directory");
    let args = [
        "--strategy",
        "population",
        "--trials",
        "5",
        "--epochs",
        "4",
        "--space",
        "rule=choice:adam,adamw",
        "--quiet",
        "--out",
        &out(&temp),
    ];
    let ran = swept(&[&LR[..], &args].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let folder = temp.path().join("run");
    for (name, says) in [
        ("curves.svg", "Training loss"),
        ("parameters.svg", "adamw"),
        ("parallel.svg", "rule"),
        ("importance.svg", "Importance of parameters by fANOVA"),
        ("population.svg", "its descent"),
    ] {
        let picture = read(&folder, name);
        super::picture::well_formed(&picture).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(picture.contains(says), "{name}: {picture}");
    }
    let curves = read(&folder, "curves.csv");
    assert_eq!(curves.lines().count(), 1 + 5 * 4, "{curves}");
    assert!(
        read(&folder, "trials.csv")
            .lines()
            .any(|line| line.split(',').nth(1).is_some_and(|parent| parent.parse::<u64>().is_ok()))
    );
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_sweep_and_keeps_its_rows() {
    let temp = TempDir::new().expect("a directory");
    let path = out(&temp);
    let args = [
        "sweep",
        "--engine",
        "cpu",
        "--json",
        "--trials",
        "100000",
        "--epochs",
        "1",
        "--out",
        &path,
        "--space",
        "lr=log:1e-4:1",
    ];
    let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut complete = 0;
    while complete < 2 {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).expect("a line") > 0);
        complete += usize::from(line.contains("\"complete\""));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill starts").success());
    stdout.read_to_string(&mut String::new()).expect("UTF-8");
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
    let folder = temp.path().join("run");
    assert!(read(&folder, "trials.jsonl").matches("\"complete\"").count() >= 2);
    assert!(read(&folder, "run.json").contains("\"state\": \"interrupted\""));
}

/// Before it begins, a sweep says how many lanes it has at a time, what each takes, and in how many waves it goes. Waves change
/// no row.
#[test]
fn waves_are_stated_before_the_start_and_change_nothing() {
    let temp = TempDir::new().expect("a directory");
    for strategy in ["plain", "hyperband", "population"] {
        let table = |lanes: &str| {
            let path = temp.path().join(format!("{strategy} {lanes}"));
            let options =
                ["--trials", "8", "--folds", "2", "--ask", "8", "--strategy", strategy, "--lanes", lanes, "--no-refit"];
            let ran = swept(&[&LR[..], &options, &["--json", "--out", path.to_str().expect("UTF-8")]].concat());
            assert_eq!(ran.code, Some(0), "{ran:?}");
            (ran.json().swap_remove(0), read(&path, "trials.csv"))
        };
        let ((whole, expected), (waves, found)) = (table("64"), table("3"));
        let rows = |text: &str| {
            // Rows come in another order; of those with the same key, the last one counts.
            let rows = text.lines().map(|line| (line.split(',').take(5).collect::<Vec<_>>().join(","), line.to_string()));
            rows.collect::<std::collections::BTreeMap<String, String>>()
        };
        assert_eq!(rows(&found), rows(&expected), "{strategy}");
        let jobs = whole["waves"]["trainings_at_once"].as_u64().expect("a number");
        assert_eq!((&whole["lanes"], &waves["lanes"]), (&64.into(), &3.into()));
        assert_eq!(jobs, if strategy == "hyperband" { 10 } else { 16 }, "{whole}");
        assert_eq!((&whole["waves"]["waves"], &waves["waves"]["waves"]), (&1.into(), &jobs.div_ceil(3).into()), "{waves}");
        assert!(whole["waves"]["lane_bytes"].as_u64() > Some(1000), "{whole}");
    }
    let ran = swept(&[&LR[..], &["--trials", "8", "--ask", "8", "--lanes", "3"]].concat());
    let stated = ran.err.lines().find(|line| line.starts_with("lanes: ")).expect("a line of its own");
    assert!(
        stated.starts_with("lanes: up to 3 at a time, each of ") && stated.ends_with("up to 8 trainings at once go in 3 waves")
    );
    let begins = ran.err.find("best after ").expect("a result");
    assert!(ran.err.find("lanes: ") < Some(begins), "{ran:?}");
}

/// Memory that holds only some of the lanes makes waves, and a bound on lanes that does not fit names the number that does.
#[test]
fn lanes_beyond_memory_are_refused_with_the_number_that_fits() {
    let room = ["--trials", "8", "--ask", "8", "--epochs", "1", "--max-memory", "3M"];
    let ran = swept(&[&LR[..], &room, &["--json"]].concat());
    let first = ran.json().swap_remove(0);
    let number = |name: &str| first["waves"][name].as_u64().expect(name);
    let fit = number("lanes_that_fit");
    assert!(fit > 0 && fit < 64 && first["lanes"] == fit, "{first}");
    assert_eq!(fit, number("memory") / number("lane_bytes"), "{first}");
    let ran = swept(&[&LR[..], &room, &["--lanes", "100000"]].concat());
    let says = format!("--lanes 100000: there is memory for {fit}; more go in waves");
    assert!(ran.code == Some(2) && ran.err.contains(&says), "{ran:?}");
}

/// What was trained to the end of a rung is not trained again: the states of lanes are in the folder, those of a population
/// too. In waves it is the same.
#[test]
fn a_resumed_sweep_goes_on_from_the_states_of_the_last_rung() {
    let steps = |ran: &Ran| result(ran)["model_steps"].as_u64().expect("a number");
    for (strategy, more, lanes) in
        [("halving", ["--eta", "3"], "64"), ("population", ["--every", "1"], "64"), ("halving", ["--eta", "3"], "4")]
    {
        let temp = TempDir::new().expect("a directory");
        let (folder, path) = (temp.path().join("run"), out(&temp));
        let args = [
            "--strategy",
            strategy,
            "--sampler",
            "random",
            "--trials",
            "9",
            "--epochs",
            "9",
            "--lanes",
            lanes,
            "--json",
            "--out",
            &path,
        ];
        let args = [&LR[..], &args, &more].concat();
        let whole = swept(&args);
        assert_eq!(whole.code, Some(0), "{whole:?}");
        let lines = read(&folder, "trials.jsonl");
        // Killed in the last rung.
        let last =
            lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["rung"].as_u64()).max().expect("rungs");
        let of_last = format!("\"rung\":{last}");
        let end = lines.lines().position(|line| line.contains(&of_last)).expect("a row");
        let begun: String = lines.lines().take(end + 1).map(|line| format!("{line}\n")).collect();
        fs::write(folder.join("trials.jsonl"), begun).expect("written");
        let resumed = swept(&[&args[..], &["--resume"]].concat());
        assert_eq!(resumed.code, Some(0), "{resumed:?}");
        let rest = if strategy == "halving" { 9 - 3 } else { 9 };
        assert_eq!(steps(&resumed), 6 * rest, "{strategy}: six steps are an epoch; {resumed:?}");
        assert_eq!(result(&resumed)["best"], result(&whole)["best"], "{strategy}");
        // A damaged file costs time and nothing else.
        fs::write(folder.join("trials.jsonl"), lines.lines().take(end + 1).map(|line| format!("{line}\n")).collect::<String>())
            .expect("written");
        fs::write(folder.join("rungs.safetensors"), "broken").expect("written");
        let again = swept(&[&args[..], &["--resume"]].concat());
        assert!(again.code == Some(0) && again.err.contains("rungs.safetensors"), "{again:?}");
        assert_eq!(result(&again)["best"], result(&whole)["best"], "{strategy}");
        assert!(steps(&again) > steps(&resumed), "{again:?}");
    }
}
