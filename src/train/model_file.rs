//! Models out of files of runs, to predict with them.

use super::Trainer;
use super::saved::BUFFER;
use super::state::{BEST, arrays, best_numbers};
use super::stopping::Best;
use crate::checkpoint::{Element, Loaded, Tensors};
use crate::error::{Error, Result};
use crate::optimizer::{Fitting, Found, RULES, State, StateView};
use crate::plan::Program;
use crate::rules;

/// What the names of a model begin with in a file.
const MODEL: [&str; 2] = ["param.", "buffer."];
/// What those of the best epoch begin with.
const OF_BEST: &str = "best.";

impl<P: Program> Trainer<P>
where
    P::Float: Element,
{
    /// Takes the model out of a file of any run of this model, to predict with it. If early stopping has kept a best epoch,
    /// that is the model (`best.param.NAME`, `best.buffer.NAME`, with an epoch in `best.counts`), else it is that of the last
    /// step (`param.NAME`, `buffer.NAME`).
    ///
    /// Names and shapes have to be those of this model. The optimizer's state is taken as well if the file is of the same
    /// recipe, else it is left. What a program keeps of its own is left too, such as the scaling in a file of the command line.
    /// Seeds, data and batches may be others, and how far the run was is ignored.
    ///
    /// A rule that evaluates other parameters than it trains ([`ScheduleFree`](crate::ScheduleFree)) finds these by its state.
    /// So without a best epoch its file needs a trainer of its recipe.
    ///
    /// # Errors
    /// Tensors of the model that are missing, unknown, of another shape or number of lanes, each by its name; another rule,
    /// where one of both evaluates other parameters than it trains; a lost device. Nothing changes where the file does not fit.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::nn::{Nonlinearity, Sequential};
    /// use thalweg::{AdamW, Recipe, Sgd, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// let data = Dataset::new((0..20).map(|i| i as f32 / 9.0).collect(), 2, (0..10).map(|i| i % 2).collect())?;
    /// let model = Sequential::perceptron(2, &[4], 2, Nonlinearity::Relu);
    /// let mut trained = Trainer::builder(&model, Recipe::new(AdamW::default())).train(&data).build(&Cpu::<f32>::default())?;
    /// trained.advance(20)?;
    ///
    /// let mut other = Trainer::builder(&model, Recipe::new(Sgd::default())).train(&data).build(&Cpu::<f32>::default())?;
    /// other.load_model(&trained.tensors()?)?;
    /// assert_eq!(other.predict(0, &data.features)?, trained.predict(0, &data.features)?);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn load_model(&mut self, tensors: &Tensors) -> Result<Loaded> {
        let (loaded, best) = self.take_model(tensors)?;
        if !best.is_empty() {
            self.restore(&best)?;
        }
        Ok(loaded)
    }

    /// Takes the model of the last step, and returns the best epoch of each lane, if the file has it. Then [`Trainer::restore`]
    /// has to follow.
    pub(super) fn take_model(&mut self, tensors: &Tensors) -> Result<(Loaded, Vec<Best>)> {
        let mut fitting = self.fitting_model(tensors)?;
        let (best, alone) = fitting.alone.into_iter().partition(|(expected, _)| expected.name.starts_with(OF_BEST));
        fitting.alone = alone;
        let best = self.best_found(best)?;
        let state = State::default();
        let buffers = arrays(BUFFER, &self.statistics.arena).into_iter().map(|expected| expected.name);
        let taken = match fitting.over(&state) {
            Some(state) => self.optimizer.load_view(&state, &buffers.collect::<Vec<_>>()),
            None => Ok(()),
        };
        let all_best = !best.is_empty() && best.iter().all(|best| best.epoch > 0);
        if let Some(reason) = taken.as_ref().err().or(fitting.rest.as_ref().err())
            && !all_best
            && (self.evaluated.is_some() || !evaluates_what_it_trains(tensors))
        {
            return Err(reason.clone());
        }
        if taken.is_ok() {
            self.write_found_buffers(&fitting.alone)?;
        }
        Ok((self.take_alone(taken, fitting, tensors)?, best))
    }

    /// What fits of a file, which has all of the model and nothing else under such names.
    fn fitting_model<'a>(&self, tensors: &'a Tensors) -> Result<Fitting<'a, P::Float>> {
        let mut all = self.optimizer.expected();
        all.extend(arrays(BUFFER, &self.statistics.arena));
        if has_best(tensors) {
            all.extend(best_numbers().into_iter().chain(self.best_arrays()));
        }
        let of_the_last_step = |name: &str| MODEL.iter().any(|prefix| name.starts_with(prefix));
        let alone = |name: &str| of_the_last_step(name) || name.starts_with(OF_BEST);
        let mut fitting = self.optimizer.fitting(all, tensors, alone, Ok(()));
        if let Some((_, reason)) = std::mem::take(&mut fitting.loaded.kept).into_iter().next() {
            return Err(reason);
        }
        match fitting.loaded.unused.iter().find(|name| of_the_last_step(name)) {
            Some(unknown) => {
                let known: Vec<&str> = fitting.loaded.loaded.iter().map(String::as_str).collect();
                Err(Error::unknown("tensor of the file", unknown, &known))
            }
            None => Ok(fitting),
        }
    }

    /// The best epoch of each lane in arrays of a file, if there are any.
    fn best_found(&self, found: Vec<Found<'_, P::Float>>) -> Result<Vec<Best>> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut state = StateView::default();
        found.into_iter().for_each(|(expected, array)| state.insert(&expected.name, array));
        self.best_of(&state, true)
    }
}

/// Whether early stopping has kept the best epoch of a lane in a file.
fn has_best(tensors: &Tensors) -> bool {
    // Each lane's epoch is the first of three counts.
    let epochs = tensors.find(BEST).into_iter().flat_map(|counts| counts.numbers().step_by(3));
    epochs.into_iter().any(|epoch| epoch > 0.0) && tensors.iter().any(|(name, _)| name.starts_with("best.param."))
}

/// Whether the rules of a file are known to evaluate the parameters that they train.
fn evaluates_what_it_trains(tensors: &Tensors) -> bool {
    let known = rules();
    let plain = |name: &str| known.iter().any(|rule| rule.name() == name && !rule.averages());
    let names = tensors.texts.get(RULES).into_iter().flat_map(|text| text.split(", "));
    names.into_iter().all(|group| plain(group.rsplit(": ").next().unwrap_or(group)))
}
