//! Runs that are saved and resumed: --save, --checkpoint, --resume, --until, --watch, --tensorboard.

use super::*;
use thalweg::checkpoint::{Folder, read};

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// A small run: 23 steps an epoch of the digits. From the second epoch on the rate falls in each epoch, since no epoch halves
/// the loss.
const RUN: [&str; 12] = [
    "train",
    "--engine",
    "cpu",
    "--threads",
    "1",
    "--hidden",
    "8",
    "--seed",
    "3",
    "--schedule",
    "plateau,patience=0,factor=0.5,threshold=relative:0.5",
    "--json",
];

fn train(args: &[&str]) -> Ran {
    thalweg(&[&RUN[..], args].concat())
}

/// The lines of epochs.
fn epochs(ran: &Ran) -> Vec<Value> {
    let lines = ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    lines.filter(|line: &Value| line.get("epoch").is_some()).collect()
}

/// Resumes a run; its settings are not given again.
fn resume(args: &[&str]) -> Ran {
    thalweg(&[&["train", "--engine", "cpu", "--threads", "1", "--json"][..], args].concat())
}

fn table(folder: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(folder).join("metrics.csv")).expect("a table");
    // Without the seconds, which no two runs share.
    text.lines().map(|line| line.rsplit_once(',').expect("columns").0.to_string()).collect()
}

/// A run that --until ends in the middle of an epoch and that is resumed from the folder: it writes the same file as an
/// uninterrupted one, except for the seconds.
#[test]
fn a_run_that_goes_on_ends_where_one_in_one_go_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let [whole, run, end, out, out_whole] = ["whole", "run", "end", "out", "out-whole"].map(|name| path(&folder, name));
    let ran = train(&["--epochs", "4", "--save", &whole, "--out", &out_whole]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = train(&["--epochs", "4", "--checkpoint", &run, "--every", "20", "--keep", "2", "--until", "55", "--out", &out]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(Folder::steps(Path::new(&run)), Ok(vec![40, 55]), "every 20 steps, and the end");
    // An interrupted run may have come further than its last checkpoint: later lines of the table are replaced.
    let text = fs::read_to_string(Path::new(&out).join("metrics.csv")).expect("a table");
    fs::write(Path::new(&out).join("metrics.csv"), text + "3,9,9,9,9,69,9\n").expect("a table");
    let ran = resume(&["--resume", &run, "--save", &end, "--out", &out]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let made: Vec<i64> = epochs(&ran).iter().filter_map(|epoch| epoch["epoch"].as_i64()).collect();
    assert_eq!(made, [3, 4]);
    assert_eq!(table(&out), table(&out_whole), "no row is missing, none is there twice");
    let [mut one, mut other] = [&whole, &end].map(|file| read(Path::new(file)).expect("a file"));
    assert_eq!(one.get::<f64>("setting.default.lr"), Ok(vec![1e-3 / 8.0]), "the rate has fallen after three of four epochs");
    for file in [&mut one, &mut other] {
        for name in ["run.seconds", "run.epochs"] {
            file.remove(name).expect("its tensor");
        }
        file.texts.remove("arguments").expect("its arguments");
    }
    assert!(one.iter().eq(other.iter()) && one.texts == other.texts, "the same bits");
    assert_eq!(
        Folder::steps(Path::new(&run)),
        Ok(vec![80, 92]),
        "the folder is gone on with, as --every and --keep say in the file"
    );
    assert!(Folder::best(Path::new(&run)).is_ok());
    // A run can also be resumed from a single file, and extended.
    let ran = resume(&["--resume", &end, "--epochs", "5", "--save", &end]);
    assert_eq!((ran.code, epochs(&ran).len()), (Some(0), 1), "{ran:?}");
}

#[test]
fn settings_other_than_the_runs_are_refused_with_both_values() {
    let folder = tempfile::tempdir().expect("a folder");
    let [file, run] = ["model", "run"].map(|name| path(&folder, name));
    let ran = thalweg(&[
        "train",
        "--engine",
        "cpu",
        "--epochs",
        "1",
        "--lr",
        "0.01",
        "--hidden",
        "8",
        "--schedule",
        "cosine",
        "--save",
        &file,
        "--checkpoint",
        &run,
        "--json",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let before = fs::read(&file).expect("a file");
    let cases: [(&[&str], &[&str]); 11] = [
        (&["--lr", "0.02"], &["--lr is 0.02", "has 0.01"]),
        (&["--rule", "sgd"], &["--rule is sgd", "has adamw"]),
        (&["--hidden", "8,8"], &["--hidden is 8,8", "has 8"]),
        (&["--batch", "32"], &["--batch is 32", "has 64"]),
        (&["--seed", "2"], &["--seed is 2", "has 1"]),
        (&["--clip-norm", "1"], &["--clip-norm is 1", "has none"]),
        (&["--drop-last"], &["--drop-last", "has none"]),
        (&["--epochs", "2"], &["the schedule cosine took its length from the run", "--schedule anew"]),
        (&[], &["is at step 23, and the run ends at step 23", "--epochs N"]),
        (&["--until", "9", "--resume-file"], &["--resume-file"]),
        (&["--epochs", "2", "--schedule", "cosine", "--test-fraction", "0.3"], &["--test-fraction is 0.3", "has none"]),
    ];
    for (args, expected) in cases {
        let ran = resume(&[&["--resume", &file][..], args].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
        assert!(expected.iter().all(|part| ran.err.contains(part)) && ran.err.lines().count() == 1, "{args:?}: {}", ran.err);
    }
    assert!(fs::read(&file).expect("a file") == before);
    // The same values, written in another way, are not a difference. A schedule that is given again has its own length.
    let ran = resume(&["--resume", &file, "--lr", "1e-2", "--batch", "64", "--epochs", "2", "--schedule", "cosine,steps=46"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // Other data, another run's folder, no run at all.
    let csv = path(&folder, "data.csv");
    fs::write(&csv, (0..60).map(|i| format!("{},{},{}\n", i % 7, i % 5, i % 2)).collect::<String>()).expect("a file");
    let ran = resume(&["--resume", &file, "--epochs", "2", "--schedule", "cosine,steps=46", "--data", &csv]);
    assert!(ran.code == Some(2) && ran.err.contains("has learned from other data: 1438 training rows"), "{}", ran.err);
    let ran = train(&["--epochs", "1", "--checkpoint", &run]);
    assert!(ran.code == Some(2) && ran.err.contains("has checkpoints of another run: --resume"), "{}", ran.err);
    for (at, reason) in [
        (path(&folder, "nothing"), "No such file"),
        (folder.path().display().to_string(), "there is no checkpoint in this folder"),
        (csv, "Damaged"),
    ] {
        let ran = resume(&["--resume", &at]);
        assert_eq!((ran.code, ran.err.lines().count()), (Some(1), 1), "{}", ran.err);
        assert!(reason == "Damaged" || ran.err.contains(reason), "{}", ran.err);
    }
    let foreign = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/checkpoint/version_1.safetensors");
    let ran = resume(&["--resume", foreign]);
    assert!(ran.code == Some(1) && ran.err.contains("it is no run of the command line"), "{}", ran.err);
}

/// Any step can be watched again, also one before the oldest checkpoint; no file is written meanwhile.
#[test]
fn a_run_is_looked_at_again_step_by_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let [run, file] = ["run", "file"].map(|name| path(&folder, name));
    let ran = train(&["--epochs", "2", "--checkpoint", &run, "--every", "10", "--keep", "2", "--save", &file]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let steps = Folder::steps(Path::new(&run));
    let look = |until: &str| {
        let ran = resume(&[
            "--resume",
            &run,
            "--until",
            until,
            "--watch",
            "0.weight",
            "--watch",
            "state.0.weight.exp_avg",
            "--quiet",
        ]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let lines: Vec<Value> = ran.json().into_iter().filter(|line| line.get("norms").is_some()).collect();
        assert!(lines.iter().all(|line| keys(line) == BTreeSet::from(["step", "loss", "norms"])));
        lines
    };
    let late = look("46");
    assert_eq!(
        late.iter().map(|line| line["step"].as_u64().expect("a step")).collect::<Vec<_>>(),
        (41..=46).collect::<Vec<_>>()
    );
    let tensors = read(Path::new(&file)).expect("a file");
    let norm = tensors.tensor("param.0.weight").expect("its tensor").numbers().map(|x| x * x).sum::<f64>().sqrt();
    let found = late[5]["norms"]["0.weight"].as_f64().expect("a norm");
    assert!((found - norm).abs() <= 1e-12 * norm, "{found} for {norm}");
    assert!(late[5]["loss"].as_f64().expect("a loss") > 0.0 && late[5]["norms"]["state.0.weight.exp_avg"].as_f64() > Some(0.0));
    let early = look("3");
    assert_eq!(early.len(), 3, "from the start, since no checkpoint is so old");
    assert_eq!(Folder::steps(Path::new(&run)), steps, "nothing was written");
    let ran = resume(&["--resume", &run, "--until", "46", "--watch", "0.wieght"]);
    assert!(
        ran.code == Some(2) && ran.err.contains("unknown tensor '0.wieght'") && ran.err.contains("0.weight"),
        "{}",
        ran.err
    );
}

#[cfg(unix)]
#[test]
fn a_signal_leaves_a_checkpoint_and_the_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let [run, file] = ["run", "file"].map(|name| path(&folder, name));
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut child = command(&[
            "train",
            "--engine",
            "cpu",
            "--threads",
            "1",
            "--hidden",
            "8",
            "--epochs",
            "100000",
            "--checkpoint",
            &run,
            "--every",
            "1000000",
            "--save",
            &file,
            "--json",
        ]);
        if signal == "TERM" {
            child = command(&["train", "--engine", "cpu", "--threads", "1", "--json", "--resume", &run, "--save", &file]);
        }
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a child");
        // Data, then an epoch.
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        lines.nth(1).expect("an epoch").expect("a line");
        Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().expect("a signal");
        lines.for_each(drop);
        assert_eq!(child.wait().expect("an end").code(), Some(code));
        let (step, tensors) = Folder::newest(Path::new(&run)).expect("a checkpoint");
        let kept = read(Path::new(&file)).expect("a model");
        assert!(step >= 23 && tensors.iter().eq(kept.iter()), "the model and the checkpoint are those of the end");
    }
}

/// A checkpoint that cannot be written does not end the run; it is reported, and the exit code is 1.
#[test]
fn a_checkpoint_that_cannot_be_written_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = path(&folder, "run");
    fs::create_dir_all(Path::new(&run).join("step-000000000010.safetensors")).expect("a folder in its way");
    let ran = train(&["--epochs", "1", "--save", &path(&folder, "no/such/model")]);
    assert!(ran.code == Some(2) && ran.err.contains("--save:"), "{}", ran.err);
    let ran = thalweg(&[&RUN[..], &["--epochs", "1", "--checkpoint", "/proc/run"]].concat());
    assert!(ran.code == Some(1) && ran.err.starts_with("error: /proc/run"), "{}", ran.err);
    let folder_in_place = path(&folder, "model");
    fs::create_dir(&folder_in_place).expect("a folder");
    let ran = train(&["--epochs", "1", "--save", &folder_in_place]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("warning: ") && ran.err.lines().last().is_some_and(|line| line.starts_with("error: ")),
        "{}",
        ran.err
    );
    assert_eq!(epochs(&ran).len(), 1, "the run itself is whole");
}

/// A folder is another run's as long as that one writes there, and nothing is trained meanwhile.
#[test]
fn a_folder_of_a_run_that_goes_on_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let [run, fresh] = ["run", "fresh"].map(|name| path(&folder, name));
    assert_eq!(train(&["--epochs", "1", "--checkpoint", &run]).code, Some(0));
    let others = [&run, &fresh].map(|folder| Folder::open(folder).expect("another run"));
    for args in [&["--checkpoint", &fresh][..], &["--resume", &run, "--epochs", "2"]] {
        let ran = resume(args);
        assert_eq!((ran.code, epochs(&ran).len()), (Some(1), 0), "{args:?}: {ran:?}");
        assert!(ran.err.contains("another run keeps its checkpoints here"), "{args:?}: {}", ran.err);
    }
    drop(others);
    assert_eq!(resume(&["--resume", &run, "--epochs", "2"]).code, Some(0));
}

/// What several machines wrote together, one alone cannot read: it says who can.
#[test]
fn a_checkpoint_in_parts_is_left_to_machines_that_read_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (run, manifest) = (path(&folder, "run"), path(&folder, "run/step-000000000006-parts.safetensors"));
    fs::create_dir(&run).expect("a folder");
    fs::write(&manifest, "").expect("a file");
    for args in [["--resume", &run], ["--resume", &manifest], ["--checkpoint", &run]] {
        let ran = resume(&args);
        assert_eq!((ran.code, epochs(&ran).len()), (Some(2), 0), "{args:?}: {ran:?}");
        assert!(ran.err.contains("thalweg-mpi train --resume goes on with it"), "{args:?}: {}", ran.err);
    }
}

/// Event files: their records are checked here, and by PyPI's tensorboard if `THALWEG_TENSORBOARD` names a Python that has it.
#[test]
fn event_files_hold_the_curves() {
    let folder = tempfile::tempdir().expect("a folder");
    let [events, run] = ["events", "run"].map(|name| path(&folder, name));
    let ran = train(&["--epochs", "3", "--tensorboard", &events, "--checkpoint", &run, "--until", "55"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let first = epochs(&ran);
    let ran = resume(&["--resume", &run, "--tensorboard", &events]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let losses: Vec<f64> = first.iter().chain(&epochs(&ran)).filter_map(|epoch| epoch["test_loss"].as_f64()).collect();
    assert_eq!(losses.len(), 3);
    let mut records = Vec::new();
    for entry in fs::read_dir(&events).expect("a folder") {
        let entry = entry.expect("an entry");
        assert!(entry.file_name().to_string_lossy().starts_with("events.out.tfevents."));
        let bytes = fs::read(entry.path()).expect("a file");
        let mut rest = &bytes[..];
        while let Some((len, after)) = rest.split_first_chunk::<8>() {
            let len = u64::from_le_bytes(*len) as usize;
            records.push(after[4..4 + len].to_vec());
            rest = &after[4 + len + 4..];
        }
    }
    let holds =
        |text: &str| records.iter().filter(|record| record.windows(text.len()).any(|part| part == text.as_bytes())).count();
    assert_eq!((holds("brain.Event:2"), holds("test/loss"), holds("rate")), (2, 3, 3));
    let Some(python) = std::env::var_os("THALWEG_TENSORBOARD") else { return };
    let script = "\
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
for event in events.Scalars('test/loss'):
    print(event.step, event.value)
";
    let output = Command::new(python).args(["-c", script, &events]).output().expect("a Python");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Vec<(u64, f32)> = said
        .lines()
        .map(|line| line.split_once(' ').expect("two"))
        .map(|(step, loss)| (step.parse().expect("a step"), loss.parse().expect("a loss")))
        .collect();
    let expected: Vec<(u64, f32)> = (1..).map(|epoch| 23 * epoch).zip(losses.iter().map(|&loss| loss as f32)).collect();
    assert_eq!(found, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

/// A new schedule starts from the given rate, whatever rate a plateau had reached. A new plateau first takes the losses of
/// earlier epochs, and its rate holds from the next epoch on.
#[test]
fn a_schedule_that_is_given_anew_starts_from_its_own_rate() {
    let folder = tempfile::tempdir().expect("a folder");
    let [fallen, plain, end] = ["fallen", "plain", "end"].map(|name| path(&folder, name));
    let rate = |file: &str| read(Path::new(file)).expect("a file").get::<f64>("setting.default.lr").expect("a rate")[0];
    let ran = train(&["--epochs", "3", "--save", &fallen]);
    assert_eq!((ran.code, rate(&fallen)), (Some(0), 1e-3 / 4.0), "it fell after two of three epochs: {ran:?}");
    for schedule in ["constant", "cosine,steps=92"] {
        let ran = resume(&["--resume", &fallen, "--epochs", "4", "--schedule", schedule, "--save", &end]);
        assert_eq!((ran.code, rate(&end)), (Some(0), 1e-3), "{schedule}: {ran:?}");
    }
    let constant =
        ["train", "--engine", "cpu", "--threads", "1", "--hidden", "8", "--seed", "3", "--schedule", "constant", "--json"];
    let ran = thalweg(&[&constant[..], &["--epochs", "3", "--save", &plain]].concat());
    assert_eq!((ran.code, rate(&plain)), (Some(0), 1e-3), "{ran:?}");
    // It falls after the second epoch, and the two after that do not count.
    let plateau = "plateau,patience=0,factor=0.5,threshold=relative:0.5,cooldown=2";
    let ran = resume(&["--resume", &plain, "--epochs", "4", "--schedule", plateau, "--save", &end]);
    assert_eq!((ran.code, rate(&end)), (Some(0), 1e-3 / 2.0), "{ran:?}");
}
