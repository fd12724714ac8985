//! Tries an operation on two engines: its halves have to agree.

use super::{Blueprint, BufferId, Engine, Kind, Layout, Operand, Operated, Operation, Plan, PlanId, Program, Use};
use crate::error::{Error, Result};
use crate::rule::Real;
use fastrand::Rng;

/// An operation on buffers of its own, to be tried.
///
/// Floats are random ones between −2 and 2, the same in each run. Indices are below 6, but one in eight may be any number. What
/// the operation is to write is NaN before, so that an element that it leaves out is found.
///
/// # Examples
///
/// The halves of an operation on two engines; `single` would be a GPU:
///
/// ```
/// use thalweg::{cpu::Cpu, plan::Case};
///
/// let (oracle, single) = (Cpu::<f64>::default(), Cpu::<f32>::default());
/// for case in Case::of::<thalweg::op::Tally>(2) {
///     case.compare(&oracle, &Cpu::<f32>::default(), &single)?;
/// }
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Case {
    layout: Layout,
    operated: Operated,
}

/// Random values are drawn from it, so that a failure can be seen again.
const SEED: u64 = 7;
/// How much larger the error of the other engine may be than that of the CPU in the same precision: orders of sums differ, and
/// drivers have a unit or two more in quotients, roots and exponentials.
const TIMES: f64 = 4.0;
/// What an error may be in any case, in units of the last place of the largest value. The CPU adds in as many parts as its
/// vectors have places; where these are wide, its error is below a unit, and that of a GPU thread, which adds some 250 products
/// one after the other, near three.
const LEAST: f64 = 4.0;

impl Case {
    /// The cases of an operation ([`Operation::cases`]), each for this many lanes.
    pub fn of<O: Operation>(lanes: usize) -> Vec<Self> {
        let mut layout = Layout::new(lanes);
        let operations = O::cases(&mut layout);
        operations.into_iter().map(|operation| Self { layout: layout.clone(), operated: Operated::new(operation) }).collect()
    }

    /// The operation.
    pub fn operated(&self) -> &Operated {
        &self.operated
    }

    /// Runs the operation on three engines and compares everything that it wrote, and what lies beside it. The error of `other`
    /// may be four times that of `single`, which is the CPU engine in `f32`, both measured from the oracle, or four units of
    /// the last place of the largest value. Indices have to be the same, and so has what is not finite, which widens no bound.
    ///
    /// # Errors
    /// Those of the engines, and [`Error::Shape`] naming the first element that differs. Which case it was, the caller tells:
    /// [`Case::operated`] prints its operation.
    pub fn compare(
        &self,
        oracle: &impl Engine<Float = f64>,
        single: &impl Engine<Float = f32>,
        other: &impl Engine<Float = f32>,
    ) -> Result<()> {
        let (right, single, other) = (self.outputs(oracle)?, self.outputs(single)?, self.outputs(other)?);
        let kinds = self.compared().flat_map(|operand| vec![operand.kind; self.copies(operand.view.buffer)]);
        for (((kind, (what, right)), (_, single)), (_, other)) in kinds.zip(&right).zip(&single).zip(&other) {
            agree(kind, what, right, single, other)?;
        }
        Ok(())
    }

    /// Runs the operation on an engine: all values of its outputs' buffers, lane after lane, each with its name.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn outputs<E: Engine>(&self, engine: &E) -> Result<Vec<(String, Vec<f64>)>> {
        let mut plan = Plan::default();
        plan.push(super::Op::Operation(self.operated.clone()));
        let mut program = engine.load(&Blueprint::of(&self.layout, &[plan]))?;
        for operand in self.operated.operands() {
            (0..self.copies(operand.view.buffer)).try_for_each(|lane| self.fill(&mut program, operand, lane))?;
        }
        program.run(PlanId::FIRST, 1)?;
        let mut outputs = Vec::new();
        for operand in self.compared() {
            for lane in 0..self.copies(operand.view.buffer) {
                let what = format!("{} of {} in lane {lane}", operand.name, self.operated.operation().name());
                outputs.push((what, self.read(&mut program, operand, lane)?));
            }
        }
        Ok(outputs)
    }

    /// The operands whose values tell whether two engines agree.
    fn compared(&self) -> impl Iterator<Item = &Operand> {
        self.operated.operands().iter().filter(|operand| operand.written() && operand.usage != Use::Scratch)
    }

    fn copies(&self, id: BufferId) -> usize {
        if self.layout.declared(id).scope == super::Scope::Shared { 1 } else { self.layout.lanes() }
    }

    /// Writes random values into an operand's buffer, and NaN where the operation is to write.
    fn fill<P: Program>(&self, program: &mut P, operand: &Operand, lane: usize) -> Result<()> {
        let (id, len) = (operand.view.buffer, self.layout.declared(operand.view.buffer).len);
        let mut rng = Rng::with_seed(SEED + 1_000 * id.0 as u64 + lane as u64);
        let view = operand.view.offset..operand.view.offset + operand.view.len;
        if operand.kind == Kind::Index {
            // Small numbers, which point at something, and some that do not.
            let index = |rng: &mut Rng| if rng.u32(..8) == 0 { rng.u32(..) } else { rng.u32(..6) };
            let indices: Vec<u32> = (0..len).map(|_| index(&mut rng)).collect();
            return program.write_indices(id, lane, 0, &indices);
        }
        let unwritten = |i: usize| operand.usage == Use::Write && view.contains(&i);
        let float = |i, rng: &mut Rng| if unwritten(i) { f64::NAN } else { f64::from(rng.f32() * 4.0 - 2.0) };
        let floats: Vec<P::Float> = (0..len).map(|i| P::Float::of(float(i, &mut rng))).collect();
        program.write(id, lane, 0, &floats)
    }

    fn read<P: Program>(&self, program: &mut P, operand: &Operand, lane: usize) -> Result<Vec<f64>> {
        if operand.kind == Kind::Index {
            return Ok(program.read_indices(operand.view.buffer, lane)?.into_iter().map(f64::from).collect());
        }
        Ok(program.read(operand.view.buffer, lane)?.into_iter().map(Real::as_f64).collect())
    }
}

/// Whether what engines wrote is near enough, element by element.
fn agree(kind: Kind, what: &str, right: &[f64], single: &[f64], other: &[f64]) -> Result<()> {
    let error = |values: &[f64]| largest(values.iter().zip(right).map(|(value, right)| value - right));
    let least = LEAST * f64::from(f32::EPSILON) * largest(right.iter().copied());
    // An index beside the right one is as wrong as any other, however large indices are.
    let bound = if kind == Kind::Index { 0.0 } else { (TIMES * error(single)).max(least) };
    let near = |value: f64, right: f64| (value - right).abs() <= bound || (value.is_nan() && right.is_nan()) || value == right;
    let wrong = |values: &[f64]| (0..right.len()).find(|&i| !near(values[i], right[i]));
    let Some(i) = wrong(other).or_else(|| wrong(single)) else { return Ok(()) };
    let found = format!("{} (CPU in f32: {})", other[i], single[i]);
    Err(Error::shape(format!("element {i} of {what}"), format!("{} within {bound:e}", right[i]), found))
}

/// The largest size of what is finite: with an infinity in it a bound would take any value.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.map(f64::abs).filter(|size| size.is_finite()).fold(0.0, f64::max)
}
