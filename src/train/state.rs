//! The whole state of a training, as data.

use super::Trainer;
use super::lanes::step_key;
use super::stopping::{Best, doubles, floats};
use crate::error::{Error, Result};
#[cfg(feature = "checkpoint")]
use crate::optimizer::{Expected, StateKind};
use crate::optimizer::{State, StateArray, StateValues, StateView};
use crate::plan::{Arena, Program, Values};
use crate::rule::Real;

/// Counts of each lane: its seed, complete epochs, steps of the current epoch, all steps.
const SEED: &str = "trainer.seed";
const EPOCH: &str = "trainer.epoch";
const STEP: &str = "trainer.step";
const STEPS: &str = "trainer.steps";
/// Sums over the rows of the current epoch.
const TALLY: &str = "trainer.tally";
/// Counts of [`Best`], and its metric.
pub(super) const BEST: &str = "best.counts";
const BEST_METRIC: &str = "best.metric";
/// Whether the best is evaluated, rather than the point from which steps go on.
pub(super) const RESTORED: &str = "best.restored";

impl<P: Program> Trainer<P> {
    /// The whole state of the training: that of [`Optimizer::state_dict`](crate::Optimizer::state_dict), and
    ///
    /// | arrays | what they are |
    /// | --- | --- |
    /// | `buffer.NAME` | an untrained buffer of the model, such as `buffer.1.running_mean` |
    /// | `trainer.seed`, `trainer.epoch`, `trainer.step`, `trainer.steps` | seeds, complete epochs, steps of the epoch at hand, steps at all |
    /// | `trainer.tally` | sums over the rows of the epoch at hand |
    /// | `best.counts`, `best.metric` | where there is early stopping: epoch of each lane's best (0: none yet), epochs since, 1 if it has stopped; its metric |
    /// | `best.param.NAME`, `best.buffer.NAME` | where the best is kept: its parameters to evaluate with, and its untrained buffers |
    /// | `best.restored` | beside them, for rules that evaluate with other parameters than they train: whether the best is what is evaluated |
    ///
    /// Orders of epochs and random numbers follow from seeds and counts. Data, rows of lanes and standardisation are not part
    /// of it: they are those that the trainer was built with.
    ///
    /// # Errors
    /// A lost device, or memory that there is not.
    pub fn state_dict(&mut self) -> Result<State<P::Float>> {
        let state = self.optimizer.state_dict()?;
        let found = self.optimizer.program_mut().read_all(&[self.statistics.id, self.train.tally])?;
        Ok(self.state_with(state, &found))
    }

    /// An optimizer's state with what the trainer adds to it: statistics, sums, and what the host knows.
    pub(super) fn state_with(&self, mut state: State<P::Float>, found: &[Values<P::Float>]) -> State<P::Float> {
        let [buffers, tally] = [0, 1].map(|index| match &found[index] {
            Values::Floats(lanes) => lanes.clone(),
            _ => Vec::new(),
        });
        // The state has the statistics with which the run goes on.
        let aside = self.aside.as_ref().map(|lanes| lanes.iter().map(|values| floats(values)).collect());
        let buffers = aside.unwrap_or(buffers);
        put(&mut state, "buffer", &self.statistics.arena, &buffers);
        state.put(TALLY.into(), &[self.train.columns.count()], StateValues::Floats(tally));
        let lanes = self.lanes.len();
        let mut count = |name: &str, of: &dyn Fn(usize) -> u64| {
            state.put(name.into(), &[], StateValues::Counts((0..lanes).map(|lane| vec![of(lane)]).collect()));
        };
        count(SEED, &|lane| self.lanes[lane].seed);
        count(EPOCH, &|_| self.epoch);
        count(STEP, &|_| self.step as u64);
        count(STEPS, &|_| self.steps as u64);
        if self.tells_restored() {
            count(RESTORED, &|_| self.aside.is_some().into());
        }
        if self.stopping.is_some() {
            let counts = |best: &Best| vec![best.epoch, best.waited, best.stopped.into()];
            state.put(BEST.into(), &[3], StateValues::Counts(self.best.iter().map(counts).collect()));
            let metric = self.best.iter().map(|best| vec![best.metric]).collect();
            state.put(BEST_METRIC.into(), &[], StateValues::Numbers(metric));
        }
        if self.keeps_best() {
            let lanes =
                |of: fn(&Best) -> &Vec<f64>| -> Vec<Vec<P::Float>> { self.best.iter().map(|best| floats(of(best))).collect() };
            put(&mut state, "best.param", self.optimizer.arena(), &lanes(|best| &best.params));
            put(&mut state, "best.buffer", &self.statistics.arena, &lanes(|best| &best.buffers));
        }
        state
    }

    /// Resumes a training where [`Trainer::state_dict`] was called, also in the middle of an epoch: the steps that follow have
    /// the bits of a training that was not interrupted. Model, recipe, data, rows and batches have to be those of that trainer;
    /// seeds are taken from the state. Nothing changes if the state does not fit.
    ///
    /// # Errors
    /// As for [`Optimizer::load_state_dict`](crate::Optimizer::load_state_dict); arrays of the trainer that are missing or of
    /// another shape, each by its name; seeds that differ where the trainer was built with one for all lanes.
    pub fn load_state_dict(&mut self, state: &State<P::Float>) -> Result<()> {
        self.load_view(&state.view())
    }

    /// [`Trainer::load_state_dict`] of a state that somebody else holds.
    pub(super) fn load_view(&mut self, state: &StateView<'_, P::Float>) -> Result<()> {
        let own = self.take_up(state)?;
        if own.restored {
            self.restore(&own.best)?;
        }
        self.go_on(own)
    }

    /// Takes a state up, but for a best that was evaluated: [`Trainer::restore`] has to follow, then [`Trainer::go_on`].
    pub(super) fn take_up(&mut self, state: &StateView<'_, P::Float>) -> Result<Own<P::Float>> {
        let own = self.taken_up(state)?;
        self.optimizer.load_view(state, &self.own_names())?;
        self.aside = None;
        let program = self.optimizer.program_mut();
        for (lane, &seed) in own.seeds.iter().enumerate() {
            self.lanes[lane].seed = seed;
            program.write(self.statistics.id, lane, 0, &own.buffers[lane])?;
            program.write_indices(self.statistics.keys, lane, 0, &step_key(seed))?;
        }
        let [epoch, step, steps] = own.counts;
        (self.epoch, self.step, self.steps) = (epoch, step as usize, steps as usize);
        Ok(own)
    }

    /// Goes on within the epoch of a state that was taken up.
    pub(super) fn go_on(&mut self, Own { best, tally, .. }: Own<P::Float>) -> Result<()> {
        self.best = best;
        if self.step > 0 {
            self.write_order()?;
        }
        let (lanes, program) = (&self.lanes, self.optimizer.program_mut());
        self.train.seek(program, self.step * self.micro)?;
        (0..lanes.len()).try_for_each(|lane| program.write(self.train.tally, lane, 0, &tally[lane]))
    }

    /// The names of the arrays that are not the optimizer's.
    fn own_names(&self) -> Vec<String> {
        let of = |prefix: &str, arena: &Arena| -> Vec<String> {
            arena.tensors().iter().map(|tensor| format!("{prefix}.{}", tensor.name)).collect()
        };
        let mut names = of("buffer", &self.statistics.arena);
        names.extend([SEED, EPOCH, STEP, STEPS, TALLY].map(String::from));
        names.extend(self.tells_restored().then(|| RESTORED.into()));
        if self.stopping.is_some() {
            names.extend([BEST, BEST_METRIC].map(String::from));
        }
        if self.keeps_best() {
            names.extend(of("best.param", self.optimizer.arena()));
            names.extend(of("best.buffer", &self.statistics.arena));
        }
        names
    }

    /// Whether there may be a best to evaluate that is not the point from which steps go on.
    fn tells_restored(&self) -> bool {
        self.stopping.is_some() && self.evaluated.is_some()
    }

    /// Names, shapes and kinds of the arrays that are not the optimizer's.
    #[cfg(feature = "checkpoint")]
    pub(super) fn own_arrays(&self) -> Vec<Expected> {
        let mut all = arrays("buffer", &self.statistics.arena);
        all.push(one(TALLY, &[self.train.columns.count()], StateKind::Floats));
        all.extend([SEED, EPOCH, STEP, STEPS].map(|name| one(name, &[], StateKind::Counts)));
        all.extend(self.tells_restored().then(|| one(RESTORED, &[], StateKind::Counts)));
        if self.stopping.is_some() {
            all.extend(best_numbers());
        }
        if self.keeps_best() {
            all.extend(self.best_arrays());
        }
        all
    }

    /// Parameters and untrained buffers of the best of each lane.
    #[cfg(feature = "checkpoint")]
    pub(super) fn best_arrays(&self) -> Vec<Expected> {
        let mut all = arrays("best.param", self.optimizer.arena());
        all.extend(arrays("best.buffer", &self.statistics.arena));
        all
    }

    /// Reads and checks the trainer's part of a state.
    fn taken_up(&self, state: &StateView<'_, P::Float>) -> Result<Own<P::Float>> {
        let lanes = self.lanes.len();
        let count =
            |name: &str| state.counts(name, &[], lanes).map(|counts| counts.iter().map(|lane| lane[0]).collect::<Vec<_>>());
        let seeds = count(SEED)?;
        if self.train.is_shared() && seeds.iter().any(|seed| *seed != seeds[0]) {
            return Err(Error::shape("seeds of the state", "one for all lanes, as the trainer was built", "several"));
        }
        let mut counts = [0; 3];
        for (count_of, name) in counts.iter_mut().zip([EPOCH, STEP, STEPS]) {
            let found = count(name)?;
            if found.iter().any(|count| *count != found[0]) {
                return Err(Error::shape(format!("the state's {name}"), "the same in all lanes", "another"));
            }
            *count_of = found[0];
        }
        if counts[1] >= self.steps_per_epoch() as u64 {
            let allowed = format!("below {}, the steps of an epoch", self.steps_per_epoch());
            return Err(Error::setting(&format!("the state's {STEP}"), counts[1], &allowed));
        }
        let tally = state.floats(TALLY, &[self.train.columns.count()], lanes)?.iter().map(|lane| lane.to_vec()).collect();
        let buffers = whole(state, "buffer", &self.statistics.arena, lanes)?;
        let best = match self.stopping {
            Some(stopping) => self.best_of(state, stopping.keep_best)?,
            None => Vec::new(),
        };
        let restored = self.tells_restored() && count(RESTORED)?.iter().any(|&restored| restored != 0);
        Ok(Own { seeds, counts, tally, buffers, best, restored })
    }

    /// The best of each lane in a state, with what it was if that is `kept` in it.
    pub(super) fn best_of(&self, state: &StateView<'_, P::Float>, kept: bool) -> Result<Vec<Best>> {
        let lanes = self.lanes.len();
        let (counts, metrics) = (state.counts(BEST, &[3], lanes)?, state.number(BEST_METRIC, lanes)?);
        let all = |prefix: &str, arena: &Arena| {
            if kept { whole(state, prefix, arena, lanes) } else { Ok(vec![vec![P::Float::of(0.0); arena.len()]; lanes]) }
        };
        let params = all("best.param", self.optimizer.arena())?;
        let buffers = all("best.buffer", &self.statistics.arena)?;
        // A run that goes on may have more patience than before.
        let patience = self.stopping.map_or(u64::MAX, |stopping| stopping.patience);
        let of = |lane: usize| Best {
            epoch: counts[lane][0],
            waited: counts[lane][1],
            stopped: counts[lane][1] >= patience,
            metric: metrics[lane][0],
            params: doubles(&params[lane]),
            buffers: doubles(&buffers[lane]),
        };
        Ok((0..lanes).map(of).collect())
    }
}

/// What a trainer takes from a state beside its optimizer's part.
pub(super) struct Own<F> {
    seeds: Vec<u64>,
    counts: [u64; 3],
    tally: Vec<Vec<F>>,
    buffers: Vec<Vec<F>>,
    pub best: Vec<Best>,
    /// Whether the best is what was evaluated.
    pub restored: bool,
}

/// The epoch of the best of each lane, and its metric.
#[cfg(feature = "checkpoint")]
pub(super) fn best_numbers() -> [Expected; 2] {
    [one(BEST, &[3], StateKind::Counts), one(BEST_METRIC, &[], StateKind::Numbers)]
}

/// The parts of an arena in a file.
#[cfg(feature = "checkpoint")]
pub(super) fn arrays(prefix: &str, arena: &Arena) -> Vec<Expected> {
    let of = |tensor: &crate::plan::Tensor| Expected {
        name: format!("{prefix}.{}", tensor.name),
        shape: tensor.shape.clone(),
        kind: StateKind::Floats,
    };
    arena.tensors().iter().map(of).collect()
}

/// An array of a file.
#[cfg(feature = "checkpoint")]
fn one(name: &str, shape: &[usize], kind: StateKind) -> Expected {
    Expected { name: name.into(), shape: shape.into(), kind }
}

/// Puts each tensor of an arena into a state.
fn put<F: Real>(state: &mut State<F>, prefix: &str, arena: &Arena, lanes: &[Vec<F>]) {
    for tensor in arena.tensors() {
        let own = |lane: &Vec<F>| lane[tensor.offset..][..tensor.len()].to_vec();
        let values = StateValues::Floats(lanes.iter().map(own).collect());
        state.insert(&format!("{prefix}.{}", tensor.name), StateArray { shape: tensor.shape.clone(), values });
    }
}

/// Each lane's arena, joined from its tensors.
fn whole<F: Real>(state: &StateView<'_, F>, prefix: &str, arena: &Arena, lanes: usize) -> Result<Vec<Vec<F>>> {
    let mut all = vec![vec![F::zero(); arena.len()]; lanes];
    for tensor in arena.tensors() {
        let own = state.floats(&format!("{prefix}.{}", tensor.name), &tensor.shape, lanes)?;
        for (whole, own) in all.iter_mut().zip(own) {
            whole[tensor.offset..][..tensor.len()].copy_from_slice(own);
        }
    }
    Ok(all)
}
