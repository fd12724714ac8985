//! How many jobs are trained at a time: a population larger than memory runs in waves, one after the other.

use super::args::Args;
use super::cut::Cut;
use super::design::Design;
use crate::Usage;
use crate::engine::Picked;
use crate::memory::human;
use anyhow::Result;
use serde_json::{Value, json};
use thalweg::plan::Need;
use thalweg::sweep::{Strategy, Sweep};

/// The default number of lanes, if memory allows. More lanes hardly train faster, and rows are written only when a wave is
/// done.
const LANES: usize = 64;

/// How the jobs of a sweep are divided.
#[derive(Debug, Clone)]
pub struct Waves {
    /// The most lanes at a time.
    pub lanes: usize,
    /// As many as there is memory for.
    fit: usize,
    /// What a lane of the largest model takes.
    lane: u128,
    /// What there is for lanes, as far as it is known.
    memory: Option<u128>,
    /// Jobs that are known at once, at most.
    jobs: usize,
}

impl Waves {
    /// As many lanes as the options say, or as fit.
    pub fn new(args: &Args, design: &Design, cut: &Cut, engine: &Picked) -> Result<Self> {
        let (train, test) = &cut.lanes;
        let largest = design.base.lane_bytes(&design.space, train)?;
        let data = 3 * 4 * (train.features.len() + test.features.len()) as u128;
        // An adapter says nothing of its memory, but it has at least as much as the largest buffer that it grants.
        let [memory, buffer] = [args.data.memory(), engine.largest_buffer()].map(|bytes| bytes.map(u128::from));
        let memory = memory.into_iter().chain(buffer).min();
        let in_all = memory.map_or(usize::MAX, |memory| Need { lane: largest.all, shared: data }.lanes(memory));
        let in_one_piece = Need { lane: largest.buffer, shared: 0 };
        let in_one_piece = engine.binding().map_or(usize::MAX, |binding| in_one_piece.lanes(binding.into()));
        let fit = in_all.min(in_one_piece).max(1);
        let memory = memory.map(|memory| memory.saturating_sub(data));
        let lanes = match args.lanes {
            Some(lanes) if lanes > fit => {
                return Err(Usage(format!("--lanes {lanes}: there is memory for {fit}; more go in waves")).into());
            }
            Some(lanes) => lanes,
            None => fit.min(LANES),
        };
        Ok(Self { lanes, fit, lane: largest.all, memory, jobs: jobs(&design.sweep) })
    }

    /// Waves of the largest call.
    fn waves(&self) -> usize {
        self.jobs.div_ceil(self.lanes)
    }

    /// What is said before the sweep begins.
    pub fn line(&self) -> String {
        let Self { lanes, fit, lane, memory, jobs } = self;
        let fit = match memory {
            Some(memory) => format!("{fit} fit into {}", human(*memory)),
            None => format!("{fit} fit"),
        };
        let waves = match self.waves() {
            0 | 1 => "in one wave".to_string(),
            waves => format!("in {waves} waves"),
        };
        format!(
            "lanes: up to {lanes} at a time, each of {}, of which {fit}; up to {jobs} trainings at once go {waves}",
            human(*lane)
        )
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let memory = self.memory.and_then(|memory| u64::try_from(memory).ok());
        json!({
            "lane_bytes": u64::try_from(self.lane).unwrap_or(u64::MAX),
            "lanes_that_fit": self.fit,
            "memory": memory,
            "trainings_at_once": self.jobs,
            "waves": self.waves(),
        })
    }
}

/// How many trainings a strategy knows at once, at most.
fn jobs(sweep: &Sweep) -> usize {
    let (folds, seeds) = (sweep.folds.max(1) as usize, sweep.seeds.len().max(1));
    let (trials, folds) = match &sweep.strategy {
        Strategy::Plain { .. } | Strategy::Stopping { .. } => (sweep.batch.min(sweep.trials), folds),
        // Fold after fold.
        Strategy::Folds { .. } => (sweep.batch.min(sweep.trials), 1),
        Strategy::Halving(_) | Strategy::Population { .. } => (sweep.trials, folds),
        // Brackets that begin with other rungs than the first join later.
        Strategy::Hyperband(hyperband) => {
            let ends = |rungs: &[thalweg::sweep::Rung]| rungs.iter().map(|rung| (rung.steps, rung.trials)).collect::<Vec<_>>();
            let all: Vec<_> = hyperband.brackets_of(sweep.trials).into_iter().flatten().flat_map(|b| ends(&b.rungs)).collect();
            let at = |steps: u64| all.iter().filter(|(end, _)| *end == steps).map(|(_, trials)| trials).sum::<usize>();
            (all.iter().map(|(steps, _)| at(*steps)).max().unwrap_or(sweep.trials), folds)
        }
    };
    trials * folds * seeds
}
