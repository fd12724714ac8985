//! Trainers in files: their states, and weights alone.

use super::Trainer;
use super::state::RESTORED;
use crate::checkpoint::{Element, Loaded, Tensors, read, write};
use crate::error::{Error, Result};
use crate::optimizer::{ArrayView, Expected, Fitting, Found, State, StateView, ValuesView, parts_of};
use crate::plan::Program;
use serde_json::json;
use std::path::Path;

/// What the names of a model's untrained buffers begin with.
pub(super) const BUFFER: &str = "buffer";
/// The text that says how an epoch is cut into steps.
const CUT: &str = "trainer";
/// PyTorch counts the batches that its running statistics saw; nothing here needs it.
const UNUSED: &str = ".num_batches_tracked";

impl<P: Program> Trainer<P>
where
    P::Float: Element,
{
    /// [`Trainer::state_dict`] as tensors for a file, with the names of [`Optimizer::tensors`](crate::Optimizer::tensors) and,
    /// for untrained buffers, `buffer.1.running_mean`. Several lanes are the outermost dimension.
    ///
    /// # Errors
    /// A lost device, or memory that there is not.
    pub fn tensors(&mut self) -> Result<Tensors> {
        let mut tensors = Tensors::default();
        self.tensors_into(&mut tensors)?;
        Ok(tensors)
    }

    /// [`Trainer::tensors`] in the place of tensors that are no longer needed: see
    /// [`Optimizer::tensors_into`](crate::Optimizer::tensors_into).
    ///
    /// # Errors
    /// As for [`Trainer::tensors`].
    pub fn tensors_into(&mut self, tensors: &mut Tensors) -> Result<()> {
        let found = self.optimizer.program_mut().read_all(&[self.statistics.id, self.train.tally])?;
        let own = self.state_with(State::default(), &found);
        self.optimizer.tensors_beside(own, |_| true, tensors)?;
        self.put_cut(tensors);
        Ok(())
    }

    /// Says how the rows of an epoch become steps.
    pub(super) fn put_cut(&self, tensors: &mut Tensors) {
        tensors.texts.insert(CUT.into(), self.cut());
    }

    /// Resumes a run from what [`Trainer::tensors`] gave, as [`Trainer::load_state_dict`] does, also in the middle of an epoch:
    /// the steps that follow have the bits of a run that was not interrupted. Model, recipe, data and batches have to be those
    /// of the run. The tensors may have further texts of the caller. Everything is checked before anything changes. Values that
    /// are not finite are loaded and reported.
    ///
    /// # Errors
    /// Another rule, other rows, batches or micro-batches, with both values; tensors that are missing, unknown, of another
    /// shape, type or number of lanes, each by its name; or as for [`Trainer::load_state_dict`].
    pub fn load_tensors(&mut self, tensors: &Tensors) -> Result<Loaded> {
        let (state, loaded) = self.checked(tensors)?;
        self.load_view(&state)?;
        loaded.warn();
        Ok(loaded)
    }

    /// The state of a file that has to fit.
    pub(super) fn checked<'a>(&self, tensors: &'a Tensors) -> Result<(StateView<'a, P::Float>, Loaded)> {
        self.check_cut(tensors)?;
        let (mut state, loaded) = self.optimizer.state_of(self.arrays_for(tensors), tensors, |_| false)?;
        self.complete(&mut state);
        Ok((state, loaded))
    }

    /// Takes from [`Trainer::tensors`] what fits, and reports what was taken and what was not. Parameters and untrained buffers
    /// are taken one by one. All else (state of the rules, counters, settings, where the run was) is taken as a whole or not at
    /// all, also where the file is of a run of other rows or batches.
    ///
    /// # Errors
    /// A lost device, or memory that there is not.
    ///
    /// # Examples
    ///
    /// More classes than the model of the file had:
    ///
    /// ```
    /// use thalweg::nn::{Nonlinearity, Sequential};
    /// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// let new = |classes: u32| {
    ///     let data = Dataset::new((0..20).map(|i| i as f32).collect(), 2, (0..10).map(|i| i % classes).collect())?;
    ///     let model = Sequential::perceptron(2, &[4], classes as usize, Nonlinearity::Relu);
    ///     Trainer::builder(&model, Recipe::new(Adam::default())).train(&data).build(&Cpu::<f32>::default())
    /// };
    /// let (mut old, mut new) = (new(2)?, new(3)?);
    /// let loaded = new.load_tensors_lenient(&old.tensors()?)?;
    /// assert_eq!(loaded.loaded, ["param.0.bias", "param.0.weight"]);
    /// assert_eq!(loaded.kept.len(), 3);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn load_tensors_lenient(&mut self, tensors: &Tensors) -> Result<Loaded> {
        let fitting = self.fitting(tensors);
        let own = if fitting.needs_state() { self.state_dict()? } else { State::default() };
        let taken = self.state_over(&fitting, &own).map_or(Ok(()), |state| self.load_view(&state));
        self.take_alone(taken, fitting, tensors)
    }

    /// What fits of a file.
    pub(super) fn fitting<'a>(&self, tensors: &'a Tensors) -> Fitting<'a, P::Float> {
        let buffer = format!("{BUFFER}.");
        let alone = |name: &str| name.starts_with("param.") || name.starts_with(&buffer);
        self.optimizer.fitting(self.arrays_for(tensors), tensors, alone, self.check_cut(tensors))
    }

    /// The state to load: what fits, over the run's own. None where only what is taken one by one fits.
    pub(super) fn state_over<'s>(
        &self,
        fitting: &'s Fitting<'_, P::Float>,
        own: &'s State<P::Float>,
    ) -> Option<StateView<'s, P::Float>> {
        let mut state = fitting.over(own)?;
        self.complete(&mut state);
        Some(state)
    }

    /// Takes what fits one by one, unless all was `taken`.
    pub(super) fn take_alone(
        &mut self,
        taken: Result<()>,
        fitting: Fitting<'_, P::Float>,
        tensors: &Tensors,
    ) -> Result<Loaded> {
        let Fitting { alone, rest, mut loaded, .. } = fitting;
        match taken.and(rest) {
            Ok(rest) => rest.iter().for_each(|(expected, _)| self.optimizer.note(expected, tensors, &mut loaded)),
            Err(reason) => {
                self.write_found_buffers(&alone)?;
                self.optimizer.set_params_of(&alone)?;
                loaded.kept.push(("all but parameters and buffers".into(), reason));
            }
        }
        loaded.warn();
        Ok(loaded)
    }

    /// Writes the untrained buffers among arrays of a file.
    pub(super) fn write_found_buffers(&mut self, found: &[Found<'_, P::Float>]) -> Result<()> {
        self.take_back()?;
        for (tensor, lane, values) in parts_of(found, &format!("{BUFFER}.")) {
            let offset = self.statistics.arena.tensor(tensor)?.offset;
            self.optimizer.program_mut().write(self.statistics.id, lane, offset, values)?;
        }
        Ok(())
    }

    /// What a file of this run has to have. Older files do not say whether the best is evaluated, so that array may be missing.
    fn arrays_for(&self, tensors: &Tensors) -> Vec<Expected> {
        let mut all: Vec<Expected> = self.optimizer.expected().into_iter().chain(self.own_arrays()).collect();
        all.retain(|expected| expected.name != RESTORED || tensors.find(RESTORED).is_some());
        all
    }

    /// Adds what [`Trainer::arrays_for`] left out.
    fn complete(&self, state: &mut StateView<'_, P::Float>) {
        if !state.has(RESTORED) && self.own_arrays().iter().any(|expected| expected.name == RESTORED) {
            let values = ValuesView::Counts(vec![vec![0].into(); self.lanes.len()]);
            state.insert(RESTORED, ArrayView { shape: Vec::new(), values });
        }
    }

    /// Whether the run of a file takes its rows as this one does.
    fn check_cut(&self, tensors: &Tensors) -> Result<()> {
        let expected = self.cut();
        match tensors.texts.get(CUT).filter(|found| **found != expected) {
            Some(found) => Err(Error::shape("the rows and batches of the run in the file", expected, found)),
            None => Ok(()),
        }
    }

    /// Writes the whole state into a file: see [`crate::checkpoint`]. A run that loads it goes on with the same bits.
    ///
    /// # Errors
    /// [`Error::File`], or as for [`Trainer::tensors`].
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::nn::{BatchNorm1d, Dropout, Linear, Sequential};
    /// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// let data = Dataset::new((0..40).map(|i| (i * 7 % 11) as f32).collect(), 2, (0..20).map(|i| i % 2).collect())?;
    /// let model = Sequential::new().then(Linear::new(2, 8)).then(BatchNorm1d::new(8)).then(Dropout { p: 0.5 }).then(Linear::new(8, 2));
    /// let new = || Trainer::builder(&model, Recipe::new(Adam::default())).train(&data).batch(6).build(&Cpu::<f32>::default());
    /// let (mut first, mut second) = (new()?, new()?);
    /// first.advance(6)?;
    /// let file = std::env::temp_dir().join(format!("trainer-{}.safetensors", std::process::id()));
    /// first.save_file(&file)?;
    ///
    /// second.load_file(&file)?;
    /// for trainer in [&mut first, &mut second] {
    ///     trainer.advance(5)?;
    /// }
    /// assert_eq!(first.params(0)?, second.params(0)?);
    /// # std::fs::remove_file(file).unwrap();
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn save_file(&mut self, path: impl AsRef<Path>) -> Result<()> {
        write(path, &self.tensors()?)
    }

    /// Resumes a run from a file of [`Trainer::save_file`].
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Damaged`] as for [`read`], or as for [`Trainer::load_tensors`].
    pub fn load_file(&mut self, path: impl AsRef<Path>) -> Result<Loaded> {
        let tensors = read(path)?;
        let loaded = self.load_tensors(&tensors);
        tensors.free();
        loaded
    }

    /// A lane's parameters to evaluate with and its untrained buffers, by the names that PyTorch's `state_dict` has for them.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn weights(&mut self, lane: usize) -> Result<Tensors> {
        let params = self.eval_params(lane)?;
        let buffers = self.optimizer.program_mut().read(self.statistics.id, lane)?;
        self.weights_with(&params, &buffers)
    }

    /// Parameters and untrained buffers of a lane as tensors.
    pub(super) fn weights_with(&self, params: &[P::Float], buffers: &[P::Float]) -> Result<Tensors> {
        let mut weights = Tensors::default();
        for (arena, values) in [(self.optimizer.arena(), params), (&self.statistics.arena, buffers)] {
            for tensor in arena.tensors() {
                weights.put(&tensor.name, &tensor.shape, &values[tensor.offset..][..tensor.len()])?;
            }
        }
        Ok(weights)
    }

    /// Sets the parameters and untrained buffers of all lanes by their names: those of a `state_dict` that PyTorch has saved
    /// with `safetensors.torch`. See [`Optimizer::load_weights`](crate::Optimizer::load_weights). PyTorch's
    /// `num_batches_tracked` is not used.
    ///
    /// # Errors
    /// As for [`Optimizer::load_weights`](crate::Optimizer::load_weights).
    pub fn load_weights(&mut self, weights: &Tensors) -> Result<Loaded> {
        let Buffers { values, rest, unused, loaded } = self.buffers_of(weights)?;
        if let Some((_, reason)) = loaded.kept.into_iter().next() {
            return Err(reason);
        }
        let mut all = self.optimizer.load_weights(&rest)?;
        self.write_buffers(&values)?;
        all.loaded.extend(loaded.loaded);
        all.not_finite.extend(loaded.not_finite);
        all.unused = unused;
        Ok(all)
    }

    /// [`Trainer::load_weights`] for those tensors that fit. It reports which these are, and why others stay as they were.
    ///
    /// # Errors
    /// A lost device.
    ///
    /// # Examples
    ///
    /// A model with more classes than the one whose weights there are:
    ///
    /// ```
    /// use thalweg::nn::{Nonlinearity, Sequential};
    /// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// let data = Dataset::new(vec![0.0, 0.5, 1.0, 1.5], 1, vec![0, 0, 1, 2])?;
    /// let model = Sequential::perceptron(1, &[4], 3, Nonlinearity::Relu);
    /// let mut trainer = Trainer::builder(&model, Recipe::new(Adam::default())).train(&data).build(&Cpu::<f32>::default())?;
    /// let mut weights = trainer.weights(0)?;
    /// weights.put("2.bias", &[2], &[0.0f32; 2])?;
    /// weights.put("2.weight", &[2, 4], &[0.0f32; 8])?;
    /// let loaded = trainer.load_weights_lenient(&weights)?;
    /// assert_eq!(loaded.loaded, ["0.bias", "0.weight"]);
    /// assert_eq!(loaded.kept.len(), 2);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn load_weights_lenient(&mut self, weights: &Tensors) -> Result<Loaded> {
        let Buffers { values, rest, unused, loaded } = self.buffers_of(weights)?;
        let mut all = self.optimizer.load_weights_lenient(&rest)?;
        self.write_buffers(&values)?;
        all.loaded.extend(loaded.loaded);
        all.kept.extend(loaded.kept);
        all.not_finite.extend(loaded.not_finite);
        all.unused.extend(unused);
        Ok(all)
    }

    /// The untrained buffers among weights, and what is left of these.
    fn buffers_of(&mut self, weights: &Tensors) -> Result<Buffers<P::Float>> {
        let mut values = Vec::new();
        let (mut rest, mut loaded) = (weights.clone(), Loaded::default());
        for tensor in self.statistics.arena.tensors() {
            let name = &tensor.name;
            let found = weights.tensor(name).and_then(|found| {
                check_shape(name, &tensor.shape, &found.shape)?;
                Ok((found, weights.get::<P::Float>(name)?))
            });
            match found {
                Ok((found, own)) => {
                    values.push((tensor.offset, own));
                    loaded.not_finite.extend(found.first_not_finite().map(|place| (name.clone(), place)));
                    loaded.loaded.push(name.clone());
                }
                Err(reason) => loaded.kept.push((name.clone(), reason)),
            }
            rest.remove(name);
        }
        let unused: Vec<String> =
            weights.iter().map(|(name, _)| name).filter(|name| name.ends_with(UNUSED)).map(String::from).collect();
        unused.iter().for_each(|name| drop(rest.remove(name)));
        Ok(Buffers { values, rest, unused, loaded })
    }

    /// Writes the untrained buffers that were found into all lanes, and leaves the others as they are. From here on, these are
    /// evaluated, not those of the best epoch.
    fn write_buffers(&mut self, values: &[(usize, Vec<P::Float>)]) -> Result<()> {
        self.take_back()?;
        let (id, program) = (self.statistics.id, self.optimizer.program_mut());
        for lane in 0..self.lanes.len() {
            values.iter().try_for_each(|(offset, values)| program.write(id, lane, *offset, values))?;
        }
        Ok(())
    }

    /// How the rows of an epoch become steps.
    fn cut(&self) -> String {
        let rows = self.lanes[0].train.len();
        json!({ "rows": rows, "batch": self.train.batch, "batches": self.train.batches, "micro": self.micro }).to_string()
    }
}

/// The untrained buffers among weights.
struct Buffers<F> {
    /// By place in their arena.
    values: Vec<(usize, Vec<F>)>,
    /// Weights without them and without what is not used.
    rest: Tensors,
    unused: Vec<String>,
    loaded: Loaded,
}

fn check_shape(name: &str, expected: &[usize], found: &[usize]) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let [expected, found] = [expected, found].map(|shape| format!("shape {shape:?}"));
    Err(Error::shape(format!("tensor '{name}' of the file"), expected, found))
}
