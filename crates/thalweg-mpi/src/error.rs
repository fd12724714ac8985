//! What may go wrong among ranks.

use std::path::PathBuf;
use std::time::Duration;

/// What may go wrong among ranks. All ranks get the same error, unless its description says otherwise.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// MPI cannot be started: it was started before in this process, or MPI itself failed.
    #[error("MPI cannot be started: {0}")]
    NotStarted(String),
    /// More ranks than micro-batches: some would have nothing to do.
    #[error("{ranks} ranks cannot share {micro_batches} micro-batches: ask for at least as many, or for fewer ranks")]
    TooManyRanks {
        /// Ranks of the job.
        ranks: usize,
        /// Micro-batches of a step.
        micro_batches: usize,
    },
    /// Ranks differ in something that has to be the same.
    #[error("rank {rank} differs in its {what}: {found}; rank 0 has {expected}")]
    Differs {
        /// In what they differ: the version, the settings, the model, its start values, the data, or the engine.
        what: String,
        /// The first rank that differs.
        rank: usize,
        /// The text or digest of that rank.
        found: String,
        /// The text or digest of rank 0.
        expected: String,
    },
    /// The parameters of ranks are no longer the same.
    #[error("rank {rank} has other parameters than rank 0 after {steps} steps")]
    Diverged {
        /// The first rank that differs.
        rank: usize,
        /// Steps made.
        steps: u64,
    },
    /// A rank failed, and the others cannot go on without it.
    #[error("rank {rank} failed: {message}")]
    Rank {
        /// The first rank that failed.
        rank: usize,
        /// Its error.
        message: String,
    },
    /// A rank did not answer in time: it is dead, or it hangs. Only the ranks that waited for it have this error; nothing more
    /// can be sent, and the process has to end without waiting for the others.
    #[error("{waiting} on rank {rank}: another rank did not answer in {} s; it is dead, or slower than the watchdog allows", patience.as_secs_f64())]
    NoAnswer {
        /// What the rank waited for.
        waiting: &'static str,
        /// The rank that waited.
        rank: usize,
        /// How long it waited.
        patience: Duration,
    },
    /// A call of MPI failed on this rank.
    #[error("{call} failed: {message}")]
    Mpi {
        /// The call.
        call: &'static str,
        /// MPI's message.
        message: String,
    },
    /// More elements than MPI counts in 32 bits.
    #[error("{what} of {elements} elements: MPI counts up to 2147483647")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its elements.
        elements: usize,
    },
    /// Something that ranks cannot share with these settings.
    #[error("{what} cannot be shared by ranks: {reason}")]
    Unshared {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// A checkpoint that ranks have written together lacks a part.
    #[error("{}: elements {ranges} of the checkpoint are missing: {reason}; put the file there, or resume from an older checkpoint", file.display())]
    MissingRanges {
        /// The file of the part.
        file: PathBuf,
        /// The elements of the arena that it has.
        ranges: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// An error of the library on this rank.
    #[error(transparent)]
    Thalweg(#[from] thalweg::Error),
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
