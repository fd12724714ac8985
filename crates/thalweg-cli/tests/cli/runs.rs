//! Runs that fail, are stopped, use one folder at the same time, or have an odd schedule.

use super::picture::well_formed;
use super::*;

fn path(temp: &TempDir) -> &str {
    temp.path().to_str().expect("UTF-8")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn a_run_leaves_four_files_that_say_what_it_was() {
    let temp = TempDir::new().expect("a directory");
    let lines = trained(&["--epochs", "2", "--schedule", "wsd", "--out", path(&temp)]);
    assert_eq!(names(temp.path()), ["confusion.svg", "curve.svg", "metrics.csv", "run.json"].map(String::from).into());
    let text = fs::read_to_string(temp.path().join("run.json")).expect("a file");
    let run: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&run["state"], &run["settings"]["rule"], &run["settings"]["seed"]),
        (&"finished".into(), &"adamw".into(), &1.into())
    );
    assert_eq!(run["result"]["test_accuracy"], lines[2]["test_accuracy"]);
    // Two epochs are 46 steps, of which a fifth falls.
    assert_eq!(run["result"]["rates"]["schedule"], "wsd,decay=9,stable=37");
    let picture = fs::read_to_string(temp.path().join("curve.svg")).expect("a picture");
    assert!(picture.contains("digits, adamw at a rate of 0.001"), "{picture}");
}

#[test]
fn a_run_that_fails_leaves_earlier_results_alone() {
    let temp = TempDir::new().expect("a directory");
    trained(&["--epochs", "1", "--out", path(&temp)]);
    let read = || ["metrics.csv", "curve.svg", "run.json"].map(|name| fs::read(temp.path().join(name)).expect("a file"));
    let before = read();
    let ran = thalweg(&["train", "--out", path(&temp), "--adapter", "no such adapter"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(read() == before && names(temp.path()).len() == 4);
    let new = temp.path().join("new");
    thalweg(&["train", "--out", new.to_str().expect("UTF-8"), "--adapter", "no such adapter"]);
    assert!(!new.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_does_not_lose_the_result() {
    let temp = TempDir::new().expect("a directory");
    std::os::unix::fs::symlink("/dev/full", temp.path().join("curve.svg")).expect("a link");
    let ran = thalweg(&["train", "--engine", "cpu", "--epochs", "2", "--out", path(&temp)]);
    assert!(ran.code == Some(1) && ran.out.starts_with("test accuracy "), "{ran:?}");
    let last = ran.err.lines().last().unwrap_or_default();
    assert!(last.contains("curve.svg: cannot be written: No space left on device") && !last.contains("--out takes"), "{ran:?}");
}

#[cfg(unix)]
#[test]
fn a_folder_has_one_run_at_a_time_and_signals_end_it() {
    for (signal, code) in [("-TERM", 143), ("-HUP", 129)] {
        let temp = TempDir::new().expect("a directory");
        let args = ["train", "--engine", "cpu", "--json", "--epochs", "100000", "--out", path(&temp)];
        let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        (0..3).for_each(|_| assert!(stdout.read_line(&mut String::new()).expect("a line") > 0));
        let second = thalweg(&["train", "--engine", "cpu", "--epochs", "1", "--out", path(&temp)]);
        assert!(second.code == Some(1) && second.err.contains("another run is writing into this folder"), "{second:?}");
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill starts").success());
        stdout.read_to_string(&mut String::new()).expect("UTF-8");
        let mut err = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut err).expect("UTF-8");
        assert_eq!(child.wait().expect("it ends").code(), Some(code), "{err}");
        assert!(err.contains("stopping after this step (again to end at once)"), "{err}");
        well_formed(&fs::read_to_string(temp.path().join("curve.svg")).expect("a picture")).expect("SVG");
        let run = fs::read_to_string(temp.path().join("run.json")).expect("a file");
        assert!(run.contains("\"state\": \"interrupted\""), "{run}");
    }
}

#[test]
fn a_new_folder_is_taken_beside_one_with_files() {
    let temp = TempDir::new().expect("a directory");
    let out = temp.path().join("run");
    let run = || trained(&["--epochs", "1", "--new-dir", "--out", out.to_str().expect("UTF-8")]);
    (0..3).for_each(|_| drop(run()));
    assert_eq!(names(temp.path()), ["run", "run-2", "run-3"].map(String::from).into());
}

/// With files to write, training goes on; the other case is `a_reader_that_leaves_ends_the_run_quietly`.
#[test]
fn a_run_with_files_goes_on_without_a_reader() {
    let temp = TempDir::new().expect("a directory");
    let args = ["train", "--engine", "cpu", "--json", "--epochs", "30", "--out", path(&temp)];
    let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let table = fs::read_to_string(temp.path().join("metrics.csv")).expect("a table");
    assert_eq!(table.lines().count(), 31);
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_unless_it_is_to_go_on() {
    let diverging = ["train", "--engine", "cpu", "--rule", "sgd", "--lr", "1e30", "--epochs", "3"];
    let ran = thalweg(&diverging);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.err.contains("the loss is not finite after epoch 1 at a rate of 1e30: try a smaller --lr"), "{ran:?}");
    assert_eq!(ran.err.lines().filter(|line| line.starts_with("epoch ")).count(), 1, "{ran:?}");
    assert!(ran.err.ends_with("; --keep-going trains on all the same\n"), "{ran:?}");
    let temp = TempDir::new().expect("a directory");
    let out = temp.path().to_str().expect("UTF-8");
    let ran = thalweg(&[&diverging[..], &["--keep-going", "--out", out]].concat());
    let run: Value = serde_json::from_slice(&fs::read(temp.path().join("run.json")).expect("a file")).expect("JSON");
    assert_eq!(run["state"], "not finite");
    assert!(ran.err.ends_with(", or --clip-norm 1\n"), "{ran:?}");
    assert_eq!((ran.code, ran.err.lines().filter(|line| line.starts_with("epoch ")).count()), (Some(1), 3), "{ran:?}");
}

#[test]
fn schedules_that_do_nothing_or_end_early_are_reported() {
    let table = [
        ("step", "never moves in the 46 steps"),
        ("cosine,steps=10", "the rate is 0 from step 11 of 46 on"),
        ("one_cycle,steps=10", "one_cycle ends before the run"),
        ("wsd,stable=0,decay=20", "the rate is 0 from step 21 of 46 on"),
        ("cyclic,up=100000000", "keeps the rate below"),
        ("noam,factor=0.001", "keeps the rate below"),
        ("plateau", "plateau cannot move the rate in 2 epochs: patience is 10"),
    ];
    for (schedule, says) in table {
        let ran = thalweg(&["train", "--engine", "cpu", "--epochs", "2", "--schedule", schedule]);
        assert!(ran.code == Some(0) && ran.err.contains("warning: ") && ran.err.contains(says), "{schedule}: {ran:?}");
    }
    for schedule in ["cosine", "wsd,decay=20", "noam", "cyclic", "one_cycle", "linear,steps=5"] {
        let ran = thalweg(&["train", "--engine", "cpu", "--epochs", "2", "--schedule", schedule]);
        assert!(ran.code == Some(0) && !ran.err.contains("warning: ") && ran.err.contains("rate: "), "{schedule}: {ran:?}");
    }
}

#[test]
fn quiet_says_only_the_result_and_options_of_the_network_matter() {
    let ran = thalweg(&["train", "--engine", "cpu", "--epochs", "1", "--quiet"]);
    assert!(ran.code == Some(0) && ran.err.is_empty() && ran.out.contains("best: "), "{ran:?}");
    let run = |args: &[&str]| last_test(&trained(&[&["--epochs", "1"], args].concat()));
    assert_eq!(run(&["--threads", "1"]), run(&[]));
    assert_ne!(run(&["--activation", "tanh"]), run(&[]));
    assert_ne!(run(&["--activation", "gelu"]), run(&[]));
}
