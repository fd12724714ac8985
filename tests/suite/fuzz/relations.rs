//! Relations between runs of one case, which must hold for every case.
//!
//! The bound of an engine's distance from the oracle has two parts. The first is the error of a step with exact inputs, as in
//! the tests of parity: it grows with every step, relative to the movement of the step. The second is the effect of an error in
//! the inputs on the oracle itself: the oracle runs several more times, with gradients, parameters or both changed by a few
//! units of single precision, in pairs of either sign, and the largest effect counts several times. So the bound is as wide as
//! necessary where a case amplifies errors or is at a jump, and tight elsewhere.

use super::case::{Case, Modifier, Op, Tensor};
use super::subject::{Array, Borrowed, Home, Look, Noisy, Own, Slices, Subject, What, name};
use fastrand::Rng;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use thalweg::AnyRule;
use thalweg::cpu::Cpu;
use thalweg::gpu::Gpu;

const EPSILON: f64 = f32::EPSILON as f64;
/// The cost of a step, in units of [`EPSILON`]: as in `common::oracle`.
const STEP_COST: f64 = 32.0;
const PLANE_COST: f64 = 16.0;
const SCALAR_COST: f64 = 8.0;
/// Smaller values have fewer digits, and are 0 on some devices.
const TINY: f64 = f32::MIN_POSITIVE as f64;
/// The noise, in units of [`EPSILON`], and the factor by which its effect is allowed.
const NOISE: f64 = 4.0;
const AMPLIFIED: f64 = 8.0;
/// Whether gradients and parameters have noise, pair by pair: where a step subtracts one from the other, their errors may
/// cancel, and among thousands of elements they do so in every pair that has both.
const NOISY_PAIRS: [(bool, bool); 3] = [(true, true), (true, false), (false, true)];
/// If the effect of the noise on a value is larger than this, relative to the value, no bound is known. It is some 10^4 times
/// the noise.
const CHAOS: f64 = 5e-3;
/// How many times less exact a difference may be than its terms.
const MOST: f64 = 1e5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    CpuNearOracle,
    GpuNearOracle,
    LaneAloneOnCpu,
    LaneAloneOnGpu,
    BorrowedOnCpu,
    ThreadsOnCpu,
    SlicesOnGpu,
    OneByOneOnCpu,
    OneByOneOnGpu,
    RestoredOnCpu,
    RestoredOnGpu,
}

impl Relation {
    pub const ALL: [Self; 11] = [
        Self::CpuNearOracle,
        Self::LaneAloneOnCpu,
        Self::BorrowedOnCpu,
        Self::ThreadsOnCpu,
        Self::OneByOneOnCpu,
        Self::RestoredOnCpu,
        Self::GpuNearOracle,
        Self::LaneAloneOnGpu,
        Self::SlicesOnGpu,
        Self::OneByOneOnGpu,
        Self::RestoredOnGpu,
    ];

    pub fn is_of_gpu(self) -> bool {
        matches!(
            self,
            Self::GpuNearOracle | Self::LaneAloneOnGpu | Self::SlicesOnGpu | Self::OneByOneOnGpu | Self::RestoredOnGpu
        )
    }
}

/// The relation that does not hold, and how it fails.
#[derive(Debug, Clone)]
pub struct Failure {
    pub relation: Relation,
    pub what: String,
}

pub struct Engines {
    pub oracle: Cpu<f64>,
    pub cpu: Cpu<f32>,
    pub gpu: Gpu,
}

/// The numbers of elements that were compared with a bound, and of those without a finite bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub bounded: usize,
    pub unbounded: usize,
}

/// Whether a relation holds for a case.
pub fn check(case: &Case, relation: Relation, engines: &Engines, tally: &mut Tally) -> Result<(), Failure> {
    let failed = |what| Failure { relation, what };
    let (cpu, gpu) = (Own(&engines.cpu), Own(&engines.gpu));
    match relation {
        Relation::CpuNearOracle => near_oracle(case, &cpu, engines, tally),
        Relation::GpuNearOracle => near_oracle(case, &gpu, engines, tally),
        Relation::LaneAloneOnCpu => alone(case, &cpu),
        Relation::LaneAloneOnGpu => alone(case, &gpu),
        Relation::BorrowedOnCpu => in_both(case, &cpu, &Borrowed::new(&engines.cpu)),
        Relation::ThreadsOnCpu => in_both(case, &Own(&Cpu::<f32>::with_threads(1)), &Own(&Cpu::<f32>::with_threads(4))),
        Relation::SlicesOnGpu => {
            let [together, encoded, dropped] = [1, 2, 4].map(|bit| case.ops.len() & bit > 0);
            // A forgotten step also discards the micro-batches and the ascent before it.
            let ahead = case.ops.iter().any(|op| matches!(op, Op::Accumulate | Op::Ascend));
            in_both(case, &gpu, &Slices { gpu: &engines.gpu, together, encoded, dropped: dropped && !ahead })
        }
        Relation::OneByOneOnCpu => one_by_one(case, &cpu),
        Relation::OneByOneOnGpu => one_by_one(case, &gpu),
        Relation::RestoredOnCpu => restored(case, &cpu),
        Relation::RestoredOnGpu => restored(case, &gpu),
    }
    .map_err(failed)
}

/// Everything that is read during a case. A panic is a result like any other.
fn run<H: Home>(case: &Case, home: &H) -> Result<Vec<Look>, String> {
    caught(|| {
        let mut subject = Subject::new(case, home).map_err(|error| format!("refused: {error}"))?;
        let mut looks = Vec::new();
        for (index, op) in case.ops.iter().enumerate() {
            subject.run(index);
            if *op == Op::Look {
                looks.push(subject.look());
            }
        }
        looks.push(subject.look());
        Ok(looks)
    })
}

fn caught<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// What was read from the oracle, with the bound of each value.
type Bounded = (Look, Vec<Vec<f64>>);

/// The oracle, step by step, since bounds grow with every one.
fn expected(case: &Case, engine: &Cpu<f64>) -> Result<Vec<Bounded>, String> {
    let mut looks = caught(|| {
        let home = Own(engine);
        let mut subject = Subject::new(case, &home).map_err(|error| format!("refused: {error}"))?;
        let mut now = subject.look();
        // A start value other than 0 is rounded once.
        let rounded = |array: &Array| array.values.iter().map(|x| EPSILON * x.abs()).collect();
        let mut bounds: Vec<Vec<f64>> = now.arrays.iter().map(rounded).collect();
        let mut lost: Vec<Vec<f64>> = now.arrays.iter().map(|array| vec![1.0; array.values.len()]).collect();
        let mut looks = Vec::new();
        for (index, op) in case.ops.iter().enumerate() {
            let times = if let Op::Steps(count) = op { *count } else { 1 };
            for _ in 0..times {
                if times > 1 {
                    subject.step(index)
                } else {
                    subject.run(index)
                }
                let after = subject.look();
                if matches!(op, Op::Step | Op::Steps(_) | Op::Inspected | Op::Accumulate | Op::Ascend | Op::Rebuild) {
                    lose_digits(&mut lost, &after, case);
                    lose_directions(&mut lost, &after, case);
                    leave_range(&mut lost, &after);
                    lose_signs(&mut lost, &after, case);
                    lose_squares(&mut lost, &after, case);
                    lose_sides(&mut lost, &bounds, &now, case);
                    grow(&mut bounds, &lost, &now, &after, case);
                } else {
                    begin_anew(&mut bounds, &now, &after);
                }
                now = after;
            }
            if *op == Op::Look {
                looks.push((now.clone(), bounds.clone()));
            }
        }
        looks.push((now, bounds));
        Ok(looks)
    })?;
    let signed = |(seed, of)| [1.0, -1.0].map(|sign| (seed, of, sign));
    for (seed, (grads, params), sign) in (0..).zip(NOISY_PAIRS).flat_map(signed) {
        let size = sign * EPSILON * NOISE;
        let home = Noisy { engine: *engine, size, grads, params, rng: RefCell::new(Rng::with_seed(seed)) };
        for ((look, bounds), noisy) in looks.iter_mut().zip(run(case, &home)?) {
            for ((array, noisy), bounds) in look.arrays.iter().zip(&noisy.arrays).zip(bounds) {
                for ((expected, noisy), bound) in array.values.iter().zip(&noisy.values).zip(bounds) {
                    let off = (noisy - expected).abs();
                    // Once the four runs have diverged, they give no bound for a fifth: a step that jumps to and fro around a
                    // minimum amplifies errors at every turn. NaN is not a bound either.
                    let known = off <= CHAOS * expected.abs().max(noisy.abs());
                    *bound = if known { bound.max(AMPLIFIED * off) } else { f64::INFINITY };
                }
            }
        }
    }
    Ok(looks)
}

/// What is written over a NaN has the bound of a start value: NaN itself had none that could be added to.
fn begin_anew(bounds: &mut [Vec<f64>], before: &Look, after: &Look) {
    for ((bounds, old), new) in bounds.iter_mut().zip(&before.arrays).zip(&after.arrays) {
        for ((bound, old), new) in bounds.iter_mut().zip(&old.values).zip(&new.values) {
            *bound = if old.is_nan() && !new.is_nan() { EPSILON * new.abs() } else { *bound };
        }
    }
}

/// A value of 0 stays exact, however many digits are lost.
fn worse(lost: f64, size: f64) -> f64 {
    if size == 0.0 { 0.0 } else { lost * size }
}

fn grow(bounds: &mut [Vec<f64>], lost: &[Vec<f64>], before: &Look, after: &Look, case: &Case) {
    for (((bounds, lost), old), new) in bounds.iter_mut().zip(lost).zip(&before.arrays).zip(&after.arrays) {
        let least = shared_change(case, old, new);
        for (((bound, lost), old), now) in bounds.iter_mut().zip(lost).zip(&old.values).zip(&new.values) {
            let (size, change) = (old.abs().max(now.abs()), (now - old).abs().max(least));
            match new.what {
                What::Params => *bound += TINY + EPSILON * (2.0 * size + STEP_COST * worse(*lost, change)),
                What::Plane => *bound += TINY + EPSILON * PLANE_COST * worse(*lost, size),
                // This value is computed anew in each step.
                What::Scalar => *bound = EPSILON * SCALAR_COST * now.abs(),
                What::Count | What::Half => {}
            }
            // An engine may skip steps that are out of its range.
            *bound = if *lost == f64::INFINITY { f64::INFINITY } else { *bound };
        }
    }
}

/// The tensors of rules that a predicate takes.
fn tensors_of<'a>(case: &'a Case, takes: impl Fn(&dyn AnyRule) -> bool + 'a) -> impl Iterator<Item = (usize, &'a Tensor)> {
    let rules = case.own_rules();
    case.tensors.iter().enumerate().filter(move |(_, tensor)| takes(&*rules[tensor.group]))
}

/// Every element that Muon moves is a sum over its row and its column, and off by a part of their sizes, however small it is
/// itself: the root of the mean square of what a tensor moves by.
fn shared_change(case: &Case, old: &Array, new: &Array) -> f64 {
    let is_its = |index: usize| new.name.contains(&format!(" of {},", name(index)));
    if !tensors_of(case, |rule| rule.orthogonal().is_some()).any(|(index, _)| is_its(index)) {
        return 0.0;
    }
    let squares = old.values.iter().zip(&new.values).map(|(old, new)| (new - old) * (new - old));
    (squares.sum::<f64>() / new.values.len().max(1) as f64).sqrt()
}

/// Lion takes the sign of its momentum, which is 0 where single precision has no digits left.
fn lose_signs(lost: &mut [Vec<f64>], look: &Look, case: &Case) {
    for (index, _) in tensors_of(case, |rule| rule.name() == "lion") {
        let whose = |array: &Array| array.name.split_once(" of ").map(|(_, whose)| whose.to_string());
        let planes = look.arrays.iter().filter(|array| array.what == What::Plane);
        for plane in planes.filter(|array| array.name.contains(&format!(" of {},", name(index)))) {
            for (_, lost) in look.arrays.iter().zip(&mut *lost).filter(|(array, _)| whose(array) == whose(plane)) {
                let gone = lost.iter_mut().zip(&plane.values).filter(|(_, m)| **m != 0.0 && m.abs() < TINY);
                gone.for_each(|(lost, _)| *lost = f64::INFINITY);
            }
        }
    }
}

/// An `eps1` of 0 is the precision of the floats, below which Adafactor takes no root of squares: another number in the oracle.
/// All elements of a tensor are bounded together, so none of them is known. Of a matrix two planes are multiplied, hence the
/// margin.
fn lose_squares(lost: &mut [Vec<f64>], look: &Look, case: &Case) {
    for (index, _) in tensors_of(case, |rule| rule.name() == "adafactor") {
        let is_its = |array: &Array| array.name.contains(&format!(" of {},", name(index)));
        let planes = look.arrays.iter().filter(|array| array.what == What::Plane && is_its(array));
        if planes.flat_map(|array| &array.values).any(|v| *v != 0.0 && v.abs() < MOST * EPSILON * EPSILON) {
            let its = look.arrays.iter().zip(&mut *lost).filter(|(array, _)| is_its(array));
            its.for_each(|(_, lost)| lost.fill(f64::INFINITY));
        }
    }
}

/// L1 pulls by a parameter's sign. Where the parameter may lie on either side of 0, nothing is known of its element.
fn lose_sides(lost: &mut [Vec<f64>], bounds: &[Vec<f64>], look: &Look, case: &Case) {
    if !case.has(|modifier| matches!(modifier, Modifier::L1(_))) {
        return;
    }
    let whose = |array: &Array| array.name.split_once(" of ").map(|(_, whose)| whose.to_string());
    let params = look.arrays.iter().zip(bounds).filter(|(array, _)| array.what == What::Params);
    for (params, bounds) in params {
        // A parameter that is 0 in all engines has no bound beyond the smallest one of each step.
        let unsure = |(x, bound): (&f64, &f64)| *bound > MOST * TINY && x.abs() <= *bound;
        let unsure: Vec<bool> = params.values.iter().zip(bounds).map(unsure).collect();
        let its = look.arrays.iter().zip(&mut *lost).filter(|(array, _)| whose(array) == whose(params));
        for (_, lost) in its {
            lost.iter_mut().zip(&unsure).filter(|(_, unsure)| **unsure).for_each(|(lost, _)| *lost = f64::INFINITY);
        }
    }
}

/// A centered rule divides by the root of q − a², whose rounding is one of q. Everything but q and a becomes less exact by the
/// ratio of q to the difference, and has no bound if most digits are lost. In a momentum, lost digits stay lost. If the
/// parameters are part of the gradient, as with a coupled decay, q and a lose digits too.
fn lose_digits(lost: &mut [Vec<f64>], look: &Look, case: &Case) {
    let text = case.to_string();
    let back = ["weight_decay", "WeightDecay", "L1"].iter().any(|name| text.contains(name));
    let of = |plane: &str, whose: &str| look.arrays.iter().find(|array| array.name == format!("{plane} of {whose}"));
    for (array, lost) in look.arrays.iter().zip(lost) {
        let Some((what, whose)) = array.name.split_once(" of ") else { continue };
        let Some((q, a)) = of("q", whose).zip(of("a", whose)) else { continue };
        for ((q, a), lost) in q.values.iter().zip(&a.values).zip(lost).filter(|_| back || what != "q" && what != "a") {
            let worse = q / (q - a * a);
            *lost = if *q == 0.0 || (0.0..MOST).contains(&worse) { lost.max(worse) } else { f64::INFINITY };
        }
    }
}

/// A value that is finite in the oracle may be infinite in single precision, which a diverging run leaves sooner. From there on
/// there is no bound.
fn leave_range(lost: &mut [Vec<f64>], look: &Look) {
    let values =
        look.arrays.iter().filter(|array| matches!(array.what, What::Params | What::Plane)).flat_map(|array| &array.values);
    if values.filter(|x| x.is_finite()).any(|&x| (x as f32).is_infinite()) {
        lost.iter_mut().flatten().for_each(|lost| *lost = f64::INFINITY);
    }
}

/// The factor by which Muon's polynomial enlarges a singular value that is nearly 0: its first coefficient to the fifth power.
const RAISED: f64 = 485.0;

/// The rows of a centred matrix sum to 0. If rows are no longer than columns, one singular value is 0, and Muon enlarges the
/// rounding error that is left of it.
fn lose_directions(lost: &mut [Vec<f64>], look: &Look, case: &Case) {
    if !case.has(|modifier| matches!(modifier, Modifier::Centralise)) {
        return;
    }
    let raised = |tensor: &Tensor| matches!(tensor.shape[..], [rows, columns] if columns <= rows);
    let orthogonal = tensors_of(case, |rule| rule.orthogonal().is_some());
    for (index, _) in orthogonal.filter(|(_, tensor)| raised(tensor)) {
        let whose = format!(" of {},", name(index));
        let own =
            look.arrays.iter().zip(&mut *lost).filter(|(array, _)| array.what == What::Params && array.name.contains(&whose));
        own.for_each(|(_, lost)| lost.iter_mut().for_each(|lost| *lost = lost.max(RAISED)));
    }
}

/// Whether a gradient of finite elements may become infinite on its way into a step.
fn sums_overflow(case: &Case) -> bool {
    case.has(|modifier| matches!(modifier, Modifier::Accumulate(_) | Modifier::GradScale(_) | Modifier::LossScale(_)))
}

fn near_oracle<H: Home>(case: &Case, home: &H, engines: &Engines, tally: &mut Tally) -> Result<(), String> {
    // A moment at the edge between two values of 16 bits is rounded up in one engine and down in the other, which is 2^16 times
    // more than single precision differs by. `storage` compares with the oracle; all relations of bits hold.
    if case.has(|modifier| *modifier == Modifier::HalfState) {
        return Ok(());
    }
    let expected = expected(case, &engines.oracle)?;
    let found = run(case, home)?;
    for (at, (found, (expected, bounds))) in found.iter().zip(&expected).enumerate() {
        let at = format!("look {at}");
        let failing = |look: &Look| {
            let mut failing: Vec<usize> = look.errors.iter().map(|(index, _)| *index).collect();
            failing.dedup();
            failing
        };
        if failing(found) != failing(expected) {
            return Err(format!("{at}: errors {:?}, the oracle's {:?}", found.errors, expected.errors));
        }
        for ((found, expected), bounds) in found.arrays.iter().zip(&expected.arrays).zip(bounds) {
            let says_nothing = match found.what {
                What::Half => true,
                What::Count => case.is_extreme() && sums_overflow(case),
                What::Params | What::Plane | What::Scalar => case.is_extreme(),
            };
            if says_nothing {
                continue;
            }
            near(found, expected, bounds, tally).map_err(|error| format!("{at}, {error}"))?;
        }
    }
    Ok(())
}

fn near(found: &Array, expected: &Array, bounds: &[f64], tally: &mut Tally) -> Result<(), String> {
    if found.name != expected.name || found.values.len() != expected.values.len() {
        return Err(format!("{} ({} values) beside {}", found.name, found.values.len(), expected.name));
    }
    for (i, ((found_x, x), bound)) in found.values.iter().zip(&expected.values).zip(bounds).enumerate() {
        let holds = if !x.is_finite() {
            !found_x.is_finite()
        } else if !bound.is_finite() {
            tally.unbounded += 1;
            continue;
        } else {
            (found_x - x).abs() <= *bound
        };
        tally.bounded += 1;
        if !holds {
            return Err(format!("{}, element {i}: found {found_x:e}, expected {x:e}, bound {bound:e}", found.name));
        }
    }
    Ok(())
}

/// Equal bits, where NaN is NaN.
fn same(found: &[&Array], expected: &[&Array]) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("{} arrays, {} expected", found.len(), expected.len()));
    }
    for (found, expected) in found.iter().zip(expected) {
        let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        let first = found.values.iter().zip(&expected.values).position(|pair| !same(pair));
        if let Some(i) = first {
            let (a, b) = (found.values[i], expected.values[i]);
            return Err(format!("{}, element {i}: found {a:e}, expected {b:e}", found.name));
        }
        if found.values.len() != expected.values.len() {
            return Err(format!("{}: {} values beside {}", found.name, found.values.len(), expected.values.len()));
        }
    }
    Ok(())
}

/// Compares what two runs read: `pick` selects the arrays of the first.
fn same_looks(found: &[Look], expected: &[Look], pick: impl Fn(&Array) -> bool) -> Result<(), String> {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let found: Vec<&Array> = found.arrays.iter().filter(|array| pick(array)).collect();
        let kept: Vec<&Array> = expected
            .arrays
            .iter()
            .filter(|array| !array.name.starts_with("eval") || found.len() == expected.arrays.len())
            .collect();
        same(&found, &kept).map_err(|error| format!("look {at}, {error}"))?;
    }
    Ok(())
}

fn refused(looks: &[Look]) -> bool {
    looks.iter().any(|look| !look.errors.is_empty())
}

/// The last lane has the bits of a model alone.
fn alone<H: Home>(case: &Case, home: &H) -> Result<(), String> {
    if case.lanes < 2 {
        return Ok(());
    }
    let lane = case.lanes - 1;
    let (all, alone) = (run(case, home)?, run(&case.alone(lane), home)?);
    // An error in one lane stops the steps of all lanes.
    if refused(&all) || refused(&alone) {
        return Ok(());
    }
    same_looks(&all, &alone, |array| array.name.ends_with(&format!("lane {lane}")))
}

/// The results in another home are the same, errors included.
fn in_both<A: Home, B: Home>(case: &Case, own: &A, other: &B) -> Result<(), String> {
    let (own, other) = (run(case, own)?, run(case, other)?);
    if refused(&own) {
        return Ok(());
    }
    same_looks(&other, &own, |_| true)
}

/// Many steps at once have the bits of single ones.
fn one_by_one<H: Home>(case: &Case, home: &H) -> Result<(), String> {
    let single = case.one_by_one();
    if single == *case {
        return Ok(());
    }
    let (many, single) = (run(case, home)?, run(&single, home)?);
    if refused(&many) || refused(&single) {
        return Ok(());
    }
    same_looks(&many, &single, |_| true)
}

/// A run that goes on from snapshots has the bits of one that is not interrupted.
fn restored<H: Home>(case: &Case, home: &H) -> Result<(), String> {
    let (whole, interrupted) = (run(case, home)?, run(&case.interrupted(), home)?);
    if refused(&whole) {
        return Ok(());
    }
    if let Some((at, error)) = interrupted.iter().flat_map(|look| &look.errors).next() {
        return Err(format!("operation {at} of the interrupted run: {error}"));
    }
    same_looks(&interrupted, &whole, |_| true)
}
