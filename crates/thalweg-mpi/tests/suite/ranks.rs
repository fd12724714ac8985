//! Jobs of 1 to 4 ranks on this machine: their bits, and how they end.

use crate::jobs::{self, Folder, TRIAL, fails, outcome, run};
use std::collections::BTreeSet;
use std::time::Duration;

fn alone(args: &[&str]) -> String {
    jobs::alone(&[&["alone"], args].concat())
}

/// 50 steps of each rule, with clip, momentum and accumulation. What is compared is a digest of the parameters after every
/// step.
#[test]
fn any_number_of_ranks_has_the_bits_of_one_program() {
    let mut all = BTreeSet::new();
    for rule in ["sgd", "adamw", "lamb"] {
        let expected = alone(&[rule, "8", "50"]);
        assert!(expected.starts_with("50 applied, 0 skipped, "), "{expected}");
        assert!(!expected.contains(", 0 clipped"), "nothing was clipped: {expected}");
        for ranks in 1..=4 {
            assert_eq!(outcome(ranks, &["exact", rule, "8", "50"]), expected, "{rule} on {ranks}");
        }
        all.insert(expected);
    }
    assert_eq!(all.len(), 3, "rules have different ends: {all:?}");
}

/// The same with 4 Mi parameters, in tensors of odd lengths, with the state whole and in parts.
#[test]
fn four_mebi_parameters_have_the_bits_of_one_program() {
    let mut all = BTreeSet::new();
    for rule in ["large-sgd", "large-adamw", "large-lamb"] {
        let expected = alone(&[rule, "4", "50"]);
        assert!(expected.starts_with("50 applied, 0 skipped, ") && !expected.contains(", 0 clipped"), "{expected}");
        for ranks in 1..=4 {
            assert_eq!(outcome(ranks, &["exact", rule, "4", "50"]), expected, "{rule} on {ranks}");
        }
        if rule != "large-lamb" {
            for ranks in [3, 4] {
                assert_eq!(outcome(ranks, &["sharded", rule, "4", "50"]), expected, "{rule} in {ranks} parts");
            }
        }
        all.insert(expected);
    }
    assert_eq!(all.len(), 3, "rules have different ends: {all:?}");
}

/// Each rank has only the state of its part, and the bits of a program with all of it. LAMB is refused, as it needs norms of
/// whole tensors.
#[test]
fn sharded_state_has_the_bits_of_one_program() {
    for rule in ["sgd", "adamw", "scaled"] {
        let expected = alone(&[rule, "8", "20"]);
        for ranks in 1..=4 {
            assert_eq!(outcome(ranks, &["sharded", rule, "8", "20"]), expected, "{rule} on {ranks}");
        }
    }
    fails(2, &["sharded", "lamb", "8", "1"], "lamb cannot be combined with a part of the arena", 2);
}

/// Numbers of micro-batches that are neither a power of two nor a multiple of the ranks.
#[test]
fn odd_shares_have_the_bits_of_one_program() {
    let expected = alone(&["sgd", "7", "6"]);
    for ranks in [2, 3, 4] {
        assert_eq!(outcome(ranks, &["exact", "sgd", "7", "6"]), expected, "{ranks} ranks");
    }
}

/// Ranks with several blocks of more than 30 pieces each, all but the last of which travel while the next one is computed.
#[test]
fn blocks_that_travel_early_have_the_bits_of_one_program() {
    for rule in ["large-sgd", "large-adamw"] {
        let expected = alone(&[rule, "13", "3"]);
        for ranks in 1..=4 {
            assert_eq!(outcome(ranks, &["exact", rule, "13", "3"]), expected, "{rule} on {ranks}");
        }
        assert_eq!(outcome(3, &["sharded", rule, "13", "3"]), expected, "{rule} in parts");
        assert!(outcome(3, &["fast", rule, "13", "3"]).starts_with("3 applied, 0 skipped"));
    }
}

/// A model of the library with running statistics and dropout, in two lanes, by the library's trainer: parameters, statistics
/// and what is measured and predicted, of which each rank computes a share. The last step of an epoch has fewer micro-batches
/// than the others, and the last batch fewer rows.
#[test]
fn trainers_on_any_number_of_ranks_have_the_bits_of_one() {
    let mut all = BTreeSet::new();
    for rule in ["adamw", "lamb", "free"] {
        let expected = jobs::alone(&["alone-training", rule, "2"]);
        assert!(expected.starts_with("10 steps"), "{expected}");
        for ranks in 1..=4 {
            assert_eq!(outcome(ranks, &["training", rule, "8", "2"]), expected, "{rule} on {ranks}");
        }
        if rule != "lamb" {
            assert_eq!(outcome(3, &["training-parts", rule, "8", "2"]), expected, "{rule} in parts");
        }
        all.insert(expected);
    }
    assert_eq!(all.len(), 3, "rules have different ends: {all:?}");
    // Five ranks share the four micro-batches of an epoch's last step.
    let expected = jobs::alone(&["alone-training", "sgd", "1"]);
    assert_eq!(outcome(5, &["training", "sgd", "8", "1"]), expected);
    assert!(outcome(5, &["training-fast", "sgd", "8", "1"]).starts_with("6 steps"));
}

/// Each rank writes its ranges. What was saved on some ranks, with all state on each or with parts of it, goes on with any
/// number of ranks, in the middle of an epoch.
#[test]
fn checkpoints_in_parts_go_on_with_any_number_of_ranks() {
    let whole = Folder::new("whole");
    let expected = outcome(2, &["parts", whole.text(), "8", "2"]);
    assert!(expected.starts_with("10 steps"), "{expected}");
    for (scenario, ranks, others) in [("parts-sharded", 4, &[1, 2, 3][..]), ("parts", 3, &[4])] {
        let saved = Folder::new("saved");
        let before = outcome(ranks, &[scenario, saved.text(), "8", "1"]);
        assert!(before.starts_with("6 steps"), "{before}");
        assert_eq!(saved.files().len(), ranks + 1, "{:?}", saved.files());
        for &other in others {
            let copy = saved.copied("copy");
            let scenario = if other == 2 { "parts-sharded" } else { "parts" };
            assert_eq!(outcome(other, &[scenario, copy.text(), "8", "2"]), expected, "{ranks} then {other}");
        }
        // A part that is missing, or of another save.
        let part = format!("step-000000000006-part-1-of-{ranks}.safetensors");
        let copy = saved.copied("copy");
        std::fs::remove_file(copy.0.join(&part)).expect("the part");
        let message = format!("{part}: elements ");
        fails(3, &["parts", copy.text(), "8", "2"], &message, 3);
        drop(copy);
        let copy = saved.copied("copy");
        drop(saved);
        let saved = Folder::new("saved");
        outcome(ranks, &[scenario, saved.text(), "8", "1"]);
        std::fs::copy(saved.0.join(&part), copy.0.join(&part)).expect("a copy");
        fails(2, &["parts", copy.text(), "8", "2"], "are missing: it is of another save", 2);
    }
}

#[test]
fn mpi_s_own_sum_keeps_ranks_together() {
    for ranks in 1..=4 {
        let found = outcome(ranks, &["fast", "adamw", "8", "10"]);
        assert!(found.starts_with("10 applied, 0 skipped"), "{found}");
    }
}

/// One micro-batch of the last rank is not finite in step 3: all ranks skip that step, as one program does.
#[test]
fn a_bad_gradient_on_one_rank_skips_the_step_on_all() {
    for rule in ["sgd", "scaled"] {
        let expected = outcome(1, &["bad-gradient", rule, "8", "5"]);
        assert!(expected.starts_with("4 applied, 1 skipped, "), "{expected}");
        for ranks in [2, 3] {
            assert_eq!(outcome(ranks, &["bad-gradient", rule, "8", "5"]), expected, "{rule} on {ranks}");
        }
    }
}

#[test]
fn ranks_that_differ_are_an_error_that_says_where() {
    for (scenario, message) in [
        ("other-data", "rank 2 differs in its data: digest "),
        ("other-settings", "rank 2 differs in its settings: digest "),
        ("one-more", "rank 2 differs in its batch: 17; rank 0 has nothing"),
        ("no-engine", "rank 2 failed: no adapter"),
        ("fails", "rank 2 failed: the list of samples"),
        ("fails-between", "rank 2 failed: the list of samples"),
        ("diverges", "rank 2 has other parameters than rank 0 after 3 steps"),
    ] {
        fails(3, &[scenario, "sgd", "8", "5"], message, 3);
    }
    fails(3, &["exact", "sgd", "2", "5"], "3 ranks cannot share 2 micro-batches", 3);
    fails(1, &["twice"], "MPI cannot be started: it is running in this process already", 1);
}

/// One rank fails while others have sent all their blocks, or while its own are on their way: nothing of that try is left in
/// the next one.
#[test]
fn a_step_that_failed_can_be_tried_again() {
    for rule in ["sgd", "adamw"] {
        let expected = alone(&[rule, "8", "4"]);
        assert!(expected.starts_with("4 applied, 0 skipped, "), "{expected}");
        for ranks in [1, 3] {
            assert_eq!(outcome(ranks, &["retried", rule, "8", "4"]), expected, "{rule} on {ranks}");
        }
    }
}

/// The first of five ranks has none of an epoch's four micro-batches: the others learn of it all the same.
#[test]
fn a_rank_that_cannot_begin_ends_the_step_on_all() {
    fails(5, &["training-unbegun", "sgd", "8", "1"], "rank 0 failed: a step that machines share", 5);
}

/// `mpirun` finds a killed rank; the watchdog of the others, 4 s here, finds one that hangs: before its gradients, or between
/// its blocks, of which one is on its way.
#[test]
fn a_dead_rank_ends_the_job() {
    for scenario in ["killed", "killed-between"] {
        fails(3, &[scenario, "sgd", "8", "5"], "exited on signal 9", 1);
    }
    for (scenario, rule) in [("hangs", "sgd"), ("hangs-between", "large-sgd")] {
        let (output, took) = run(3, TRIAL, &[scenario, rule, "8", "5"]);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && took < Duration::from_secs(10), "{scenario} {rule} took {took:?}: {printed}");
        let message = "another rank did not answer in 4 s; it is dead, or slower than the watchdog allows";
        assert!(printed.contains(message), "{scenario}: {printed}");
    }
}
