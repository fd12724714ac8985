//! The cost of checkpoints: steps per second of AdamW without checkpoints, and with checkpoints that are written in the
//! background.
//!
//! ```sh
//! cargo run --release --features checkpoint --example saving -- FOLDER [MEBI_PARAMETERS] [EVERY_SECONDS] [SECONDS]
//! ```
//!
//! The defaults are 64 Mi parameters, a checkpoint every 30 s, and 120 s each with and without checkpoints. FOLDER is on the
//! disk to measure; the files there are removed at the end. The program also prints how fast a file is only read, and how fast
//! it is loaded: into memory that the optimizer has not touched yet, and into memory that it has. Root has the system forget the
//! file before each of them, so that it comes from the disk.
//!
//! The program fails if a loaded file has other parameters than those that were saved.

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use thalweg::checkpoint::{Due, Every, Folder, Saver};
use thalweg::cpu::Cpu;
use thalweg::{AdamW, Optimizer, Recipe};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().context("a folder to write into is missing")?).join("saving");
    let mut number = |default: u64| args.next().map_or(Ok(default), |text| text.parse());
    let (mebi, every, seconds) = (number(64)?, number(30)?, number(120)?);
    let len = (mebi << 20) as usize;
    let new = || Optimizer::new(&Cpu::<f32>::default(), Recipe::new(AdamW::default()), &[("w", &[len])]);
    let mut optimizer = new()?;
    optimizer.set_grads("w", &vec![1e-3; len])?;
    optimizer.step()?;

    // Half of the time without checkpoints is before and half is after, so that a machine that becomes slower as it grows warm
    // harms both alike.
    let time = Duration::from_secs(seconds);
    let before = run(&mut optimizer, time / 2, |_, _| Ok(()))?;
    let mut saver = Saver::over(Folder::open(&folder)?.keep(1))?;
    let (mut due, mut saved, mut held) = (Due::new(Every::Time(Duration::from_secs(every)), 0), 0, Duration::ZERO);
    let with = run(&mut optimizer, time, |optimizer, step| {
        if due.at(step) {
            let start = Instant::now();
            let mut tensors = saver.spare();
            optimizer.tensors_into(&mut tensors)?;
            saver.save_step(step, tensors)?;
            (saved, held) = (saved + 1, held + start.elapsed());
        }
        Ok(())
    })?;
    // Waits for the file that is still being written.
    saver.finish()?;
    let after = run(&mut optimizer, time / 2, |_, _| Ok(()))?;
    let without = (before + after) / 2.0;
    let cost = 100.0 * (1.0 - with / without);
    println!(
        "{mebi} Mi parameters, AdamW: {without:.3} steps/s without, {with:.3} with {saved} checkpoints, one per {every} s: {cost:.1} %"
    );
    println!("training stood still for {:.2} s per checkpoint", held.as_secs_f64() / f64::from(saved.max(1)));

    let (step, _) = Folder::newest(&folder)?;
    let file = Folder::file(&folder, step);
    let mut loaded = new()?;
    let mut nothing = std::io::sink();
    let read = speed(&file, || Ok(std::io::copy(&mut std::fs::File::open(&file)?, &mut nothing).map(drop)?))?;
    // The first time, the system has to find the memory of the optimizer as well.
    let [new_memory, known_memory] = [(); 2].map(|()| speed(&file, || Ok(loaded.load_file(&file).map(drop)?)));
    println!(
        "read with {read:.2} GB/s, loaded with {:.2} GB/s into new memory, with {:.2} GB/s again",
        new_memory?, known_memory?
    );
    // Every element has had the same gradients, in steps whose number the file has.
    ensure!(u64::from(loaded.report()?.applied) > step, "the file has not the steps that were made");
    let (params, first) = (loaded.params("w")?, loaded.params("w")?[0]);
    ensure!(first < 0.0 && params.iter().all(|x| x.to_bits() == first.to_bits()), "the file has other parameters");
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// GB/s of what goes through a whole file. Root has Linux forget the files that it holds in memory before, so that it comes from
/// the disk.
fn speed(file: &std::path::Path, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "1");
    let start = Instant::now();
    work()?;
    Ok(std::fs::metadata(file)?.len() as f64 / 1e9 / start.elapsed().as_secs_f64())
}

type Cpu32 = Optimizer<thalweg::cpu::CpuProgram<f32>>;

/// Steps per second, measured over a time.
fn run(optimizer: &mut Cpu32, time: Duration, mut each: impl FnMut(&mut Cpu32, u64) -> thalweg::Result<()>) -> Result<f64> {
    let (start, mut steps) = (Instant::now(), 0);
    while start.elapsed() < time {
        optimizer.step()?;
        steps += 1;
        each(optimizer, steps)?;
    }
    Ok(steps as f64 / start.elapsed().as_secs_f64())
}
