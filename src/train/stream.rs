//! Batches that come one after the other, from wherever.

use super::Trainer;
use super::metrics::Metrics;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::plan::Program;

impl<P: Program> Trainer<P> {
    /// Makes a step for each batch of an iterator, in order, and returns each lane's training loss and scores over all of them
    /// (without R², which asks for a mean that is not known before). Batches are made on the host while the device still works
    /// on those before, as far as it holds some ([`TrainerBuilder::stream`](super::TrainerBuilder::stream)). What a step draws
    /// follows from the number of steps made, so a stream that is cut into several calls comes to the same bits.
    ///
    /// # Errors
    /// A trainer whose data are all there is; a batch with other rows, widths or classes than the sample; micro-batches; a lost
    /// device.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::nn::{Nonlinearity, Sequential};
    /// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// // Endless rows of two numbers: is the first one larger?
    /// let mut random = fastrand::Rng::with_seed(1);
    /// let mut batch = move || {
    ///     let x: Vec<f32> = (0..64).map(|_| random.f32()).collect();
    ///     let labels = x.chunks(2).map(|pair| u32::from(pair[0] > pair[1])).collect();
    ///     Dataset { classes: 2, ..Dataset::new(x, 2, labels).unwrap() }
    /// };
    /// let (sample, model) = (batch(), Sequential::perceptron(2, &[8], 2, Nonlinearity::Tanh));
    /// let trainer = Trainer::builder(&model, Recipe::new(Adam { lr: 0.03, ..Default::default() })).train(&sample).stream(4);
    /// let mut trainer = trainer.build(&Cpu::<f32>::default())?;
    /// trainer.stream((0..150).map(|_| batch()))?;
    /// assert!(trainer.stream((0..20).map(|_| batch()))?[0].accuracy > Some(0.9));
    /// assert_eq!(trainer.steps(), 170);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn stream(&mut self, batches: impl IntoIterator<Item = Dataset>) -> Result<Vec<Metrics>> {
        self.start_stream()?;
        let (mut batches, mut seen) = (batches.into_iter(), 0);
        loop {
            let filled = self.fill(&mut batches)?;
            self.step_through(filled)?;
            seen += filled * self.train.batch;
            if filled < self.train.batches {
                break;
            }
        }
        let found = self.train.metrics(self.optimizer.program_mut(), |_| seen)?;
        Ok(without_r2(found))
    }

    pub(super) fn start_stream(&mut self) -> Result<()> {
        if !self.streams {
            return Err(Error::missing("a stream", "places for batches", ".stream(8)"));
        }
        if self.micro > 1 {
            return Err(Error::conflict("stream", "micro_batches", "each batch of a stream is a step"));
        }
        let program = self.optimizer.program_mut();
        self.train.write_order(program, |_, places| places.iter_mut().zip(0..).map(|(place, row)| *place = row).count())?;
        self.train.reset(program)
    }

    /// Writes the next batches into their places; returns how many there were.
    pub(super) fn fill(&mut self, batches: &mut impl Iterator<Item = Dataset>) -> Result<usize> {
        let (rows, places) = (self.train.batch, self.train.batches);
        let mut filled = 0;
        for batch in batches.take(places) {
            self.train.table.check(&batch, rows)?;
            self.train.table.write(self.optimizer.program_mut(), filled * rows, &batch)?;
            filled += 1;
        }
        Ok(filled)
    }

    /// Makes a step for each of the next `count` batches that are in their places. After the last place comes the first one
    /// again.
    pub(super) fn step_through(&mut self, count: usize) -> Result<()> {
        self.take_back()?;
        let run = self.optimizer.run(&self.sequences[0], count);
        self.steps += match &run {
            Ok(()) => count,
            Err(Error::Partly { made, .. }) => *made as usize,
            Err(_) => 0,
        };
        run
    }
}

/// A stream's mean is not known before its end, and R² asks for it.
pub(super) fn without_r2(found: Vec<Metrics>) -> Vec<Metrics> {
    found.into_iter().map(|metrics| Metrics { r2: None, ..metrics }).collect()
}
