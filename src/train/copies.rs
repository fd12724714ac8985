//! Lanes that take over others, on the device.

use super::Trainer;
use super::start::unknown_buffer;
use crate::error::{Error, Result};
use crate::plan::{Blueprint, BufferId, CopyLanes, Op, Plan, PlanId, Program, Role, Scope};

/// The plan by which lanes take over others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copies {
    plan: PlanId,
    /// The source of each lane.
    from: BufferId,
}

impl Copies {
    /// Records the plan. It copies all that a run needs to go on, and `more`.
    pub(super) fn record(blueprint: &mut Blueprint, more: BufferId) -> Result<Self> {
        let own = blueprint.buffers().filter(|buffer| buffer.kept && buffer.declared.scope == Scope::Lane);
        let mut buffers: Vec<BufferId> = own.map(|buffer| buffer.id).collect();
        buffers.push(more);
        // The copy of parameters in 16 bits, where the recipe makes one.
        buffers.extend(blueprint.buffer("half"));
        let lanes = blueprint.layout().lanes();
        let from = blueprint.layout_mut().shared_indices("source of each lane", lanes);
        let mut plan = Plan::default();
        plan.push(Op::CopyLanes(CopyLanes::new(buffers, blueprint.mark(from, Role::Data))));
        Ok(Self { plan: blueprint.add("copy lanes", plan)?, from })
    }
}

impl<P: Program> Trainer<P> {
    /// Lanes take over others on the device, in one operation of a plan: each pair names a source and the lane that is
    /// overwritten, so that one lane may go over many. Parameters, planes, averages, running statistics and counters are
    /// copied, and the seed, so both see the same orders of rows from then on. Settings of the recipe and rows stay those of
    /// the lane: a lane is perturbed by [`Trainer::set`]. Needs [`TrainerBuilder::copies`](super::TrainerBuilder::copies).
    ///
    /// # Errors
    /// A trainer without copies, a lane that does not exist, one that is overwritten twice or is a source as well, or a lost
    /// device.
    ///
    /// # Examples
    ///
    /// The better one of two rates goes on in both lanes, the second with half of it:
    ///
    /// ```
    /// use thalweg::nn::Linear;
    /// use thalweg::{Recipe, Sgd, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// let data = Dataset::regression(vec![0.0, 1.0, 2.0], 1, vec![1.0, 3.0, 5.0], 1)?;
    /// let recipe = Recipe::population([0.1, 1e-6].map(|lr| Sgd { lr, ..Default::default() }));
    /// let model = Linear::new(1, 1);
    /// let trainer = Trainer::builder(&model, recipe).train(&data).seeds(&[1, 2]).batch(3).copies();
    /// let mut trainer = trainer.build(&Cpu::<f32>::default())?;
    /// trainer.advance(20)?;
    /// trainer.copy_lanes(&[(0, 1)])?;
    /// trainer.set(1, "default", "lr", 0.05)?;
    /// assert_eq!(trainer.params(0)?, trainer.params(1)?);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn copy_lanes(&mut self, pairs: &[(usize, usize)]) -> Result<()> {
        let plan = self.prepare_copies(pairs)?;
        self.optimizer.copy_lanes(plan, pairs)?;
        self.follow_copies(pairs)
    }

    /// Checks pairs and writes them to the device: the plan that copies, to be run.
    pub(super) fn prepare_copies(&mut self, pairs: &[(usize, usize)]) -> Result<PlanId> {
        let copies = self.copies.ok_or_else(|| Error::missing("a copy of lanes", "its plan", ".copies()"))?;
        let mut sources: Vec<u32> = (0..self.lanes.len() as u32).collect();
        for &(from, to) in pairs {
            [from, to].into_iter().try_for_each(|lane| self.lane(lane).map(drop))?;
            let free = sources[to] as usize == to && pairs.iter().all(|(other, _)| *other != to);
            if !free {
                return Err(Error::setting("lane to copy over", to, "one that is overwritten once, and is no source"));
            }
            sources[to] = from as u32;
        }
        self.take_back()?;
        self.optimizer.program_mut().write_indices(copies.from, 0, 0, &sources)?;
        Ok(copies.plan)
    }

    /// Brings the host's side of lanes after those that they were copied from.
    pub(super) fn follow_copies(&mut self, pairs: &[(usize, usize)]) -> Result<()> {
        for &(from, to) in pairs {
            self.lanes[to].seed = self.lanes[from].seed;
            if !self.best.is_empty() {
                self.best[to] = self.best[from].clone();
            }
        }
        // Within an epoch the rest of it is taken in the other order.
        if self.step > 0 { self.write_order() } else { Ok(()) }
    }

    /// Gives an untrained buffer of the model, such as the `p` of a [`LaneDropout`](crate::nn::LaneDropout), other values in a
    /// lane, from the next step on.
    ///
    /// # Errors
    /// A lane or a buffer that does not exist, another number of values, or a lost device.
    pub fn set_buffer(&mut self, lane: usize, name: &str, values: &[P::Float]) -> Result<()> {
        self.lane(lane)?;
        self.take_back()?;
        let tensor = self.statistics.arena.tensor(name).map_err(|_| unknown_buffer(name, &self.statistics.arena))?;
        if tensor.len() != values.len() {
            return Err(Error::shape(format!("buffer '{name}'"), format!("{} elements", tensor.len()), values.len()));
        }
        self.optimizer.program_mut().write(self.statistics.id, lane, tensor.offset, values)
    }
}
