//! Ranks that make their steps on a GPU, or on a software driver of this machine.

use crate::jobs::{COMMAND, Folder, job, run, text};
use std::time::Duration;
use thalweg::checkpoint::{Tensors, read};

const STEP: [&str; 10] = ["train", "--engine", "gpu", "--hidden", "16", "--batch", "256", "--until", "1", "-q"];

/// The parameters after one step on ranks.
fn stepped(ranks: usize, file: &str) -> Vec<(String, Vec<u8>)> {
    let (output, _) = run(ranks, COMMAND, &[&STEP[..], &["--save", file]].concat());
    assert!(output.status.success(), "{ranks}: {}", text(&output.stderr));
    let tensors: Tensors = read(file).expect("the file");
    let params = tensors.iter().filter(|(name, _)| name.starts_with("param."));
    params.map(|(name, tensor)| (name.to_string(), tensor.bytes.to_vec())).collect()
}

#[test]
fn a_step_on_gpus_has_the_same_bits_on_two_ranks() {
    let folder = Folder::new("gpu");
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let file = format!("{}/model.safetensors", folder.text());
    let expected = stepped(1, &file);
    assert_eq!(expected.len(), 4, "two layers have weights and biases");
    assert_eq!(stepped(2, &file), expected);
}

/// The last rank sees no driver. All ranks say so, and none waits for the watchdog.
#[test]
fn a_rank_without_an_adapter_ends_the_job_with_an_error_on_all() {
    let (mut command, _guard) = job(1, COMMAND, &STEP);
    command.args([":", "-n", "1", "env", "VK_DRIVER_FILES=/nonexistent", "VK_ICD_FILENAMES=/nonexistent", COMMAND]).args(STEP);
    let started = std::time::Instant::now();
    let output = command.output().expect("mpirun");
    let (printed, took) = (text(&output.stderr), started.elapsed());
    assert!(!output.status.success() && took < Duration::from_secs(8), "{took:?}: {printed}");
    assert_eq!(printed.matches("rank 1 failed: ").count(), 2, "{printed}");
    assert!(printed.contains("adapter"), "{printed}");
}
