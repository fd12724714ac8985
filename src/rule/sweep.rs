//! A rule over slices: the loop that the compiler turns into vector code.

use super::bf16::{self, Noise, PART};
use super::{Floats, HyperRow, Real, Rounding, Rule, any::own};

/// The most planes a rule may have.
pub(super) const MAX_PLANES: usize = 4;

/// Elements per block. Planes that the settings do not use are replaced by a scratch block, which stays in L1.
const BLOCK: usize = 1024;

/// One step of `rule` over `x`, with the widest vector instructions of this processor.
pub(super) fn sweep<R: Rule, F: Real>(rule: &R, row: &[F], x: &mut [F], g: &[F], planes: &mut [&mut [F]]) {
    assert_eq!(x.len(), g.len(), "gradients as long as parameters");
    assert!(planes.iter().all(|plane| plane.len() == x.len()), "planes as long as parameters");
    let mut slots = [None; MAX_PLANES];
    for (slot, plane) in (0..R::STATE.len()).filter(|&plane| rule.uses(plane)).enumerate() {
        slots[plane] = Some(slot);
    }
    let step = Step::new(rule, row);
    if has_terms(row) {
        pulp::Arch::new().dispatch(Sweep::<_, _, true> { step, x, g, planes, slots });
    } else {
        pulp::Arch::new().dispatch(Sweep::<_, _, false> { step, x, g, planes, slots });
    }
}

/// [`sweep`] with the first planes of the rule in bfloat16, and no others in use. `place` is that of the first element in the
/// order of sums. It is one loop: with planes that are converted before and after, the processor waits for memory meanwhile.
/// False, and nothing is done, where there is a bound or L1: steps with these are not worth as many loops more.
pub(super) fn sweep_bf16<R: Rule>(
    rule: &R,
    row: &[f32],
    x: &mut [f32],
    g: &[f32],
    planes: &mut [&mut [u16]],
    place: usize,
) -> bool {
    assert_eq!(x.len(), g.len(), "gradients as long as parameters");
    assert!(planes.iter().all(|plane| plane.len() == x.len()), "planes as long as parameters");
    if has_terms(row) {
        return false;
    }
    let key = row[HyperRow::NOISE] as u32;
    pulp::Arch::new().dispatch(SweepBf16 { step: Step::new(rule, row), x, g, planes, key, place });
    true
}

/// Whether there is a bound or L1. Most steps have neither, and without them the loop has a third fewer instructions.
fn has_terms<F: Real>(row: &[F]) -> bool {
    let none = row[HyperRow::MAX_VALUE] == F::infinity() && row[HyperRow::L1] == F::zero();
    !none
}

/// [`Rule::eval`] over `x`, in place. It runs once in a while, so the loop is plain.
pub(super) fn eval<R: Rule, F: Real>(rule: &R, x: &mut [F], planes: &[&[F]]) {
    assert!(planes.iter().all(|plane| plane.len() == x.len()), "planes as long as parameters");
    for (i, x) in x.iter_mut().enumerate() {
        let mut used = planes.iter().map(|plane| plane[i]);
        let state = R::State::from_fn(|plane| if rule.uses(plane) { used.next().unwrap_or_default() } else { F::zero() });
        *x = rule.eval(*x, &state);
    }
}

/// A sweep as pulp takes it. A closure would do only if the compiler always inlined it into the function with the vector
/// instructions. It does not, and scalar code is five times slower.
struct Sweep<'a, 'b, R: Rule, F: Real, const TERMS: bool> {
    step: Step<R, F>,
    x: &'a mut [F],
    g: &'a [F],
    planes: &'a mut [&'b mut [F]],
    slots: [Option<usize>; MAX_PLANES],
}

impl<R: Rule, F: Real, const TERMS: bool> pulp::WithSimd for Sweep<'_, '_, R, F, TERMS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Self { step, x, g, planes, slots } = self;
        // Only what is missing is filled: of a small model that would take as long as the step.
        let (mut a_block, mut b_block, mut c_block, mut d_block);
        macro_rules! spare {
            ($block:ident, $plane:literal) => {
                if $plane < R::STATE.len() && slots[$plane].is_none() {
                    $block = [F::zero(); BLOCK];
                    &mut $block[..]
                } else {
                    &mut []
                }
            };
        }
        let mut scratch: [&mut [F]; MAX_PLANES] =
            [spare!(a_block, 0), spare!(b_block, 1), spare!(c_block, 2), spare!(d_block, 3)];
        for start in (0..x.len()).step_by(BLOCK) {
            let range = start..(start + BLOCK).min(x.len());
            let (x, g) = (&mut x[range.clone()], &g[range.clone()]);
            // Used planes come in order, so each is split off the rest.
            let (mut rest, mut spare) = (planes.iter_mut(), scratch.iter_mut());
            let [a, b, c, d] = slots.map(|slot| match (slot, spare.next()) {
                (Some(_), _) => rest.next().map(|plane| &mut plane[range.clone()]).unwrap_or_default(),
                (None, Some(spare)) if !spare.is_empty() => &mut spare[..range.len()],
                _ => &mut [],
            });
            match R::STATE.len() {
                0 => step.none::<TERMS>(x, g),
                1 => step.one::<TERMS>(x, g, a),
                2 => step.two::<TERMS>(x, g, a, b),
                3 => step.three::<TERMS>(x, g, a, b, c),
                _ => step.four::<TERMS>(x, g, a, b, c, d),
            }
        }
    }
}

/// As [`Sweep`], with planes in bfloat16.
struct SweepBf16<'a, 'b, R: Rule> {
    step: Step<R, f32>,
    x: &'a mut [f32],
    g: &'a [f32],
    planes: &'a mut [&'b mut [u16]],
    /// Of the step's random numbers.
    key: u32,
    place: usize,
}

impl<R: Rule> pulp::WithSimd for SweepBf16<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Self { step, x, g, planes, key, place } = self;
        let roundings: [Rounding; MAX_PLANES] = std::array::from_fn(|plane| match plane < R::STATE.len() {
            true => step.rule.rounding(plane).unwrap_or(Rounding::Nearest),
            false => Rounding::Nearest,
        });
        let mut seeds: Seeds = [[0; PART / bf16::BLOCK]; MAX_PLANES];
        for start in (0..x.len()).step_by(PART) {
            let range = start..(start + PART).min(x.len());
            for plane in 0..planes.len().min(MAX_PLANES) {
                if roundings[plane] == Rounding::Stochastic {
                    seeds[plane] = bf16::seeds(Noise { key: [key, plane as u32], place: place + start });
                }
            }
            let (x, g) = (&mut x[range.clone()], &g[range.clone()]);
            match &mut *planes {
                [a] if const { !R::STATE.is_empty() } => step.one_bf16(x, g, &mut a[range], &seeds, roundings),
                [a, b] if const { R::STATE.len() > 1 } => {
                    step.two_bf16(x, g, &mut a[range.clone()], &mut b[range], &seeds, roundings);
                }
                [a, b, c] if const { R::STATE.len() > 2 } => {
                    let (a, b) = (&mut a[range.clone()], &mut b[range.clone()]);
                    step.three_bf16(x, g, a, b, &mut c[range], &seeds, roundings);
                }
                [a, b, c, d] if const { R::STATE.len() > 3 } => {
                    let (a, b, c) = (&mut a[range.clone()], &mut b[range.clone()], &mut c[range.clone()]);
                    step.four_bf16(x, g, a, b, c, &mut d[range], &seeds, roundings);
                }
                _ => step.none::<false>(x, g),
            }
        }
    }
}

/// −1, 0 or 1.
#[inline(always)]
pub(crate) fn sign<F: Real>(x: F) -> F {
    let one = |holds: bool| if holds { F::one() } else { F::zero() };
    one(x > F::zero()) - one(x < F::zero())
}

/// A rule with the scalars of one step. All of it is here, and none behind a reference: so the compiler knows that no store
/// of an element changes it.
struct Step<R: Rule, F: Real> {
    rule: R,
    row: R::Hyper<F>,
    /// What goes with a gradient: scale, L2, decay, bound, L1.
    terms: [F; 5],
}

impl<R: Rule, F: Real> Step<R, F> {
    fn new(rule: &R, row: &[F]) -> Self {
        let terms = [HyperRow::SCALE, HyperRow::L2, HyperRow::DECAY, HyperRow::MAX_VALUE, HyperRow::L1];
        Self { rule: rule.clone(), row: own(row), terms: terms.map(|at| row[at]) }
    }

    /// The new parameter.
    #[inline(always)]
    fn element<const TERMS: bool>(&self, x: F, g: F, state: &mut R::State<F>) -> F {
        let [scale, l2, decay, bound, l1] = self.terms;
        // Comparisons let NaN through, where `min` and `max` would hide it.
        let g = scale * g;
        let g = if TERMS && bound < g { bound } else { g };
        let g = if TERMS && -bound > g { -bound } else { g };
        let d = g + l2 * x;
        let d = if TERMS { d + l1 * sign(x) } else { d };
        self.rule.update(&self.row, decay * x, d, state)
    }
}

/// Blocks from one in work to the one whose memory is asked for.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 12;

/// Asks for the memory of a block further on. With as much arithmetic per element as there is with planes in bfloat16, the
/// processor does not look far enough ahead by itself: where memory is fast, a step takes a seventh longer without.
#[inline(always)]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "there is no other way to ask for memory ahead"))]
fn ask_ahead<T>(blocks: &[[T; bf16::BLOCK]], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let block = blocks.as_ptr().wrapping_add(at + AHEAD).cast::<i8>();
        for line in (0..size_of::<[T; bf16::BLOCK]>()).step_by(64) {
            // SAFETY: it reads and writes nothing, so any address will do, also one behind the end.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(block.wrapping_add(line)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (blocks, at);
}

/// The seeds of a part's blocks, for each plane.
type Seeds = [[u32; PART / bf16::BLOCK]; MAX_PLANES];

/// A method per number of planes: slices that are parameters of their own are known not to overlap, which is what lets the
/// compiler vectorise the loop.
macro_rules! step {
    ($($name:ident($($plane:ident),*);)*) => {
        impl<R: Rule, F: Real> Step<R, F> {
            $(
                #[inline(always)]
                fn $name<const TERMS: bool>(&self, x: &mut [F], g: &[F], $($plane: &mut [F]),*) {
                    let len = x.len();
                    let g = &g[..len];
                    $(let $plane = &mut $plane[..len];)*
                    for i in 0..len {
                        let values: [F; step!(@count $($plane)*)] = [$($plane[i]),*];
                        let mut state = R::State::<F>::from_fn(|plane| values[plane]);
                        x[i] = self.element::<TERMS>(x[i], g[i], &mut state);
                        step!(@store state.as_ref(), i, $($plane)*);
                    }
                }
            )*
        }
    };
    (@bf16 $($name:ident, $block:ident($($plane:ident: $index:literal),*);)*) => {
        impl<R: Rule> Step<R, f32> {
            $(
                /// A part. Its last block may be shorter than others: then what is missing is zeros.
                #[inline(always)]
                #[allow(clippy::too_many_arguments, reason = "slices that are parameters are known not to overlap")]
                fn $name(
                    &self,
                    x: &mut [f32],
                    g: &[f32],
                    $($plane: &mut [u16],)*
                    seeds: &Seeds,
                    roundings: [Rounding; MAX_PLANES],
                ) {
                    const COUNT: usize = step!(@count $($plane)*);
                    // The compiler learns that no further plane is in use, and leaves out what the rule does with it.
                    assert!(R::STATE.len() <= COUNT || !self.rule.uses(COUNT), "no other planes in use");
                    let whole = x.len() / bf16::BLOCK;
                    let (x, last) = x.as_chunks_mut::<{ bf16::BLOCK }>();
                    let (g, last_g) = g.as_chunks::<{ bf16::BLOCK }>();
                    $(let $plane = $plane.as_chunks_mut::<{ bf16::BLOCK }>();)*
                    for at in 0..whole {
                        // A shorter part is the last one: nothing follows.
                        if whole == PART / bf16::BLOCK {
                            ask_ahead(x, at);
                            ask_ahead(g, at);
                            $(ask_ahead($plane.0, at);)*
                        }
                        self.$block(&mut x[at], &g[at], $(&mut $plane.0[at],)* seeds, at, roundings);
                    }
                    let len = last.len();
                    if len > 0 {
                        let (mut block, mut g) = ([0.0; bf16::BLOCK], [0.0; bf16::BLOCK]);
                        block[..len].copy_from_slice(last);
                        g[..len].copy_from_slice(last_g);
                        $(
                            let mut $plane = ($plane.1, [0; bf16::BLOCK]);
                            $plane.1[..len].copy_from_slice($plane.0);
                        )*
                        self.$block(&mut block, &g, $(&mut $plane.1,)* seeds, whole, roundings);
                        last.copy_from_slice(&block[..len]);
                        $($plane.0.copy_from_slice(&$plane.1[..len]);)*
                    }
                }

                /// A block of a part.
                #[inline(always)]
                #[allow(clippy::too_many_arguments, reason = "slices that are parameters are known not to overlap")]
                fn $block(
                    &self,
                    x: &mut [f32; bf16::BLOCK],
                    g: &[f32; bf16::BLOCK],
                    $($plane: &mut [u16; bf16::BLOCK],)*
                    seeds: &Seeds,
                    at: usize,
                    roundings: [Rounding; MAX_PLANES],
                ) {
                    let random: [_; step!(@count $($plane)*)] = std::array::from_fn(|plane| match roundings[plane] {
                        Rounding::Stochastic => bf16::random(seeds[plane][at]),
                        Rounding::Nearest => [0; bf16::BLOCK],
                    });
                    for i in 0..bf16::BLOCK {
                        let values: [f32; step!(@count $($plane)*)] = [$(bf16::loaded($plane[i])),*];
                        let mut state = R::State::<f32>::from_fn(|plane| values.get(plane).copied().unwrap_or_default());
                        x[i] = self.element::<false>(x[i], g[i], &mut state);
                        let values = state.as_ref();
                        $(if let Some(&value) = values.get($index) {
                            $plane[i] = bf16::rounded(value, roundings[$index], random[$index][i]);
                        })*
                    }
                }
            )*
        }
    };
    (@store $state:expr, $i:ident,) => {};
    (@store $state:expr, $i:ident, $($plane:ident)+) => {
        let mut values = $state.iter();
        $($plane[$i] = values.next().copied().unwrap_or($plane[$i]);)+
    };
    (@count) => { 0 };
    (@count $first:ident $($rest:ident)*) => { 1 + step!(@count $($rest)*) };
}

step! {
    none();
    one(a);
    two(a, b);
    three(a, b, c);
    four(a, b, c, d);
}

step! { @bf16
    one_bf16, one_block(a: 0);
    two_bf16, two_block(a: 0, b: 1);
    three_bf16, three_block(a: 0, b: 1, c: 2);
    four_bf16, four_block(a: 0, b: 1, c: 2, d: 3);
}
