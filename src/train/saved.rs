//! Trainers in files: the optimizer's state, the model's untrained buffers, and where in which epoch the run is.

use super::Trainer;
use crate::checkpoint::{Element, LANES, Loaded, Tensors, read, write};
use crate::error::{Error, Result};
use crate::plan::Program;
use crate::rule::Real;
use serde_json::json;
use std::path::Path;

/// What the names of a model's untrained buffers begin with.
const BUFFER: &str = "buffer.";
/// By lane: the seed; the keys of random numbers; the sums over the rows that were met in the epoch.
const SEED: &str = "trainer.seed";
const KEYS: &str = "trainer.keys";
const TALLY: &str = "trainer.tally";
/// Epochs that are complete, steps of the one after them, and steps in all: the same in all lanes.
const EPOCH: &str = "trainer.epoch";
const STEP: &str = "trainer.step";
const STEPS: &str = "trainer.steps";
/// The text that says how an epoch is cut into steps.
const CUT: &str = "trainer";
/// PyTorch counts the batches that its running statistics saw; nothing here needs it.
const UNUSED: &str = ".num_batches_tracked";

impl<P: Program> Trainer<P>
where
    P::Float: Element,
{
    /// All that the run has come to, between any two steps: [`Optimizer::tensors`](crate::Optimizer::tensors), untrained buffers
    /// (`buffer.1.running_mean`), seeds and keys of the lanes, and the place in the epoch. The order of an epoch's rows follows from
    /// seed and epoch.
    ///
    /// # Errors
    /// A lost device, or memory that there is not.
    pub fn tensors(&mut self) -> Result<Tensors> {
        let mut tensors = self.optimizer.tensors()?;
        let lanes = self.lanes.len();
        let shape = |own: &[usize]| (lanes > 1).then_some(lanes).into_iter().chain(own.iter().copied()).collect::<Vec<_>>();
        let program = self.optimizer.program_mut();
        let buffers = (0..lanes).map(|lane| program.read(self.statistics.id, lane)).collect::<Result<Vec<_>>>()?;
        for tensor in self.statistics.arena.tensors() {
            let parts: Vec<_> = buffers.iter().map(|lane| &lane[tensor.offset..][..tensor.len()]).collect();
            tensors.put_parts(&format!("{BUFFER}{}", tensor.name), &shape(&tensor.shape), &parts)?;
        }
        let keys = (0..lanes).map(|lane| program.read_indices(self.statistics.keys, lane)).collect::<Result<Vec<_>>>()?;
        tensors.put_parts(KEYS, &shape(&[2]), &keys)?;
        let tally = (0..lanes).map(|lane| program.read(self.train.tally, lane)).collect::<Result<Vec<_>>>()?;
        tensors.put_parts(TALLY, &shape(&[tally[0].len()]), &tally)?;
        let seeds: Vec<u64> = self.lanes.iter().map(|lane| lane.seed).collect();
        tensors.put(SEED, &shape(&[]), &seeds)?;
        for (name, count) in [(EPOCH, self.epoch), (STEP, self.step as u64), (STEPS, self.steps as u64)] {
            tensors.put(name, &shape(&[]), &vec![count; lanes])?;
        }
        tensors.texts.insert(CUT.into(), self.cut());
        Ok(tensors)
    }

    /// Takes a run up from what [`Trainer::tensors`] gave: the steps that follow have the bits that they would have had there, also in the
    /// middle of an epoch. Model, recipe, seeds, data and batches have to be those of the run. Texts of the caller's own may be in it.
    /// All is checked before anything changes. Values that are not finite are loaded, and said.
    ///
    /// # Errors
    /// Another rule, other seeds, rows, batches or micro-batches, with both values; tensors that are missing, unknown, of another shape,
    /// type or number of lanes, each by its name; a lost device.
    pub fn load_tensors(&mut self, tensors: &Tensors) -> Result<Loaded> {
        let expected = self.cut();
        if let Some(found) = tensors.texts.get(CUT).filter(|found| **found != expected) {
            return Err(Error::shape("how the run of the file takes its rows", expected, found));
        }
        if tensors.lanes()? != self.lanes.len() {
            return Err(Error::shape(format!("{LANES} of the file"), self.lanes.len(), tensors.lanes()?));
        }
        let place = self.place(tensors)?;
        let buffers = self.buffers_of(tensors)?;
        let own: Vec<String> = place.known.into_iter().chain(buffers.known).collect();
        // This is the last thing that can be refused.
        let mut loaded = self.optimizer.load_beside(tensors, &own)?;
        for name in own {
            let first = tensors.find(&name).and_then(|tensor| tensor.first_not_finite());
            loaded.not_finite.extend(first.filter(|_| name != TALLY).map(|place| (name.clone(), place)));
            loaded.loaded.push(name);
        }
        (self.epoch, self.step, self.steps) = (place.epoch, place.step, place.steps);
        if self.step > 0 {
            self.begin()?;
        }
        self.train.seek(self.optimizer.program_mut(), self.step * self.micro)?;
        let program = self.optimizer.program_mut();
        for lane in 0..self.lanes.len() {
            program.write(self.statistics.id, lane, 0, &buffers.lanes[lane])?;
            program.write_indices(self.statistics.keys, lane, 0, &place.keys[lane])?;
            program.write(self.train.tally, lane, 0, &place.tally[lane])?;
        }
        Ok(loaded)
    }

    /// Takes the model out of a file of any run of this model and recipe, to predict with it: parameters, what the recipe keeps beside
    /// them, and untrained buffers. Seeds, data and batches may be others; where the run was is left aside.
    ///
    /// # Errors
    /// Another rule; tensors that are missing, unknown, of another shape, type or number of lanes, each by its name; a lost device.
    pub fn load_model(&mut self, tensors: &Tensors) -> Result<Loaded> {
        let buffers = self.buffers_of(tensors)?;
        let place = [SEED, EPOCH, STEP, STEPS, KEYS, TALLY].map(String::from);
        let own: Vec<String> = place.into_iter().chain(buffers.known.iter().cloned()).collect();
        let mut loaded = self.optimizer.load_beside(tensors, &own)?;
        for (lane, values) in buffers.lanes.iter().enumerate() {
            self.optimizer.program_mut().write(self.statistics.id, lane, 0, values)?;
        }
        loaded.loaded.extend(buffers.known);
        Ok(loaded)
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
        write(path.as_ref(), &self.tensors()?)
    }

    /// Takes a run up from a file of [`Trainer::save_file`].
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Damaged`] as for [`read`], or as for [`Trainer::load_tensors`].
    pub fn load_file(&mut self, path: impl AsRef<Path>) -> Result<Loaded> {
        self.load_tensors(&read(path.as_ref())?)
    }

    /// A lane's parameters to evaluate with and its untrained buffers, by the names that PyTorch's `state_dict` has for them.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn weights(&mut self, lane: usize) -> Result<Tensors> {
        let params = self.eval_params(lane)?;
        let buffers = self.optimizer.program_mut().read(self.statistics.id, lane)?;
        let mut weights = Tensors::default();
        for (arena, values) in [(self.optimizer.arena(), params), (&self.statistics.arena, buffers)] {
            for tensor in arena.tensors() {
                weights.put(&tensor.name, &tensor.shape, &values[tensor.offset..][..tensor.len()])?;
            }
        }
        Ok(weights)
    }

    /// Sets the parameters and untrained buffers of all lanes by their names: those of a `state_dict` that PyTorch has saved with
    /// `safetensors.torch`. See [`Optimizer::load_weights`](crate::Optimizer::load_weights). PyTorch's `num_batches_tracked` is not used.
    ///
    /// # Errors
    /// As for [`Optimizer::load_weights`](crate::Optimizer::load_weights).
    pub fn load_weights(&mut self, weights: &Tensors) -> Result<Loaded> {
        let mut rest = weights.clone();
        let mut arena = vec![P::Float::of(0.0); self.statistics.arena.len()];
        let (mut names, mut not_finite) = (Vec::new(), Vec::new());
        for tensor in self.statistics.arena.tensors() {
            let found = weights.tensor(&tensor.name)?;
            check_shape(&tensor.name, &tensor.shape, &found.shape)?;
            arena[tensor.offset..][..tensor.len()].copy_from_slice(&weights.get::<P::Float>(&tensor.name)?);
            not_finite.extend(found.first_not_finite().map(|place| (tensor.name.clone(), place)));
            rest.remove(&tensor.name);
            names.push(tensor.name.clone());
        }
        let unused: Vec<String> =
            weights.iter().map(|(name, _)| name.into()).filter(|name: &String| name.ends_with(UNUSED)).collect();
        unused.iter().for_each(|name| drop(rest.remove(name)));
        let mut loaded = self.optimizer.load_weights(&rest)?;
        for lane in 0..self.lanes.len() {
            self.optimizer.program_mut().write(self.statistics.id, lane, 0, &arena)?;
        }
        loaded.loaded.extend(names);
        loaded.not_finite.extend(not_finite);
        loaded.unused = unused;
        Ok(loaded)
    }

    /// How the rows of an epoch become steps.
    fn cut(&self) -> String {
        json!({ "rows": self.lanes[0].train.len(), "batch": self.train.batch, "batches": self.train.batches, "micro": self.micro }).to_string()
    }

    /// Where a file's run is.
    fn place(&self, tensors: &Tensors) -> Result<Place<P::Float>> {
        let lanes = self.lanes.len();
        let seeds: Vec<u64> = self.lanes.iter().map(|lane| lane.seed).collect();
        let found: Vec<u64> = tensors.get(SEED)?;
        if found != seeds {
            return Err(Error::shape("seeds of the file", format!("{seeds:?}"), format!("{found:?}")));
        }
        let count = |name: &str| {
            let counts: Vec<u64> = tensors.get(name)?;
            match counts.first() {
                Some(&count) if counts.len() == lanes && counts.iter().all(|other| *other == count) => Ok(count),
                _ => Err(Error::shape(
                    format!("tensor '{name}' of the file"),
                    format!("one number for {lanes} lanes"),
                    format!("{counts:?}"),
                )),
            }
        };
        let (epoch, step, steps) = (count(EPOCH)?, count(STEP)?, count(STEPS)?);
        if step >= self.steps_per_epoch() as u64 {
            return Err(Error::setting(STEP, step, &format!("below {}, the steps of an epoch", self.steps_per_epoch())));
        }
        let (keys, tally): (Vec<u32>, Vec<P::Float>) = (tensors.get(KEYS)?, tensors.get(TALLY)?);
        let columns = self.train.columns.count();
        for (name, len, found) in [(KEYS, 2, keys.len()), (TALLY, columns, tally.len())] {
            if found != len * lanes {
                return Err(Error::shape(format!("tensor '{name}' of the file"), format!("{} elements", len * lanes), found));
            }
        }
        Ok(Place {
            epoch,
            step: step as usize,
            steps: steps as usize,
            keys: keys.chunks_exact(2).map(<[u32]>::to_vec).collect(),
            tally: tally.chunks_exact(columns).map(<[P::Float]>::to_vec).collect(),
            known: [SEED, EPOCH, STEP, STEPS, KEYS, TALLY].map(String::from),
        })
    }

    /// The untrained buffers of a file.
    fn buffers_of(&self, tensors: &Tensors) -> Result<Buffers<P::Float>> {
        let (arena, count) = (&self.statistics.arena, self.lanes.len());
        let mut lanes = vec![vec![P::Float::of(0.0); arena.len()]; count];
        let mut known = Vec::new();
        for tensor in arena.tensors() {
            let name = format!("{BUFFER}{}", tensor.name);
            let shape: Vec<usize> = (count > 1).then_some(count).into_iter().chain(tensor.shape.iter().copied()).collect();
            check_shape(&name, &shape, &tensors.tensor(&name)?.shape)?;
            let values = tensors.get::<P::Float>(&name)?;
            for (lane, to) in lanes.iter_mut().enumerate() {
                to[tensor.offset..][..tensor.len()].copy_from_slice(&values[lane * tensor.len()..][..tensor.len()]);
            }
            known.push(name);
        }
        Ok(Buffers { lanes, known })
    }
}

/// Where a run is.
struct Place<F> {
    epoch: u64,
    step: usize,
    steps: usize,
    keys: Vec<Vec<u32>>,
    tally: Vec<Vec<F>>,
    /// The tensors that say so.
    known: [String; 6],
}

/// Untrained buffers by lane, laid out as their arena.
struct Buffers<F> {
    lanes: Vec<Vec<F>>,
    known: Vec<String>,
}

fn check_shape(name: &str, expected: &[usize], found: &[usize]) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let [expected, found] = [expected, found].map(|shape| format!("shape {shape:?}"));
    Err(Error::shape(format!("tensor '{name}' of the file"), expected, found))
}
