//! Wrong usage, failures and help.

use super::*;

#[test]
fn wrong_usage_is_one_line_and_exit_code_2() {
    let table: &[(&[&str], &str)] = &[
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
        (&["train", "--lr", "fast"], "invalid value 'fast' for '--lr <X>': not a number, such as 0.1 or 1e-3;"),
        (&["train", "--clip-norm", "0,5"], "invalid value '0,5' for '--clip-norm <X>': numbers are written with a point: 0.5;"),
        (&["train", "--lr"], "a value is required for '--lr <X>'"),
        (&["train", "--weight-decay", "-0.1"], "weight_decay = -0.1 is out of range"),
        (&["train", "--clip-norm", "0"], "clip_norm = 0 is out of range: finite and above 0"),
        (&["train", "--epochs", "0"], "not a whole number from 1 to 4294967295"),
        (&["train", "--epochs", "18446744073709551615"], "not a whole number from 1 to 4294967295"),
        (&["train", "--batch", "0"], "not a whole number from 1"),
        (&["train", "--batch", "1.5"], "not a whole number from 1"),
        (&["train", "--model", "mpl"], "did you mean mlp?"),
        (&["train", "--model", "lstm", "--activation", "relu"], "--activation has no use for lstm"),
        (&["train", "--model", "linear", "--hidden", "8"], "--hidden has no use for linear"),
        (&["train", "--model", "transformer", "--hidden", "8,16"], "all blocks of a transformer have the same width"),
        (&["train", "--model", "cnn", "--image", "8,9"], "--image 8,9: 72 pixels, and a row has 64 features"),
        (&["train", "--model", "lstm", "--step-columns", "7"], "--step-columns 7: the 64 features of a row"),
        (&["train", "--dropout", "1"], "dropout = 1 is out of range: at least 0 and below 1"),
        (&["train", "--model", "cnn", "--crop", "1"], "crop = 1 is out of range: at least 0 and below 1"),
        (&["train", "--shift", "1"], "--shift has no use for mlp"),
        (&["train", "--val-split", "1"], "val_split = 1 is out of range: above 0 and below 1"),
        (&["train", "--patience", "0"], "not a whole number from 1 to"),
        (&["train", "--hidden", "0"], "not a whole number from 1 to 65536"),
        (&["train", "--hidden", "64,,32"], "not a whole number from 1 to 65536"),
        (&["train", "--hidden", "99999999"], "not a whole number from 1 to 65536"),
        (&["train", "--target", "y"], "--target is for CSV files, and --data is the digits"),
        (&["train", "--ignore", "y"], "--ignore is for CSV files, and --data is the digits"),
        (&["train", "--missing", "mean"], "--missing is for CSV files, and --data is the digits"),
        (&["train", "--header", "no"], "--header is for CSV files, and --data is the digits"),
        (&["train", "--delimiter", ";"], "--delimiter is for CSV files, and --data is the digits"),
        (&["train", "--test", "a.csv"], "--test is for CSV files, and --data is the digits"),
        (&["train", "--data", ".", "--target", "y"], "--target is for CSV files, and --data is a directory of IDX files"),
        (
            &["train", "--data", ".", "--test-fraction", "0.1"],
            "--test-fraction has no use: a directory of IDX files has a test set",
        ),
        (&["train", "--test", "a.csv", "--test-fraction", "0.1"], "cannot be used with"),
        (&["train", "--test-fraction", "1"], "test_fraction = 1 is out of range: above 0 and below 1"),
        (&["train", "--test-fraction", "NaN"], "test_fraction = NaN is out of range: above 0 and below 1"),
        (&["train", "--test-fraction", "-0.5"], "test_fraction = -0.5 is out of range: above 0 and below 1"),
        (&["train", "--target", ""], "a column has a name, a number from 1, or is first or last"),
        (&["train", "--delimiter", "ab"], "not a character that can separate cells"),
        (&["train", "--delimiter", "1"], "not a character that can separate cells"),
        (&["train", "--header", "maybe"], "invalid value 'maybe' for '--header"),
        (&["train", "--missing", "zero"], "invalid value 'zero' for '--missing"),
        (&["train", "--max-memory", "lots"], "'lots' is not a number of bytes, such as 500M or 2G"),
        (&["train", "--seed", "-1"], "invalid value '-1' for '--seed <N>': not a whole number from 0 to 18446744073709551615;"),
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
        (&["train", "--schedule", "cosine,gamma=1"], "unknown setting 'gamma'; known: steps, from, to, power, "),
        (&["train", "--schedule", "cosine,power"], "'power' is not of the form key=value"),
        (&["train", "--schedule", "cosine,to=1,to=1"], "setting 'to' is given twice"),
        (&["train", "--schedule", "cosine,steps=0"], "steps = 0 is out of range: at least 1"),
        (&["train", "--schedule", "cosine", "--schedule", "step"], "cannot be used multiple times"),
        (&["train", "--schedule", "cosine,warmup_start=0.1"], "warmup_start = 0.1 is out of range: 0 without a warmup"),
        (
            &["train", "--epochs", "2", "--schedule", "cosine,warmup=46"],
            "warmup = 46 is out of range: below 46, the steps of the run, where steps is not given",
        ),
        (&["train", "--rule", "rprop", "--schedule", "cosine"], "--schedule has no effect on rprop"),
        (&["train", "--rule", "muon", "--set", "ns_steps=101"], "ns_steps = 101 is out of range: at most 100"),
        (&["train", "--schedule", "plateau,factor=1"], "factor = 1 is out of range: above 0 and below 1"),
        (&["train", "--schedule", "plateau,goal=max"], "goal = max is out of range: min, since it goes by a loss"),
        (&["train", "--schedule", "plateau,warmup=5"], "unknown setting 'warmup'; known: from, goal, factor, patience, "),
        (&["train", "--schedule", "plato"], "wsd, plateau"),
        (&["schedules", "plateau"], "there are no values to print"),
        (&["info", "--all"], "unexpected argument '--all'"),
        (&["bench", "--what", "adamm"], "--what adamm names no row"),
        (&["bench", "--turns", "--engine", "cpu"], "--turns takes one --what and one --n"),
        (&["bench", "--turns", "--engine", "cpu", "--what", "ada", "--n", "64"], "--what ada is no row's name"),
        (&["bench", "--turns", "--engine", "cpu", "--what", "adamw", "--n", "64", "--json"], "cannot be used with"),
        (&["rules", "adamm"], "unknown rule 'adamm'; known: sgd, "),
        (&["schedules", "cosin"], "unknown schedule 'cosin'; known: constant, step, "),
        (&["schedules", "cosine", "gamma=1"], "unknown setting 'gamma'; known: steps, from, to, power, "),
        (&["schedules", "cosine", "to"], "'to' is not of the form key=value"),
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
        (
            vec!["--data", &file("text.csv", "a,b\n1,0\nx,1\n")],
            "line 3, column 1: 'x' stands in a column of numbers and is none",
        ),
        (
            vec!["--data", &good],
            "every class has one row: is column 3 an identifier? Say with --target which column is the label",
        ),
        (vec!["--out", &good], "--out takes a directory that can be written"),
        // In its range, but not on every step.
        (
            vec!["--engine", "cpu", "--lr", "1e30", "--schedule", "constant,value=1e30"],
            "lr = 1e60 in step 1 of the schedule is out of range",
        ),
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
    let options = "data target task header delimiter ignore missing test test-fraction max-memory engine adapter rule set lr weight-decay schedule clip-norm epochs batch drop-last model hidden activation dropout shift crop flip noise image step-columns val-split patience raw-targets seed out json";
    for option in options.split(' ') {
        assert!(ran.out.contains(&format!("--{option}")), "{option}: {}", ran.out);
    }
    for rule in thalweg::rules() {
        assert!(ran.out.contains(rule.name()), "{}: {}", rule.name(), ran.out);
    }
    let version = thalweg(&["--version"]).out;
    assert!(version.starts_with(&format!("thalweg {} (commit ", env!("CARGO_PKG_VERSION"))), "{version}");
    assert_eq!(thalweg(&["-V"]).out, version);
}
