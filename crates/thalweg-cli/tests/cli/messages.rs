//! The messages of the command line: a person can act on each of them.

use super::*;

#[test]
fn wrong_names_and_numbers_say_what_to_give() {
    let table: &[(&[&str], &str)] = &[
        (&["train", "--rule", "adma"], "did you mean adam?"),
        (&["train", "--rule", "lbfgs"], "it needs the whole data set in every step"),
        (&["train", "--set", "betas=0.9,0.99"], "they are two settings: beta1 and beta2"),
        (&["train", "--schedule", "cosin"], "did you mean cosine?"),
        (&["train", "--schedule", "cosine,lr=0.1"], "the factor itself is `from`, `peak` or `value`"),
        (&["train", "--schedule", "cosine,eta_min=0.1"], "it is `to` here, as a factor on --lr"),
        (&["train", "--engine", "cuda"], "GPUs of every vendor are gpu; try 'thalweg train --help'"),
        (&["train", "--schedule", "exponential"], "exponential needs gamma, for example gamma=0.99"),
        (&["train", "--schedule", "piecewise,values=1,0.1"], "piecewise needs boundaries, for example boundaries=500"),
        (&["train", "--schedule", "multi_step"], "multi_step needs milestones, for example milestones=300,600"),
        (&["train", "--lr", "1e39"], "lr = 1e39 is out of range: from 0 to 3.4e38, the range of single precision"),
        (&["train", "--lr", "1e-46"], "lr = 1e-46 is out of range"),
        (&["train", "--set", "eps=1e-60"], "is out of range"),
        (&["train", "--threads", "0"], "not a whole number from 1 to 1024"),
        (&["train", "--set", "beta1=0.9,beta9=0.99"], "unknown setting 'beta9'"),
        (&["train", "--set", "lr=0.1,0.2"], "lr = 0.1,0.2 is out of range: a number"),
        (&["train", "iris.csv"], "'iris.csv' found; a file is given as --data iris.csv; try 'thalweg train --help'"),
        (&["train", "--momentum", "0.9"], "'--momentum' found; settings of a rule are given as --set momentum=VALUE; try"),
        (&["train", "--epsilon=1"], "settings of a rule are given as --set eps=VALUE; try"),
        (&["train", "--epoch", "3"], "'--epoch' found; tip: a similar argument exists: '--epochs'; try"),
        (&["train", "--engine", "gpu", "--threads", "2"], "--threads are those of the CPU engine, and a GPU is asked for"),
        (&["bench", "--engine", "cuda"], "possible values: both, gpu, cpu; GPUs of every vendor are gpu; try"),
        (&["bench", "--engine", "cpu", "--adapter", "x"], "--engine cpu uses none; leave one of them out"),
        (&["train", "--data", "-", "--test", "-"], "--data and --test are both standard input, which can be read once"),
        (&["bench", "--what", "adamw,nosuch"], "--what nosuch names no row; known: copy, norm, sgd, "),
        (&["schedules", "cosine", "--plot", "x.png"], "--plot writes SVG"),
        (&["man", "nosuch"], "thalweg has no command 'nosuch'"),
    ];
    for (args, says) in table {
        let ran = thalweg(args);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (Some(2), "", 1), "{args:?}: {ran:?}");
        assert!(ran.err.contains(says), "{args:?}: {ran:?}");
    }
}

/// Every option that takes a number has a message of its own, as those of clap are for programmers.
#[test]
fn a_number_that_is_none_is_refused_with_name_value_and_range() {
    let mut options = 0;
    for command in ["train", "sweep", "bench", "schedules"] {
        let help = thalweg(&[command, "--help"]).out;
        let takes = |line: &str| {
            let (name, value) = line.trim().strip_prefix("--")?.split_once(' ')?;
            let value = value.split_once('>')?.0.trim_start_matches('<');
            matches!(value, "N" | "N,N,…" | "X" | "BYTES").then(|| format!("--{name}"))
        };
        for option in help.lines().filter_map(takes) {
            options += 1;
            for value in ["x", "-x", "1e", "99999999999999999999999999x", ""] {
                let given = format!("{option}={value}");
                let mut args = vec![command];
                args.extend((command == "schedules").then_some("cosine"));
                args.push(&given);
                let ran = thalweg(&args);
                assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (Some(2), "", 1), "{args:?}: {ran:?}");
                let said = ["not a whole number from ", "not a number, such as ", "is not a number of bytes, such as "];
                assert!(ran.err.contains(&format!("'{option} ")), "{args:?}: {ran:?}");
                assert!(said.iter().any(|said| ran.err.contains(said)), "{args:?}: {ran:?}");
            }
        }
    }
    assert!(options >= 13, "{options}");
}

#[test]
fn settings_may_be_given_in_one() {
    let run = |args: &[&str]| last_test(&trained(&[&["--epochs", "1"], args].concat()));
    let apart = run(&["--set", "beta1=0.5", "--set", "beta2=0.9"]);
    assert_eq!(run(&["--set", "beta1=0.5,beta2=0.9"]), apart);
    assert_ne!(run(&["--set", "beta1=0.5"]), apart);
    let values = |args: &[&str]| thalweg(&[&["schedules", "polynomial"], args].concat()).out;
    assert_eq!(values(&["power=2,to=0.5"]), values(&["power=2", "to=0.5"]));
}

/// Without a runtime folder, Mesa's device selection prints two or three complaints.
#[cfg(target_os = "linux")]
#[test]
fn a_driver_does_not_complain_into_a_good_run() {
    let mut command = command(&["info", "--json"]);
    command.env_remove("XDG_RUNTIME_DIR").env_remove("NODEVICE_SELECT");
    let ran = finish(command);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.json()[0]["adapters"][0]["name"].is_string(), "{ran:?}");
}

/// A loop that would end silently on a software driver is refused before the run, with the name of an option.
#[test]
fn a_layer_beyond_a_driver_is_named() {
    let info = thalweg(&["info", "--json"]).json();
    if info[0]["adapters"][0]["type"] != "Cpu" {
        // A real GPU has no such limit.
        return;
    }
    let ran = thalweg(&["train", "--engine", "gpu", "--hidden", "8,65536", "--epochs", "1", "--batch", "8", "--quiet"]);
    let said = "error: layer 3 has 65536 inputs, and this software driver's loops end at 65535 turns; take --engine cpu, or another \
                --hidden or --batch\n";
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(1), "", said));
}

#[test]
fn names_of_other_libraries_are_understood() {
    let run = |args: &[&str]| last_test(&trained(&[&["--epochs", "1"], args].concat()));
    assert_eq!(run(&["--rule", "AdamW", "--set", "epsilon=1e-3"]), run(&["--rule", "adamw", "--set", "eps=1e-3"]));
    let others = ["--optimizer", "SGD", "--learning-rate", "0.05", "--batch-size", "32", "--weight_decay", "0.1"];
    assert_eq!(run(&others), run(&["--rule", "sgd", "--lr", "0.05", "--batch", "32", "--weight-decay", "0.1"]));
    assert_eq!(run(&["--schedule", "CosineAnnealingLR,T_max=9"]), run(&["--schedule", "cosine,steps=9"]));
}

#[test]
fn every_command_has_examples_and_no_command_prints_help() {
    for name in ["train", "sweep", "bench", "info", "inspect", "diff", "rules", "schedules", "completions", "man"] {
        let ran = thalweg(&[name, "--help"]);
        assert!(
            ran.code == Some(0) && ran.out.contains("Example") && ran.out.contains(&format!("  thalweg {name}")),
            "{ran:?}"
        );
    }
    let (bare, help) = (thalweg(&[]), thalweg(&["-h"]));
    assert_eq!((bare.code, bare.out, bare.err.as_str()), (Some(0), help.out, ""));
}

#[test]
fn completions_and_man_pages_are_written() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = thalweg(&["completions", shell]);
        assert!(ran.code == Some(0) && ran.out.contains("schedules"), "{shell}: {ran:?}");
    }
    assert!(thalweg(&["man"]).out.contains(".TH thalweg 1"));
    assert!(thalweg(&["man", "train"]).out.contains("thalweg"));
}

#[test]
fn rules_stand_side_by_side() {
    let ran = thalweg(&["rules", "sgd", "AdamW"]);
    let line = |start: &str| ran.out.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {ran:?}"));
    assert_eq!(line("weight_decay").split_whitespace().collect::<Vec<_>>(), ["weight_decay", "0", "0.01"]);
    assert_eq!(line("beta1").split_whitespace().collect::<Vec<_>>(), ["beta1", "–", "0.9"]);
    assert!(line("a start").contains("--lr 0.1"), "{ran:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_a_failure() {
    for args in
        [&["--help"][..], &["rules"], &["schedules"], &["info"], &["completions", "bash"], &["man"], &["bench", "--list"]]
    {
        let mut command = command(args);
        command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").expect("a device"));
        let ran = finish(command);
        assert!(ran.code == Some(1) && ran.err.starts_with("error: cannot write to stdout: No space"), "{args:?}: {ran:?}");
    }
}
