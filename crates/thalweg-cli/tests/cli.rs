//! The command line, run as its users run it.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const EPOCH_KEYS: [&str; 7] = ["epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "steps", "seconds"];
const LAST_KEYS: [&str; 6] = ["test_accuracy", "train_loss", "seconds", "engine", "adapter", "steps"];

/// A finished run.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// The lines of JSON on stdout, which must be nothing else; the run must have gone well.
    fn json(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    // Some Vulkan drivers complain on stderr where this is missing.
    command.args(args).env("XDG_RUNTIME_DIR", std::env::temp_dir()).stdin(Stdio::null());
    command
}

fn finish(mut command: Command) -> Ran {
    let output = command.output().expect("the program starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("output is UTF-8"));
    Ran { code: output.status.code(), out, err }
}

fn thalweg(args: &[&str]) -> Ran {
    finish(command(args))
}

/// `train` on the CPU engine with these further arguments, as JSON.
fn trained(args: &[&str]) -> Vec<Value> {
    thalweg(&[&["train", "--engine", "cpu", "--json"], args].concat()).json()
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// The last epoch's loss and accuracy on the test data.
fn last_test(lines: &[Value]) -> (f64, f64) {
    let epoch = &lines[lines.len() - 2];
    (epoch["test_loss"].as_f64().expect("a number"), epoch["test_accuracy"].as_f64().expect("a number"))
}

/// What differs between two runs of the same command.
fn without_seconds(mut lines: Vec<Value>) -> Vec<Value> {
    lines.iter_mut().for_each(|line| drop(line.as_object_mut().and_then(|line| line.remove("seconds"))));
    lines
}

#[test]
fn wrong_usage_is_one_line_and_exit_code_2() {
    let table: &[(&[&str], &str)] = &[
        (&[], "no command given; try 'thalweg --help'"),
        (&["trian"], "unrecognized subcommand 'trian'"),
        (&["train", "--bogus"], "unexpected argument '--bogus'"),
        (&["train", "digits"], "unexpected argument 'digits'"),
        (&["train", "--engine", "tpu"], "possible values: auto, gpu, cpu"),
        (&["train", "--engine", "cpu", "--adapter", "x"], "leave one of them out"),
        (&["train", "--adapter", "no such adapter"], "unknown adapter 'no such adapter'; known: "),
        (&["train", "--rule", "adamm"], "unknown rule 'adamm'; known: sgd, "),
        (&["train", "--lr", "-1"], "lr = -1 is out of range: finite and at least 0"),
        (&["train", "--lr", "inf"], "lr = inf is out of range"),
        (&["train", "--lr", "NaN"], "lr = NaN is out of range"),
        (&["train", "--lr", "fast"], "invalid value 'fast' for '--lr <X>'"),
        (&["train", "--lr"], "a value is required for '--lr <X>'"),
        (&["train", "--weight-decay", "-0.1"], "weight_decay = -0.1 is out of range"),
        (&["train", "--clip-norm", "0"], "clip_norm = 0 is out of range: finite and above 0"),
        (&["train", "--epochs", "0"], "not a whole number from 1 to 4294967295"),
        (&["train", "--epochs", "18446744073709551615"], "not a whole number from 1 to 4294967295"),
        (&["train", "--batch", "0"], "not a whole number from 1"),
        (&["train", "--batch", "1.5"], "not a whole number from 1"),
        (&["train", "--hidden", "0"], "not a whole number from 1 to 65536"),
        (&["train", "--hidden", "64,,32"], "not a whole number from 1 to 65536"),
        (&["train", "--hidden", "99999999"], "not a whole number from 1 to 65536"),
        (&["train", "--seed", "-1"], "'-1'"),
        (&["train", "--json", "--json"], "cannot be used multiple times"),
        (&["train", "--set", "beta1"], "'beta1' is not of the form key=value"),
        (&["train", "--set", "=1"], "'=1' is not of the form key=value"),
        (
            &["train", "--set", "beta3=0.9"],
            "unknown setting 'beta3'; known: lr, beta1, beta2, eps, weight_decay, independent_weight_decay, eps_hat, amsgrad, maximize",
        ),
        (&["train", "--set", "beta1=1"], "beta1 = 1 is out of range: at least 0 and below 1"),
        (&["train", "--set", "beta1=much"], "beta1 = much is out of range: a number"),
        (&["train", "--set", "amsgrad=1"], "amsgrad = 1 is out of range: true or false"),
        (&["train", "--set", "eps=1", "--set", "eps=1"], "setting 'eps' is given twice"),
        (&["train", "--lr", "1", "--set", "lr=1"], "setting 'lr' is given twice"),
        (&["train", "--rule", "rprop", "--weight-decay", "1"], "unknown setting 'weight_decay'; known: lr, eta_minus, "),
        (&["train", "--schedule", "cosin"], "unknown schedule 'cosin'; known: constant, step, "),
        (&["train", "--schedule", "cosine,gamma=1"], "unknown setting 'gamma'; known: steps, lr, end, power, "),
        (&["train", "--schedule", "cosine,power"], "'power' is not of the form key=value"),
        (&["train", "--schedule", "cosine,end=1,end=1"], "setting 'end' is given twice"),
        (&["train", "--schedule", "cosine,steps=0"], "steps = 0 is out of range: at least 1"),
        (&["train", "--schedule", "cosine", "--schedule", "step"], "cannot be used multiple times"),
        (&["train", "--schedule", "cosine,warmup_start=0.1"], "warmup_start = 0.1 is out of range: 0 without a warmup"),
        (
            &["train", "--epochs", "2", "--schedule", "cosine,warmup=44"],
            "warmup = 44 is out of range: below 44, the steps of the run, where steps is not given",
        ),
        (&["train", "--rule", "rprop", "--schedule", "cosine"], "--schedule has no effect on rprop"),
        (&["train", "--rule", "muon", "--set", "ns_steps=101"], "ns_steps = 101 is out of range: at most 100"),
        (&["train", "--schedule", "plateau,factor=1"], "factor = 1 is out of range: above 0 and below 1"),
        (&["train", "--schedule", "plateau,goal=max"], "goal = max is out of range: min, since it goes by a loss"),
        (&["train", "--schedule", "plateau,warmup=5"], "unknown setting 'warmup'; known: lr, goal, factor, patience, "),
        (&["train", "--schedule", "plato"], "wsd, plateau"),
        (&["schedules", "plateau"], "there are no values to print"),
        (&["info", "--all"], "unexpected argument '--all'"),
        (&["bench", "--what", "adamm"], "--what adamm names no row"),
        (&["bench", "--turns", "--engine", "cpu"], "--turns takes one --what and one --n"),
        (&["bench", "--turns", "--engine", "cpu", "--what", "adamm", "--n", "64"], "--what adamm is no row's name"),
        (&["bench", "--turns", "--engine", "cpu", "--what", "adamw", "--n", "64", "--json"], "cannot be used with"),
        (&["rules", "adamm"], "unknown rule 'adamm'; known: sgd, "),
        (&["rules", "adam", "lion"], "unexpected argument 'lion'"),
        (&["schedules", "cosin"], "unknown schedule 'cosin'; known: constant, step, "),
        (&["schedules", "cosine", "gamma=1"], "unknown setting 'gamma'; known: steps, lr, end, power, "),
        (&["schedules", "cosine", "end"], "'end' is not of the form key=value"),
        (&["schedules", "cosine", "--steps", "0"], "not a whole number from 1"),
        (&["schedules", "--steps", "3"], "arguments were not provided: <NAME>"),
        (&["schedules", "--plot", "a.svg"], "arguments were not provided: <NAME>"),
        (&["schedules", "cosine", "--json", "--plot", "a.svg"], "cannot be used with"),
    ];
    for (args, says) in table {
        let ran = thalweg(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        assert!(ran.out.is_empty() && ran.err.lines().count() == 1, "{args:?}: {ran:?}");
        assert!(ran.err.starts_with("error: ") && ran.err.contains(says), "{args:?}: {ran:?}");
    }
}

#[test]
fn a_failure_is_one_line_and_exit_code_1() {
    let temp = TempDir::new().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = temp.path().join(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let empty = temp.path().join("empty");
    fs::create_dir(&empty).expect("made");
    let good = file("good.csv", "1,2,0\n3,4,1\n");
    let table = [
        (vec!["--data", "nowhere.csv"], "no such file or directory; --data takes digits, a directory"),
        (vec!["--data", empty.to_str().expect("UTF-8")], "no file train-images-idx3-ubyte or "),
        (vec!["--data", &file("none.csv", "")], "the file is empty"),
        (vec!["--data", &file("text.csv", "a,b\n1,0\nx,1\n")], "line 3, column 1: 'x' is not a finite number"),
        (vec!["--data", &good], "has too few rows"),
        (vec!["--out", &good], "--out takes a directory that can be written"),
        // In its range, but not on every step.
        (vec!["--engine", "cpu", "--lr", "1e300", "--schedule", "constant,lr=1e300"], "lr = inf is out of range"),
    ]
    .map(|(args, says)| (args.into_iter().map(String::from).collect::<Vec<_>>(), says));
    for (args, says) in table {
        let args: Vec<&str> = ["train"].into_iter().chain(args.iter().map(String::as_str)).collect();
        let ran = thalweg(&args);
        assert_eq!(ran.code, Some(1), "{args:?}: {ran:?}");
        assert!(ran.out.is_empty() && ran.err.lines().count() == 1, "{args:?}: {ran:?}");
        assert!(ran.err.starts_with("error: ") && ran.err.contains(says), "{args:?}: {ran:?}");
    }
}

#[test]
fn help_names_every_option_and_rule() {
    let ran = thalweg(&["train", "--help"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let options = "data engine adapter rule set lr weight-decay schedule clip-norm epochs batch hidden seed out json";
    for option in options.split(' ') {
        assert!(ran.out.contains(&format!("--{option}")), "{option}: {}", ran.out);
    }
    for rule in thalweg::rules() {
        assert!(ran.out.contains(rule.name()), "{}: {}", rule.name(), ran.out);
    }
    assert_eq!(thalweg(&["--version"]).out, format!("thalweg {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn json_lines_have_exactly_their_keys() {
    let lines = trained(&["--epochs", "3"]);
    assert_eq!(lines.len(), 4);
    for (index, line) in lines[..3].iter().enumerate() {
        assert_eq!(keys(line), BTreeSet::from(EPOCH_KEYS));
        assert_eq!(line["epoch"], index + 1);
        assert_eq!(line["steps"], 22 * (index + 1));
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
    let others: [&[&str]; 11] = [
        &["--rule", "sgd"],
        &["--set", "beta2=0.9"],
        &["--schedule", "linear,end_factor=0.5"],
        &["--lr", "0.01"],
        &["--weight-decay", "0.5"],
        &["--clip-norm", "0.01"],
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
        let lines = trained(&["--rule", rule.name(), "--epochs", "2"]);
        let [first, second] = [0, 1].map(|epoch| lines[epoch]["train_loss"].as_f64().expect("a finite loss"));
        assert!(second < first, "{}: {first} to {second}", rule.name());
    }
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
    // Two epochs are 44 steps.
    let run = |args: &[&str]| last_test(&trained(&[&["--epochs", "2"], args].concat()));
    assert_eq!(run(&["--schedule", "cosine"]), run(&["--schedule", "cosine,steps=44"]));
    assert_ne!(run(&["--schedule", "cosine"]), run(&["--schedule", "cosine,steps=43"]));
    // A warm-up comes first.
    assert_eq!(run(&["--schedule", "cosine,warmup=10"]), run(&["--schedule", "cosine,warmup=10,steps=34"]));
    let half = run(&["--lr", "0.002", "--schedule", "constant,lr=0.5"]);
    assert_eq!(half, run(&["--lr", "0.001"]));
    // A list has commas; after step 30, in the second epoch, the rate is as good as 0.
    let stopped = trained(&["--epochs", "3", "--schedule", "multi_step,milestones=30,31,gamma=1e-30,lr=1"]);
    assert_ne!(stopped[0]["test_loss"], stopped[1]["test_loss"]);
    assert_eq!(stopped[1]["test_loss"], stopped[2]["test_loss"]);
}

#[test]
fn a_schedule_moves_every_learning_rate_of_muon() {
    let run = |args: &[&str]| last_test(&trained(&[&["--epochs", "2", "--rule", "muon"], args].concat()));
    let halves = run(&["--lr", "0.01", "--set", "adamw_lr=0.001"]);
    assert_eq!(halves, run(&["--lr", "0.02", "--set", "adamw_lr=0.002", "--schedule", "constant,lr=0.5"]));
    assert_ne!(halves, run(&["--lr", "0.01", "--set", "adamw_lr=0.002"]));
}

#[test]
fn a_plateau_lowers_the_rate_once_the_loss_is_no_better() {
    let run = |args: &[&str]| trained(&[&["--epochs", "5"], args].concat());
    let losses = |lines: &[Value]| lines.iter().map(|line| line["test_loss"].clone()).collect::<Vec<_>>();
    let steady = losses(&run(&[]));
    // The first loss is the best so far, whatever is asked; no other is better by so much.
    let reduced = losses(&run(&["--schedule", "plateau,threshold=absolute:9,patience=1,factor=1e-30"]));
    assert_eq!(reduced[..3], steady[..3]);
    assert_ne!(reduced[3], steady[3]);
    assert_eq!(reduced[3], reduced[2]);
    assert_eq!(losses(&run(&["--schedule", "plateau"])), steady);
    let half = losses(&run(&["--schedule", "plateau,lr=0.5", "--lr", "0.002"]));
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
fn both_engines_learn_alike() {
    let gpu = thalweg(&["train", "--engine", "gpu", "--json", "--epochs", "4"]).json();
    assert_eq!((gpu.len(), &gpu[4]["engine"], &gpu[4]["steps"]), (5, &"gpu".into(), &88.into()));
    let first = |lines: &[Value]| lines[0]["train_loss"].as_f64().expect("a number");
    let cpu = trained(&["--epochs", "4"]);
    // Both start from the same weights and batches; what separates them is rounding.
    assert!((first(&gpu) - first(&cpu)).abs() < 1e-4, "{} {}", first(&gpu), first(&cpu));
    assert!((last_test(&gpu).1 - last_test(&cpu).1).abs() < 0.02, "{gpu:?} {cpu:?}");
}

#[test]
fn part_of_a_name_picks_the_adapter() {
    let info = thalweg(&["info", "--json"]).json();
    let name = info[0]["adapters"][0]["name"].as_str().expect("an adapter: install mesa-vulkan-drivers").to_uppercase();
    let lines = thalweg(&["train", "--adapter", &name[..name.len().min(6)], "--json", "--epochs", "1"]).json();
    assert_eq!(lines[1]["engine"], "gpu");
    assert!(lines[1]["adapter"].as_str().is_some_and(|adapter| adapter.to_uppercase().contains(&name[..name.len().min(6)])));
}

#[test]
fn auto_picks_what_info_says() {
    let info = thalweg(&["info", "--json"]).json();
    let ran = thalweg(&["train", "--json", "--epochs", "1"]);
    let expected = &info[0]["auto"]["engine"];
    assert_eq!(&ran.json()[1]["engine"], expected);
    let said = ran.err.lines().filter(|line| line.starts_with("no GPU: ")).count();
    assert_eq!(said, usize::from(expected == "cpu"), "{}", ran.err);
    assert!(expected == "gpu" || ran.err.contains("; training on the CPU engine (CPU, f32, "), "{}", ran.err);
}

#[test]
fn info_tells_what_matters() {
    let info = thalweg(&["info", "--json"]).json();
    let adapter = &info[0]["adapters"][0];
    let has = ["name", "backend", "type", "driver", "driver_info", "limits", "features", "kernels"];
    assert_eq!(keys(adapter), BTreeSet::from(has));
    assert!(adapter["limits"]["binding_bytes"].as_u64() >= Some(128 << 20), "{adapter}");
    assert!(adapter["features"]["timestamps"].is_boolean(), "{adapter}");
    let product = adapter["kernels"]["matrix_product"].as_str().expect("a name");
    assert_eq!(product.starts_with("lean"), adapter["type"] == "Cpu", "{adapter}");

    let text = thalweg(&["info"]);
    assert_eq!((text.code, text.err.as_str()), (Some(0), ""));
    for part in
        [adapter["name"].as_str().expect("a name"), "matrix product: ", "CPU engine: CPU, f32, ", "--engine auto picks: "]
    {
        assert!(text.out.contains(part), "{part}: {}", text.out);
    }
}

#[test]
fn rules_are_listed_with_formula_settings_and_state() {
    let lines = thalweg(&["rules", "--json"]).json();
    let text = thalweg(&["rules"]);
    assert_eq!((text.code, text.err.as_str(), lines.len()), (Some(0), "", thalweg::rules().len()));
    let blocks: Vec<&str> = text.out.split("\n\n").collect();
    assert_eq!(blocks.len(), lines.len());
    for ((mut rule, line), block) in thalweg::rules().into_iter().zip(&lines).zip(blocks) {
        assert_eq!(
            keys(line),
            BTreeSet::from(["name", "formula", "settings", "state_bytes", "state_bytes_max", "state_other", "planes"])
        );
        assert_eq!((&line["name"], &line["formula"]), (&rule.name().into(), &rule.formula().into()));
        assert!(block.starts_with(rule.name()) && block.contains(rule.formula()), "{block}");
        assert!(block.contains(&format!("  {} bytes per parameter", line["state_bytes"])), "{block}");
        assert!(block.trim().ends_with(&format!("at most {}", line["state_bytes_max"])), "{block}");
        let settings: Vec<&str> = rule.settings().into_iter().map(|(name, _)| name).collect();
        assert_eq!(keys(&line["settings"]), settings.iter().copied().collect());
        // What is listed is what `--set` takes.
        for (name, value) in line["settings"].as_object().expect("an object") {
            let text = value.as_str().map_or_else(|| value.to_string(), String::from);
            thalweg::set(&mut *rule, name, &text).unwrap_or_else(|error| panic!("{error}"));
            assert!(block.contains(&format!(" {name}=")), "{name}: {block}");
        }
    }
    let one = thalweg(&["rules", "adamw"]);
    let block = "adamw
  formula   x = (1 − lr·λ)·x;  m = β₁·m + (1 − β₁)·g;  v = β₂·v + (1 − β₂)·g²;  x −= (lr/c₁)·m / (√v/√c₂ + eps)
  settings  lr=0.001 beta1=0.9 beta2=0.999 eps=1e-8 weight_decay=0.01 independent_weight_decay=false eps_hat=false amsgrad=false maximize=false
  state     8 bytes per parameter (m, v); per parameter at most 12\n";
    assert_eq!(one.out, block);
    assert_eq!(thalweg(&["rules", "adamw", "--json"]).json()[0]["planes"], serde_json::json!(["m", "v"]));
}

/// As the pages of the rules say.
#[test]
fn the_listed_memory_holds_directions_and_numbers_of_tensors() {
    let scratch = "at most 16 per element of the largest set of matrices of one shape";
    let table = [
        ("sgd", 0, 4, None),
        ("rprop", 8, 8, None),
        ("adan", 16, 16, None),
        ("lars", 0, 4, None),
        ("novograd", 4, 4, Some("4 per tensor")),
        ("lamb", 12, 12, None),
        ("adafactor", 4, 8, Some("4·(n + m + 1) per n × m matrix")),
        ("muon", 12, 12, Some(scratch)),
    ];
    for (rule, bytes, most, other) in table {
        let line = &thalweg(&["rules", rule, "--json"]).json()[0];
        let listed = (&line["state_bytes"], &line["state_bytes_max"], line["state_other"].as_str());
        assert_eq!(listed, (&bytes.into(), &most.into(), other), "{rule}");
    }
    let lamb = thalweg(&["rules", "lamb"]).out;
    assert!(lamb.ends_with("  state     12 bytes per parameter (m, v, direction); per parameter at most 12\n"), "{lamb}");
}

#[test]
fn schedules_are_listed_with_formula_and_settings() {
    let lines = thalweg(&["schedules", "--json"]).json();
    let text = thalweg(&["schedules"]);
    let mut listings = thalweg::schedule::schedules();
    listings.push(thalweg::schedule::ReduceLrOnPlateau::listing());
    assert_eq!((text.code, text.err.as_str(), lines.len()), (Some(0), "", listings.len()));
    for (listing, line) in listings.iter().zip(&lines) {
        assert_eq!((&line["name"], &line["formula"]), (&listing.name.into(), &listing.formula.into()));
        assert_eq!(keys(&line["settings"]), listing.settings.iter().map(|(name, _)| *name).collect());
    }
    let step = "step
  formula   lr · gamma^⌊t / steps⌋
  settings  steps=… lr=1 gamma=0.1 warmup=0 warmup_start=0\n";
    assert!(text.out.contains(&format!("\n\n{step}\n")), "{}", text.out);
    let plateau = "settings  lr=1 goal=min factor=0.1 patience=10 threshold=relative:1e-4 cooldown=0 end=0 eps=1e-8\n";
    assert!(text.out.ends_with(plateau), "{}", text.out);
    let step = serde_json::json!({ "steps": null, "lr": 1, "gamma": 0.1, "warmup": 0, "warmup_start": 0 });
    assert_eq!(lines[1]["settings"], step);
}

#[test]
fn a_schedules_values_are_printed() {
    let ran = thalweg(&["schedules", "step", "steps=2", "lr=8", "gamma=0.5", "--steps", "5"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "0 8\n1 8\n2 4\n3 4\n4 2\n", ""));
    let lines = thalweg(&["schedules", "multi_step", "milestones=1,2", "gamma=0.5", "--steps", "3", "--json"]).json();
    assert_eq!(lines, [(0, 1.0), (1, 0.5), (2, 0.25)].map(|(step, value)| serde_json::json!({ "step": step, "value": value })));
    // The schedule's own steps are the number of values, which is 100 unless given.
    let whole = thalweg(&["schedules", "linear", "start_factor=0", "end_factor=1"]).out;
    let lines: Vec<&str> = whole.lines().collect();
    assert_eq!((lines.len(), lines[50], lines[99]), (100, "50 0.5", "99 0.99"));
}

#[test]
fn a_schedule_is_drawn() {
    let temp = TempDir::new().expect("a directory");
    let file = temp.path().join("a.svg");
    let path = file.to_str().expect("UTF-8");
    for steps in ["1", "2", "100000"] {
        let ran = thalweg(&["schedules", "cosine", "--steps", steps, "--plot", path]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "", ""));
        let picture = fs::read_to_string(&file).expect("a picture");
        well_formed(&picture).expect("SVG");
        assert!(picture.contains("cosine") && picture.contains("step") && picture.contains("<polyline"), "{picture}");
        assert!(picture.len() < 50_000, "{}", picture.len());
    }
    let nowhere = temp.path().join("no/a.svg");
    let ran = thalweg(&["schedules", "cosine", "--plot", nowhere.to_str().expect("UTF-8")]);
    assert_eq!((ran.code, ran.err.lines().count()), (Some(1), 1), "{ran:?}");
    assert!(ran.err.contains("cannot be written"), "{ran:?}");
}

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

/// The Vulkan loader can be told to find no driver; elsewhere than on Linux there are other ways to a GPU.
#[cfg(target_os = "linux")]
#[test]
fn without_an_adapter_there_is_advice() {
    let run = |args: &[&str]| {
        let mut command = command(args);
        command.env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json");
        finish(command)
    };
    let info = run(&["info"]);
    assert_eq!(info.code, Some(0));
    assert!(info.out.contains("GPU adapters: 0") && info.out.contains("apt-get install mesa-vulkan-drivers"), "{}", info.out);
    let gpu = run(&["train", "--engine", "gpu"]);
    assert_eq!((gpu.code, gpu.out.as_str(), gpu.err.lines().count()), (Some(1), "", 1), "{gpu:?}");
    assert!(gpu.err.starts_with("error: no GPU adapter: ") && gpu.err.contains("apt-get install"), "{gpu:?}");
    let auto = run(&["train", "--json", "--epochs", "1"]);
    assert_eq!(auto.json()[1]["engine"], "cpu");
    assert!(auto.err.starts_with("no GPU: none was found; training on the CPU engine"), "{auto:?}");
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
    assert!(ran.json()[0]["train_loss"].is_null());
    assert!(ran.err.contains("try a smaller --lr"), "{ran:?}");
    well_formed(&fs::read_to_string(temp.path().join("curve.svg")).expect("a picture")).expect("SVG");
}

/// Images of 28 × 28 in three classes: a bright band in one third, over noise.
fn write_idx(directory: &Path, part: &str, rows: usize, gzip: bool) {
    let mut random = fastrand::Rng::with_seed(rows as u64);
    let labels: Vec<u8> = (0..rows).map(|row| (row % 3) as u8).collect();
    let pixel = |label: u8, i: usize, noise: u8| if i / 262 == usize::from(label) { 120 + noise } else { noise };
    let images = labels.iter().flat_map(|&label| (0..784).map(move |i| (label, i)));
    let images: Vec<u8> = images.map(|(label, i)| pixel(label, i, random.u8(..100))).collect();
    let count = (rows as u32).to_be_bytes();
    let header = |dimensions: u8| [&[0, 0, 8, dimensions][..], &count].concat();
    let size = [0, 0, 0, 28, 0, 0, 0, 28];
    let write = |name: String, content: Vec<u8>| {
        if gzip {
            let mut encoder = flate2::read::GzEncoder::new(&content[..], flate2::Compression::fast());
            let mut packed = Vec::new();
            encoder.read_to_end(&mut packed).expect("packed");
            fs::write(directory.join(name + ".gz"), packed).expect("written");
        } else {
            fs::write(directory.join(name), content).expect("written");
        }
    };
    write(format!("{part}-images-idx3-ubyte"), [header(3), size.to_vec(), images].concat());
    write(format!("{part}-labels-idx1-ubyte"), [header(1), labels].concat());
}

#[test]
fn a_directory_like_mnist_is_learned_with_default_settings() {
    let run = |gzip: bool| {
        let temp = TempDir::new().expect("a directory");
        write_idx(temp.path(), "train", 300, gzip);
        write_idx(temp.path(), "t10k", 60, gzip);
        trained(&["--data", temp.path().to_str().expect("UTF-8")])
    };
    let plain = run(false);
    assert_eq!(plain.len(), 41);
    assert_eq!(plain[0]["steps"], 300 / 64);
    assert!(last_test(&plain).1 > 0.95, "{:?}", plain.last());
    assert_eq!(without_seconds(run(true)), without_seconds(plain));
}

#[test]
fn a_table_is_split_scaled_and_learned() {
    let temp = TempDir::new().expect("a directory");
    let path = temp.path().join("blobs.csv");
    let mut random = fastrand::Rng::with_seed(3);
    let mut text = String::from("mass,size,kind\n");
    for row in 0..200 {
        // Units apart by nine orders of magnitude: without scaling this is not learned.
        let (kind, side) = if row % 2 == 0 { ("star", 1.0) } else { ("moon", -1.0) };
        text += &format!("{},{},{kind}\n", 1e6 * (100.0 + side + random.f64()), 1e-3 * (side + random.f64()));
    }
    fs::write(&path, text).expect("written");
    let lines = trained(&["--data", path.to_str().expect("UTF-8"), "--batch", "16"]);
    assert_eq!(lines[0]["steps"], 160 / 16);
    assert!(last_test(&lines).1 > 0.95, "{:?}", lines.last());
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
    // Two epochs have been written when this returns.
    (0..2).for_each(|_| assert!(stdout.read_line(&mut String::new()).expect("a line") > 0));
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
    for args in [&["train", "--engine", "cpu", "--json", "--epochs", "100000"][..], &["info"], &["train", "--help"]] {
        let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        assert!(stdout.read_line(&mut String::new()).expect("a line") > 0);
        drop(stdout);
        let mut err = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut err).expect("UTF-8");
        assert_eq!((child.wait().expect("it ends").code(), err.as_str()), (Some(0), ""), "{args:?}");
    }
}

/// Whether a text is XML with one root: tags nest, and what stands between them needs no escape.
fn well_formed(text: &str) -> Result<(), String> {
    let (mut open, mut roots) = (Vec::new(), 0);
    let mut rest = text.trim();
    while let Some((before, tail)) = rest.split_once('<') {
        let (tag, after) = tail.split_once('>').ok_or_else(|| format!("'<{tail}' has no end"))?;
        if before.contains('>') || (open.is_empty() && !before.trim().is_empty()) {
            return Err(format!("stray text '{before}'"));
        }
        if tag.matches('"').count() % 2 != 0 || tag.contains('<') {
            return Err(format!("quotes of '<{tag}>'"));
        }
        let name = |tag: &str| tag.split_whitespace().next().unwrap_or_default().to_owned();
        if let Some(closed) = tag.strip_prefix('/') {
            if open.pop() != Some(name(closed)) {
                return Err(format!("'<{tag}>' closes nothing"));
            }
        } else if !tag.starts_with(['?', '!']) {
            roots += usize::from(open.is_empty());
            if !tag.ends_with('/') {
                open.push(name(tag));
            }
        }
        rest = after;
    }
    match (open.as_slice(), roots, rest) {
        ([], 1, "") => Ok(()),
        _ => Err(format!("{roots} roots, {open:?} left open, '{rest}' at the end")),
    }
}

#[test]
fn broken_xml_is_noticed() {
    assert_eq!(well_formed("<?xml version=\"1.0\"?>\n<a b=\"c\"><d/>e<f>g</f></a>\n"), Ok(()));
    for broken in ["", "<a>", "<a></b>", "<a/><b/>", "<a/>b", "<a><b></a></b>", "<a b=\"c></a>", "<a>b > c</a>", "<a", "</a>"] {
        assert!(well_formed(broken).is_err(), "{broken}");
    }
}
