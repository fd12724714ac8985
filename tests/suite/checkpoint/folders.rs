//! Folders of checkpoints, and the thread that writes.

use super::*;
use thalweg::checkpoint::{Folder, Saver};

/// Writing without permission is an error, and leaves no file.
#[test]
#[cfg(unix)]
fn a_folder_that_cannot_be_written_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let at = folder.path().join("run");
    let mut run = Folder::open(&at).expect("a folder");
    run.save(1, &mixed()).expect("a file");
    fs::set_permissions(&at, fs::Permissions::from_mode(0o555)).expect("its rights");
    // Root may write in a read-only folder, but nobody may write here.
    let rights_count = fs::write(at.join("probe"), []).is_err();
    if rights_count {
        assert!(matches!(run.save(2, &mixed()), Err(Error::File { .. })));
        assert_eq!(Folder::steps(&at), Ok(vec![1]));
    }
    fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).expect("its rights");
    for nowhere in ["/proc/run", "/dev/null/run"] {
        assert!(matches!(Folder::open(nowhere), Err(Error::File { .. })), "{nowhere}");
        assert!(matches!(write(Path::new(nowhere).join("a.safetensors"), &mixed()), Err(Error::File { .. })), "{nowhere}");
    }
    // A file where the folder should be, and a folder where the file should be.
    fs::write(folder.path().join("file"), []).expect("a file");
    assert!(matches!(Folder::open(folder.path().join("file")), Err(Error::File { .. })));
    fs::create_dir(at.join("step-000000000003.safetensors")).expect("a folder");
    assert!(matches!(run.save(3, &mixed()), Err(Error::File { .. })));
    assert!(
        fs::read_dir(&at).expect("a folder").all(|entry| !entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .starts_with(".incomplete"))
    );
}

#[test]
fn a_folder_keeps_the_last_and_the_best() -> Result<()> {
    let folder = folder();
    let at = folder.path().join("run");
    let of = |step: u64| {
        let mut tensors = Tensors::default();
        tensors.put("step", &[], &[step]).expect("fits");
        tensors
    };
    let mut run = Folder::open(&at)?.keep(2);
    let error = Folder::open(&at).expect_err("it is locked").to_string();
    assert!(error.ends_with("another run keeps its checkpoints here"), "{error}");
    assert!(matches!(Folder::newest(&at), Err(Error::File { .. })), "nothing is there yet");
    for step in [5, 40, 300, 2000] {
        run.save(step, &of(step))?;
        if step == 40 {
            run.save_best(&of(step))?;
        }
    }
    assert_eq!(Folder::steps(&at)?, [300, 2000]);
    assert_eq!(Folder::newest(&at)?, (2000, of(2000)));
    assert_eq!(Folder::best(&at)?, of(40));
    // A damaged file is passed over, and an incomplete one is removed at the next start.
    let newest = at.join("step-000000002000.safetensors");
    let bytes = fs::read(&newest).expect("a file");
    fs::write(&newest, &bytes[..bytes.len() - 1]).expect("a file");
    fs::write(at.join(".incomplete-1-0-step"), [0; 10]).expect("a file");
    assert_eq!(Folder::newest(&at)?, (300, of(300)));
    drop(run);
    let mut run = Folder::open(&at)?.keep(1);
    assert!(!at.join(".incomplete-1-0-step").exists());
    // A run that is resumed at 300: files of later steps stay until it reaches them.
    run.save(301, &of(301))?;
    assert_eq!(Folder::steps(&at)?, [301, 2000]);
    run.save(2000, &of(2000))?;
    assert_eq!(Folder::steps(&at)?, [2000]);
    Ok(())
}

#[test]
fn a_thread_writes_in_the_order_of_calls() -> Result<()> {
    let folder = folder();
    let mut saver = Saver::start()?;
    for step in 0..20u32 {
        let mut tensors = Tensors::default();
        tensors.put("step", &[1], &[step])?;
        saver.save(folder.path().join(format!("{}", step % 3)), tensors)?;
    }
    saver.finish()?;
    let found: Vec<u32> = (0..3)
        .map(|i| read(folder.path().join(format!("{i}"))).and_then(|t| t.get("step")).map(|s| s[0]))
        .collect::<Result<_>>()?;
    assert_eq!(found, [18, 19, 17]);
    let mut saver = Saver::start()?;
    saver.save(folder.path().join("no/such/folder"), Tensors::default())?;
    saver
        .save(folder.path().join("after"), mixed())
        .or_else(|error| if matches!(error, Error::File { .. }) { Ok(()) } else { Err(error) })?;
    // Either call may be the first to return the error, but one of them does.
    let _ = saver.finish();
    assert!(same(&read(folder.path().join("after"))?, &mixed()));
    let mut saver = Saver::start()?;
    saver.save(folder.path().join("no/such/folder"), Tensors::default())?;
    assert!(matches!(saver.finish(), Err(Error::File { .. })));
    Ok(())
}

/// The memory of what is written is there for what is saved next.
#[test]
fn a_thread_gives_tensors_back_once_they_are_written() -> Result<()> {
    let folder = folder();
    let mut saver = Saver::start()?;
    assert!(saver.spare().is_empty(), "nothing was saved");
    saver.save(folder.path().join("a"), mixed())?;
    let (start, mut spare) = (Instant::now(), saver.spare());
    while spare.is_empty() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
        spare = saver.spare();
    }
    assert!(same(&spare, &mixed()) && same(&read(folder.path().join("a"))?, &mixed()));
    assert!(saver.spare().is_empty(), "they were given once");
    // Of a file that cannot be written too; looking for errors does not lose them, nor does the other way lose errors.
    saver.save(folder.path().join("no/such/folder"), mixed())?;
    let mut failed = Ok(());
    while failed.is_ok() && start.elapsed() < Duration::from_secs(60) {
        spare = saver.spare();
        failed = saver.look();
    }
    assert!(matches!(failed, Err(Error::File { .. })));
    assert!(same(&spare, &mixed()) || same(&saver.spare(), &mixed()));
    saver.finish()
}
