//! Runs of plans: over a program's own memory, and over slices of the caller.

use super::borrowed::{self, Borrowed};
use super::matmul::Float;
use super::phase::{Phase, run};
use super::program::CpuProgram;
use super::share::Threads;
use super::store::Store;
use super::{copy_lanes, operation};
use crate::error::Result;
use crate::plan::{Arena, BufferId, PlanId, check_plans};

impl<F: Float> CpuProgram<F> {
    /// Threads that an operation of one lane is shared out to: all, unless there are lanes enough.
    fn threads_of_a_lane(&self) -> Threads {
        if self.lanes.len() < self.threads.count() { self.threads } else { Threads::ONE }
    }

    /// Lanes that a thread takes at a time, where it runs their operations so many times: one by one, as far as there are few.
    fn lanes_at_a_time(&self, times: usize) -> usize {
        self.lanes.len().div_ceil(8 * self.threads.count()).div_ceil(times.max(1))
    }

    /// Runs plans one after the other, all of that `times` times. Without operations that all lanes share, all of it is one
    /// task per lane: a lane's memory then stays in its core's cache from step to step.
    pub(super) fn run_all(&mut self, plans: &[PlanId], times: usize) -> Result<()> {
        let mut phases = plans.iter().flat_map(|plan| &self.phases[plan.0]);
        if phases.all(|phase| phase.of_lanes().is_some()) {
            self.run_once(plans, times)
        } else {
            (0..times).try_for_each(|_| self.run_once(plans, 1))
        }
    }

    /// Runs plans one after the other, operations of lanes `times` times. Where one plan ends and the next one begins with such
    /// operations, both are one task per lane, as if they were one plan.
    fn run_once(&mut self, plans: &[PlanId], times: usize) -> Result<()> {
        let (threads, at_a_time) = (self.threads_of_a_lane(), self.lanes_at_a_time(times));
        let (all, shared, lanes) = (&self.phases, &mut self.shared, &mut self.lanes);
        let mut phases = plans.iter().flat_map(|plan| &all[plan.0]);
        let mut next = phases.next();
        while let Some(phase) = next {
            match phase {
                Phase::Shared(op) => {
                    operation::operate(op, shared, None, self.threads)?;
                    next = phases.next();
                }
                Phase::Copies(op) => {
                    copy_lanes::copy_lanes(op, lanes, shared, self.threads);
                    next = phases.next();
                }
                Phase::Lanes(_) => {
                    let first = std::iter::once(phase).chain(phases.clone());
                    let together = first.map_while(Phase::of_lanes);
                    let after = together.clone().count() - 1;
                    let shared = &*shared;
                    let lane = |store: &mut Store<F>| {
                        let all = |_| together.clone().flatten().try_for_each(|op| run(op, store, shared, None, threads));
                        (0..times).try_for_each(all)
                    };
                    match &mut lanes[..] {
                        [one] => lane(one)?,
                        many => {
                            let (count, parts) = (many.len().div_ceil(at_a_time), many.chunks_mut(at_a_time));
                            self.threads.try_in_order(count, parts, |lanes| lanes.iter_mut().try_for_each(&lane))?;
                        }
                    }
                    next = phases.nth(after);
                }
            }
        }
        Ok(())
    }

    /// Checks slices before [`CpuProgram::run_over`].
    ///
    /// # Errors
    /// As for [`CpuProgram::run_over`].
    pub(crate) fn check_over(&self, arena: &Arena, params: &[&mut [F]], grads: &[&mut [F]]) -> Result<()> {
        self.check_slices(arena, params.iter().map(|slice| slice.len()))?;
        borrowed::check(arena, self.lanes.len(), "gradients", grads.iter().map(|slice| slice.len()))
    }

    /// Checks slices of parameters by their lengths.
    ///
    /// # Errors
    /// As for [`CpuProgram::run_over`].
    pub(crate) fn check_slices(&self, arena: &Arena, lens: impl ExactSizeIterator<Item = usize>) -> Result<()> {
        borrowed::check(arena, self.lanes.len(), "parameters", lens)
    }

    /// Runs a plan once, with the caller's slices in the place of two buffers: lane by lane, tensor by tensor in the arena's
    /// order.
    ///
    /// # Errors
    /// Slices that are not as many or not as long as the tensors of all lanes, naming the tensor.
    pub fn run_over<'s>(
        &mut self,
        plan: PlanId,
        arena: &Arena,
        params: (BufferId, &mut [&'s mut [F]]),
        grads: (BufferId, &mut [&'s mut [F]]),
    ) -> Result<()> {
        self.check_over(arena, params.1, grads.1)?;
        let (threads, at_a_time) = (self.threads_of_a_lane(), self.lanes_at_a_time(1));
        let tensors = arena.tensors().len().max(1);
        check_plans(&[plan], self.phases.len())?;
        for phase in &self.phases[plan.0] {
            match phase {
                Phase::Shared(op) => operation::operate(op, &mut self.shared, None, self.threads)?,
                Phase::Copies(op) => copy_lanes::copy_lanes(op, &mut self.lanes, &self.shared, self.threads),
                Phase::Lanes(ops) => {
                    let shared = &self.shared;
                    let lane = |store: &mut Store<F>, x: &mut [&'s mut [F]], g: &mut [&'s mut [F]]| {
                        let mut borrowed = Borrowed::new(arena, (params.0, x), (grads.0, g));
                        ops.iter().try_for_each(|op| run(op, store, shared, Some(&mut borrowed), threads))
                    };
                    match &mut self.lanes[..] {
                        [one] => lane(one, params.1, grads.1)?,
                        many => {
                            let count = many.len().div_ceil(at_a_time);
                            let slices = [&mut *params.1, &mut *grads.1].map(|slices| slices.chunks_mut(at_a_time * tensors));
                            let [params, grads] = slices;
                            let parts = many.chunks_mut(at_a_time).zip(params.zip(grads));
                            self.threads.try_in_order(count, parts, |(stores, (params, grads))| {
                                let slices = params.chunks_mut(tensors).zip(grads.chunks_mut(tensors));
                                stores.iter_mut().zip(slices).try_for_each(|(store, (x, g))| lane(store, x, g))
                            })?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
