use crate::plan::{BoundsChecks, Dispatch, Layout, Operands, Operation, View, Views};
use crate::rule::Real;

/// `sum[0] += Σ terms`, in a fixed order.
#[derive(Debug, Clone)]
pub struct Tally {
    /// The terms: floats, any number of them.
    pub terms: View,
    /// One float.
    pub sum: View,
}

impl Operation for Tally {
    const NAME: &'static str = "tally";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.read("terms", self.terms, self.terms.len);
        o.change("sum", self.sum, 1);
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        let len = self.terms.len;
        vec![Dispatch::new("tally", include_str!("../../shaders/op/tally.wgsl")).size("len", len).trips(len.div_ceil(64) + 63)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) {
        let [terms, sum] = views.all();
        sum.floats_mut()[0] += terms.floats().iter().copied().sum::<F>();
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let mut case = |len| {
            let (terms, sums) = (layout.floats("terms", len), layout.floats("sums", 2));
            Self { terms: layout.whole(terms), sum: View { buffer: sums, offset: 1, len: 1 } }
        };
        [0, 1, 63, 64, 65, 1_000].into_iter().map(&mut case).collect()
    }
}
