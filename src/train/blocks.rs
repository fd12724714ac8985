//! An evaluation whose blocks of rows several machines share.

use super::Trainer;
use super::metrics::Metrics;
use super::ranks::floats;
use crate::error::{Error, Result, range};
use crate::plan::{Program, Values};
use crate::rule::Real;
use std::ops::Range;

impl<P: Program> Trainer<P> {
    /// Blocks of an evaluation: the validation rows of the lane that has most of them, over
    /// [`TrainerBuilder::evaluation_rows`](super::TrainerBuilder::evaluation_rows). 0 without validation data.
    pub fn evaluation_blocks(&self) -> usize {
        self.validation.as_ref().map_or(0, |feed| feed.batches)
    }

    /// How many floats [`Trainer::measure_blocks`] returns for each block.
    pub fn block_sums(&self) -> usize {
        self.validation.as_ref().map_or(0, |feed| self.lanes.len() * feed.columns.count())
    }

    /// Measures some blocks of an evaluation: for each block the sums of loss and scores over its rows, lane after lane.
    /// Machines share an evaluation so: each measures its blocks, and [`Trainer::evaluation_of`] joins those of all.
    ///
    /// # Errors
    /// No validation data, blocks that there are not, or a lost device.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::nn::Linear;
    /// use thalweg::{Recipe, Sgd, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// let data = Dataset::new((0..10).map(|i| i as f32).collect(), 1, (0..10).map(|i| i / 5).collect())?;
    /// let model = Linear::new(1, 2);
    /// let trainer = Trainer::builder(&model, Recipe::new(Sgd::default())).train(&data).validation(&data);
    /// let mut trainer = trainer.evaluation_rows(4).build(&Cpu::<f32>::default())?;
    /// assert_eq!(trainer.evaluation_blocks(), 3);
    /// let of_one = trainer.measure_blocks(0..2)?;
    /// let of_another = trainer.measure_blocks(2..3)?;
    /// assert_eq!(trainer.evaluation_of(&[of_one, of_another].concat())?, trainer.evaluate()?);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn measure_blocks(&mut self, blocks: Range<usize>) -> Result<Vec<P::Float>> {
        let (feed, _) = Self::held(&self.validation, self.plans.evaluate)?;
        let count = feed.batches;
        let known = blocks.start <= blocks.end && blocks.end <= count;
        range::require(known, "blocks", format!("{blocks:?}"), &format!("within 0..{count}, those of the evaluation"))?;
        if !blocks.is_empty() {
            self.refresh()?;
        }
        let mut sums = Vec::with_capacity(blocks.len() * self.block_sums());
        for block in blocks {
            let (feed, plan) = Self::held(&self.validation, self.plans.evaluate)?;
            let program = self.optimizer.program_mut();
            feed.reset(program)?;
            feed.seek(program, block)?;
            program.run(plan, 1)?;
            sums.extend(floats(program.read_all(&[feed.tally])?).concat());
        }
        Ok(sums)
    }

    /// Each lane's loss and scores from the sums of all blocks, in the order of the blocks: on the CPU engine the bits of
    /// [`Trainer::evaluate`], whoever measured which block.
    ///
    /// # Errors
    /// No validation data, or sums of other blocks.
    pub fn evaluation_of(&self, sums: &[P::Float]) -> Result<Vec<Metrics>> {
        let (feed, _) = Self::held(&self.validation, self.plans.evaluate)?;
        let (count, len) = (feed.batches, self.block_sums());
        if sums.len() != count * len {
            return Err(Error::shape("sums of an evaluation", format!("{count} blocks of {len} floats"), sums.len()));
        }
        let columns = feed.columns.count();
        let mut lanes = vec![vec![P::Float::of(0.0); columns]; self.lanes.len()];
        for block in sums.chunks_exact(len) {
            for (lane, own) in lanes.iter_mut().zip(block.chunks_exact(columns)) {
                lane.iter_mut().zip(own).for_each(|(sum, &own)| *sum += own);
            }
        }
        Ok(feed.metrics_of(vec![Values::Floats(lanes)], |lane| self.lanes[lane].validation.len()))
    }
}
