use crate::plan::{BoundsChecks, Dispatch, Layout, Operands, Operation, View, Views};
use crate::rule::Real;

/// `sum[0] += Σ terms`, in a fixed order, and the mean of the terms.
#[derive(Debug, Clone)]
pub struct Tally {
    /// The terms: floats, any number of them.
    pub terms: View,
    /// One float.
    pub sum: View,
    /// One float: the mean of these terms alone, 0 of none.
    pub mean: View,
}

impl Operation for Tally {
    const NAME: &'static str = "tally";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.read("terms", self.terms, self.terms.len);
        o.change("sum", self.sum, 1);
        o.write("mean", self.mean, 1);
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        let len = self.terms.len;
        vec![Dispatch::new("tally", include_str!("../../shaders/op/tally.wgsl")).size("len", len).trips(len.div_ceil(64) + 63)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) {
        let [terms, sum, mean] = views.all();
        let terms = terms.floats();
        let own = terms.iter().copied().sum::<F>();
        sum.floats_mut()[0] += own;
        mean.floats_mut()[0] = own / F::of(terms.len().max(1) as f64);
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let mut case = |len| {
            let (terms, sums, means) = (layout.floats("terms", len), layout.floats("sums", 2), layout.floats("means", 3));
            let one = |buffer, offset| View { buffer, offset, len: 1 };
            Self { terms: layout.whole(terms), sum: one(sums, 1), mean: one(means, 2) }
        };
        [0, 1, 63, 64, 65, 1_000].into_iter().map(&mut case).collect()
    }
}
