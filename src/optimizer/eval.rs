//! Parameters to evaluate with, where they are not those at which gradients are taken.

use super::stepper::Stepper;
use crate::error::Result;
use crate::plan::{BufferId, Counter, Program, Tensor, Values};
use crate::rule::Real;

impl Stepper {
    /// The parameters of some tensors, in a lane's whole arena, as they are to be evaluated with:
    /// [`Rule::eval`](crate::Rule::eval), with settings as they were in the last applied step. Waits for the device.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn eval<P: Program>(&self, program: &mut P, lane: usize, tensors: &[Tensor], params: &mut [P::Float]) -> Result<()> {
        let read = |id| Ok((id, self.read_plane(program, id, lane, 0..self.arena.len())?));
        let planes: Vec<(BufferId, Vec<P::Float>)> = self.planes().into_iter().map(read).collect::<Result<_>>()?;
        let counts = program.read_indices(self.buffers.counts, lane)?;
        self.eval_lane(lane, tensors, params, &planes, &counts)
    }

    /// The parameters of all lanes as they are to be evaluated with, each laid out as the arena. Waits for the device, once.
    pub(super) fn eval_all<P: Program>(&self, program: &mut P) -> Result<Vec<Vec<P::Float>>> {
        let found = program.read_all(&self.eval_buffers())?;
        self.eval_of(found)
    }

    /// What parameters to evaluate with are made of.
    pub(super) fn eval_buffers(&self) -> Vec<BufferId> {
        [&[self.buffers.params, self.buffers.counts], &self.planes()[..]].concat()
    }

    /// Parameters to evaluate with, of what [`Stepper::eval_buffers`] hold.
    pub(super) fn eval_of<F: Real>(&self, found: Vec<Values<F>>) -> Result<Vec<Vec<F>>> {
        let mut found = found.into_iter();
        let (Some(Values::Floats(mut params)), Some(Values::Indices(counts))) = (found.next(), found.next()) else {
            return Ok(Vec::new());
        };
        let lanes = |values| self.plane_lanes(values).into_iter();
        let mut all: Vec<_> = self.planes().into_iter().zip(found.map(lanes)).collect();
        for (lane, params) in params.iter_mut().enumerate() {
            let own = all.iter_mut().map(|(id, lanes)| (*id, lanes.next().unwrap_or_default())).collect::<Vec<_>>();
            self.eval_lane(lane, self.arena.tensors(), params, &own, &counts[lane])?;
        }
        Ok(params)
    }

    /// Makes a lane's parameters those to evaluate with, by its planes and counters.
    pub(super) fn eval_lane<F: Real>(
        &self,
        lane: usize,
        tensors: &[Tensor],
        params: &mut [F],
        planes: &[(BufferId, Vec<F>)],
        counts: &[u32],
    ) -> Result<()> {
        for tensor in tensors {
            // The caller's arena need not know of groups.
            let group = self.arena.tensor(&tensor.name)?.group;
            let last = u64::from(counts[Counter::LEN + group]).saturating_sub(1);
            let mut rule = self.scheduled[lane * self.groups() + group].clone();
            let rule = rule.at(&self.recipe.schedules, |schedule| schedule.value(last));
            let range = tensor.offset..tensor.offset + tensor.len();
            let own = self.buffers.planes[group].iter().filter_map(|(_, id)| planes.iter().find(|(known, _)| known == id));
            let planes: Vec<&[F]> = own.map(|(_, plane)| &plane[range.clone()]).collect();
            F::eval(rule, &mut params[range], &planes);
        }
        Ok(())
    }

    /// Whether [`Stepper::eval`] gives other parameters than those at which gradients are taken.
    pub fn averages(&self) -> bool {
        self.recipe.rules().any(|(_, _, rule)| rule.averages())
    }
}
