//! Other processes: a second one in a folder, one that is killed, one whose disk is full.

use super::*;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use thalweg::checkpoint::Folder;

/// Two processes with one folder: the second one gets an error.
#[test]
fn a_second_process_in_a_folder_is_an_error() {
    let folder = folder();
    let at = folder.path().join("run");
    let run = Folder::open(&at).expect("a folder");
    let output = child(&at).stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("an end");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("another run keeps its checkpoints here"), "{said}");
    drop(run);
    Folder::open(&at).expect("it is free");
}

/// The child of the tests below: saves one checkpoint after the other until it is killed or fails.
#[test]
#[ignore = "it is started by other tests"]
fn child_that_saves() {
    let Some(at) = std::env::var_os("CHECKPOINTS") else { return };
    let mut run = Folder::open(PathBuf::from(at)).expect("a folder").keep(3);
    let start = Folder::newest(run.path()).map_or(0, |(step, _)| step);
    for step in start + 1..start + 100_000 {
        let mut tensors = Tensors::default();
        tensors.put("w", &[100_000], &vec![step as f32; 100_000]).expect("fits");
        match run.save(step, &tensors) {
            Ok(_) => println!("saved {step}"),
            Err(error) => {
                println!("failed {error}");
                std::process::exit(3);
            }
        }
    }
}

/// A command that runs this file's child test in a process of its own.
fn child(at: &Path) -> Command {
    let this = std::env::current_exe().expect("this program");
    let mut command = Command::new(this);
    command.args(["checkpoint::crashes::child_that_saves", "--exact", "--ignored", "--nocapture"]).env("CHECKPOINTS", at);
    command
}

/// After each of 200 kills the newest checkpoint is whole, and it is the last one that was reported as saved, or a later one.
#[test]
fn a_kill_leaves_a_whole_checkpoint() {
    let folder = folder();
    let at = folder.path().join("run");
    let mut told = 0;
    for kill in 0..200u64 {
        let mut child = child(&at).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a child");
        let patience = Instant::now();
        // From the first save on, at any moment.
        while Folder::steps(&at).ok().and_then(|steps| steps.last().copied()).is_none_or(|last| last <= told) {
            assert!(patience.elapsed() < Duration::from_secs(60), "the child saves nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(kill * 97 % 4_000));
        child.kill().expect("SIGKILL");
        let output = child.wait_with_output().expect("an end");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = said.lines().filter_map(|line| line.strip_prefix("saved ")?.parse::<u64>().ok()).next_back().unwrap_or(told);
        let (step, tensors) = Folder::newest(&at).expect("a whole checkpoint");
        assert_eq!(Folder::steps(&at).expect("a folder").last(), Some(&step), "the newest is whole");
        assert!(step >= last, "kill {kill}: {last} was saved, {step} is found");
        assert_eq!(tensors.get::<f32>("w").expect("its tensor"), vec![step as f32; 100_000]);
        told = step;
    }
}

/// If the disk is full, here by a limit on the size of files, the error is typed and the older files are whole.
#[test]
#[cfg(unix)]
fn a_full_disk_leaves_the_older_file() {
    let folder = folder();
    let at = folder.path().join("run");
    let mut small = Tensors::default();
    small.put("w", &[1], &[1.0f32]).expect("fits");
    Folder::open(&at).and_then(|mut run| run.save(1, &small)).expect("room for a small one");
    let inner = child(&at);
    let mut limited = Command::new("sh");
    // Without the signal the write itself fails.
    limited.arg("-c").arg("trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"").arg(inner.get_program()).args(inner.get_args());
    let output = limited.env("CHECKPOINTS", &at).stderr(Stdio::null()).output().expect("an end");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let file = at.join("step-000000000002.safetensors");
    assert!(said.contains(&format!("failed {}: File too large", file.display())), "{said}");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(Folder::newest(&at).expect("the older one"), (1, small));
    let left: Vec<String> = fs::read_dir(&at)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(left.iter().all(|name| !name.starts_with(".incomplete")), "{left:?}");
}

/// A full disk: a small one in memory, if this user may mount it.
#[test]
#[cfg(target_os = "linux")]
fn a_small_disk_that_is_full_leaves_the_older_file() {
    let folder = folder();
    let at = folder.path().join("disk");
    fs::create_dir(&at).expect("a folder");
    let inner = child(&at.join("run"));
    let mut mounted = Command::new("unshare");
    // In a name space of its own, so that the mount ends with the process. The newest file is copied out before.
    let script = "mount -t tmpfs -o size=1m none \"$DISK\" || exit 77; \"$0\" \"$@\"; code=$?; cp -r \"$CHECKPOINTS\" \"$KEPT\"; exit $code";
    mounted.args(["--mount", "sh", "-c", script]).arg(inner.get_program()).args(inner.get_args());
    let kept = folder.path().join("kept");
    // 400 kB each: two have room, a third has not.
    let output = mounted.env("CHECKPOINTS", at.join("run")).env("KEPT", &kept).env("DISK", &at).output();
    let output = match output {
        Ok(output)
            if output.status.code() != Some(77) && !String::from_utf8_lossy(&output.stderr).contains("unshare failed") =>
        {
            output
        }
        // Without the right to mount, only a_full_disk_leaves_the_older_file tests this.
        _ => return,
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("saved 2") && said.contains("failed") && said.contains("No space left on device"), "{said}");
    assert_eq!(output.status.code(), Some(3));
    let (step, tensors) = Folder::newest(&kept).expect("the older one");
    assert_eq!((step, tensors.get::<f32>("w").expect("its tensor")), (2, vec![2.0; 100_000]));
    assert_eq!(Folder::steps(&kept).expect("a folder"), [1, 2]);
    assert!(
        fs::read_dir(&kept).expect("a folder").all(|entry| !entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .starts_with(".incomplete"))
    );
}
