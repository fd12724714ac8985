//! A rule over slices: the loop that the compiler turns into vector code.

use super::{Fixed, Real, Row, Rule};

/// The most planes a rule may have.
pub(super) const MAX_PLANES: usize = 4;

/// Elements per block. Blocks are copied into local arrays, which nothing else can alias, so the loop over them becomes vector
/// code whatever the number of planes; 64 is long enough not to be unrolled into scalar code, and small enough to stay in L1.
const BLOCK: usize = 64;

/// One step of `rule` over `x`, with the widest vector instructions of this processor.
pub(super) fn sweep<R: Rule, F: Real>(rule: &R, row: &[F], x: &mut [F], g: &[F], planes: &mut [&mut [F]]) {
    assert_eq!(x.len(), g.len(), "gradients as long as parameters");
    let mut slots = [None; MAX_PLANES];
    for (index, plane) in (0..R::STATE.len()).filter(|&plane| rule.uses(plane)).enumerate() {
        assert_eq!(planes[index].len(), x.len(), "planes as long as parameters");
        slots[plane] = Some(index);
    }
    pulp::Arch::new().dispatch(Sweep { rule, row, x, g, planes, slots });
}

/// A sweep as pulp takes it. A closure would do if the compiler were certain to inline it into the function that has the vector
/// instructions; it is not, and scalar code is five times slower.
struct Sweep<'a, 'b, R, F> {
    rule: &'a R,
    row: &'a [F],
    x: &'a mut [F],
    g: &'a [F],
    planes: &'a mut [&'b mut [F]],
    slots: [Option<usize>; MAX_PLANES],
}

impl<R: Rule, F: Real> pulp::WithSimd for Sweep<'_, '_, R, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Self { rule, row, x, g, planes, slots } = self;
        let mut start = 0;
        while start < x.len() {
            let end = (start + BLOCK).min(x.len());
            block(rule, row, &mut x[start..end], &g[start..end], planes, slots, start);
            start = end;
        }
    }
}

#[inline(always)]
fn block<R: Rule, F: Real>(
    rule: &R,
    row: &[F],
    x: &mut [F],
    g: &[F],
    planes: &mut [&mut [F]],
    slots: [Option<usize>; MAX_PLANES],
    start: usize,
) {
    let (scale, l2, decay) = (row[Row::SCALE], row[Row::L2], row[Row::DECAY]);
    let own = R::Row::<F>::from_fn(|i| row[Row::SHARED.len() + i]);
    let len = x.len();
    let (mut xs, mut gs, mut state) = ([F::zero(); BLOCK], [F::zero(); BLOCK], [[F::zero(); BLOCK]; MAX_PLANES]);
    xs[..len].copy_from_slice(x);
    gs[..len].copy_from_slice(g);
    for plane in 0..R::STATE.len() {
        if let Some(slot) = slots[plane] {
            state[plane][..len].copy_from_slice(&planes[slot][start..start + len]);
        }
    }
    for i in 0..BLOCK {
        let d = scale * gs[i] + l2 * xs[i];
        let mut s = R::State::<F>::from_fn(|plane| state[plane][i]);
        xs[i] = rule.update(&own, decay * xs[i], d, &mut s);
        for plane in 0..R::STATE.len() {
            state[plane][i] = s.as_ref()[plane];
        }
    }
    x.copy_from_slice(&xs[..len]);
    for plane in 0..R::STATE.len() {
        if let Some(slot) = slots[plane] {
            planes[slot][start..start + len].copy_from_slice(&state[plane][..len]);
        }
    }
}
