//! What the command line says, and whether a person can act on it.

use super::*;

#[test]
fn wrong_names_and_numbers_say_what_to_give() {
    let table: &[(&[&str], &str)] = &[
        (&["train", "--rule", "adma"], "did you mean adam?"),
        (&["train", "--rule", "lbfgs"], "it needs the whole data set in every step"),
        (&["train", "--set", "betas=0.9,0.99"], "they are two settings: beta1 and beta2"),
        (&["train", "--schedule", "cosin"], "did you mean cosine?"),
        (&["train", "--engine", "cuda"], "GPUs of every vendor are gpu; try 'thalweg train --help'"),
        (&["train", "--schedule", "exponential"], "exponential needs gamma, for example gamma=0.99"),
        (&["train", "--schedule", "piecewise,values=1,0.1"], "piecewise needs boundaries, for example boundaries=500"),
        (&["train", "--schedule", "multi_step"], "multi_step needs milestones, for example milestones=300,600"),
        (&["train", "--lr", "1e39"], "lr = 1e39 is out of range: from 0 to 3.4e38, the range of single precision"),
        (&["train", "--lr", "1e-46"], "lr = 1e-46 is out of range"),
        (&["train", "--set", "eps=1e-60"], "is out of range"),
        (&["train", "--threads", "0"], "not a whole number from 1 to 1024"),
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

#[test]
fn names_of_other_libraries_are_understood() {
    let run = |args: &[&str]| last_test(&trained(&[&["--epochs", "1"], args].concat()));
    assert_eq!(run(&["--rule", "AdamW", "--set", "epsilon=1e-3"]), run(&["--rule", "adamw", "--set", "eps=1e-3"]));
    assert_eq!(run(&["--schedule", "CosineAnnealingLR,T_max=9"]), run(&["--schedule", "cosine,steps=9"]));
}

#[test]
fn every_command_has_examples_and_no_command_prints_help() {
    for name in ["train", "bench", "info", "rules", "schedules", "completions", "man"] {
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
fn shells_and_man_are_told() {
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
    let mut command = command(&["--help"]);
    command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").expect("a device"));
    let ran = finish(command);
    assert!(ran.code == Some(1) && ran.err.starts_with("error: cannot write to stdout"), "{ran:?}");
}
