//! The trials of a sweep on the ranks of a job.

use crate::world::World;
use thalweg::Error;
use thalweg::sweep::{Job, Train};

/// Trains the jobs of a [`Sweep`](thalweg::sweep::Sweep) on all ranks: each rank runs the same sweep with a study and a table
/// of its own, and trains the jobs that are its. All ranks then have the metrics of all jobs, so they come to the same
/// decisions and the same table, which is that of one machine, byte for byte.
///
/// A job has a rank by its trial, fold and seed, so that it goes on in the next rung where its state is. If a rank dies, the
/// job ends; a sweep that goes on with its table trains what has no result yet, from its seed.
///
/// Lanes are not copied from rank to rank: population-based training is an error where there are several.
#[derive(Debug)]
pub struct Spread<'w, T> {
    world: &'w World,
    train: T,
    capacity: usize,
}

impl<'w, T: Train> Spread<'w, T> {
    /// With what trains the jobs of this rank.
    ///
    /// # Errors
    /// [`Error::NoAnswer`](crate::Error::NoAnswer).
    pub fn new(world: &'w World, train: T) -> crate::Result<Self> {
        // Waves are cut alike on all ranks.
        let own = u32::try_from(train.capacity().max(1)).unwrap_or(u32::MAX);
        let least = world.gather("the capacity of ranks", &[own])?.into_iter().min().unwrap_or(1) as usize;
        Ok(Self { world, train, capacity: least.saturating_mul(world.ranks()) })
    }

    /// The rank of a job.
    fn rank_of(&self, job: &Job) -> usize {
        let sum = job.trial.wrapping_add(job.fold.unwrap_or(0)).wrapping_add(job.seed.unwrap_or(0));
        (sum % self.world.ranks() as u64) as usize
    }

    /// Trains the jobs of this rank, as many at a time as it has room for.
    fn train_own(&mut self, own: &[Job], steps: u64) -> thalweg::Result<Vec<f64>> {
        let mut metrics = Vec::new();
        for wave in own.chunks(self.train.capacity().max(1)) {
            let found = self.train.train(wave, steps)?;
            if found.len() != wave.len() {
                return Err(Error::shape("metrics of the trainer", wave.len(), found.len()));
            }
            metrics.extend(found);
        }
        Ok(metrics)
    }
}

impl<T: Train> Train for Spread<'_, T> {
    fn train(&mut self, jobs: &[Job], steps: u64) -> thalweg::Result<Vec<f64>> {
        let ranks: Vec<usize> = jobs.iter().map(|job| self.rank_of(job)).collect();
        let is_own = |(_, rank): &(&Job, &usize)| **rank == self.world.rank();
        let own: Vec<Job> = jobs.iter().zip(&ranks).filter(is_own).map(|(job, _)| job.clone()).collect();
        let found = self.train_own(&own, steps);
        let found = self.world.agree("a wave of trials", found).map_err(of_ranks)?;
        let mut of_own = found.into_iter();
        let placed: Vec<f64> = ranks
            .iter()
            .map(|&rank| if rank == self.world.rank() { of_own.next().unwrap_or(f64::NAN) } else { f64::NAN })
            .collect();
        let all = self.world.gather("metrics of trials", &placed).map_err(of_ranks)?;
        Ok(ranks.iter().enumerate().map(|(at, rank)| all[rank * jobs.len() + at]).collect())
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn copy(&mut self, from: u64, to: u64) -> thalweg::Result<()> {
        if self.world.ranks() > 1 {
            let rule = "population-based training runs on one machine, as lanes are not copied from rank to rank";
            return Err(Error::order("a copy of a trial on ranks", rule));
        }
        self.train.copy(from, to)
    }

    fn forget(&mut self, trials: &[u64]) {
        self.train.forget(trials);
    }
}

/// An error of ranks where the library wants its own.
fn of_ranks(error: crate::Error) -> Error {
    match error {
        crate::Error::Thalweg(error) => error,
        other => Error::order("a sweep on ranks", other.to_string()),
    }
}
