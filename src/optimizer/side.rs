//! Updates that are no steps, as rules of their own: they are recorded by this module, and are in no registry.

use crate::rule::{BoundsChecks, Real, Rule};
use crate::settings;

/// Whatever only a registered rule would need.
macro_rules! nameless {
    () => {
        fn lr(&self) -> f64 {
            1.0
        }

        fn hyper(&self, _t: u64) -> [f64; 1] {
            [0.0]
        }
    };
}

settings! {
    /// The sum of micro-batches: x is the sum so far, d the gradient of one. A step leaves it at 0.
    pub struct Sum {}
}

impl Rule for Sum {
    type Hyper<F: Real> = [F; 1];
    type State<F: Real> = [F; 0];
    const NAME: &'static str = "sum";
    const FORMULA: &'static str = "x = x + d";
    const HYPER: &'static [&'static str] = &["none"];
    const STATE: &'static [&'static str] = &[];
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const WGSL: &'static str = "struct Hyper { none: f32 }
struct State { none: f32 }
fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T { return x + d; }";
    nameless!();

    #[inline(always)]
    fn update<F: Real>(&self, _: &[F; 1], x: F, d: F, _: &mut [F; 0]) -> F {
        x + d
    }
}

settings! {
    /// The ascent of sharpness-aware minimisation: parameters are remembered, then go up the gradient.
    pub struct Ascend {}
}

impl Rule for Ascend {
    type Hyper<F: Real> = [F; 1];
    type State<F: Real> = [F; 1];
    const NAME: &'static str = "ascend";
    const FORMULA: &'static str = "before = x;  x = x + d, or x where it stays";
    const HYPER: &'static [&'static str] = &["stays"];
    const STATE: &'static [&'static str] = &["before"];
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;
    const WGSL: &'static str = "struct Hyper { stays: f32 }
struct State { before: T }
fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).before = x;
    return select(x + d, x, h.stays != 0.0);
}";
    nameless!();

    #[inline(always)]
    fn update<F: Real>(&self, &[stays]: &[F; 1], x: F, d: F, [before]: &mut [F; 1]) -> F {
        *before = x;
        if stays != F::zero() { x } else { x + d }
    }
}
