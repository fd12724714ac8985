use crate::error::Result;
use crate::plan::{BoundsChecks, Dispatch, Layout, Operands, Operation, View, Views};
use crate::rule::Real;

/// `sums[c] += Σ_r terms[c, r]` for each column c, in a fixed order, and the mean of the terms of the first column.
#[derive(Debug, Clone)]
pub struct Tally {
    /// The terms, one column after the other: each as many floats, any number of them.
    pub terms: View,
    /// One float per column.
    pub sums: View,
    /// One float: the mean of the terms of the first column alone, 0 of none.
    pub mean: View,
}

impl Tally {
    /// Terms of a column.
    fn rows(&self) -> usize {
        self.terms.len / self.sums.len.max(1)
    }
}

impl Operation for Tally {
    const NAME: &'static str = "tally";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.at_least("columns", self.sums.len, 1);
        o.read("terms", self.terms, Operands::product(&[self.rows(), self.sums.len]));
        o.change("sums", self.sums, self.sums.len);
        o.write("mean", self.mean, 1);
    }

    /// A workgroup per column.
    fn dispatches(&self) -> Vec<Dispatch> {
        let rows = self.rows();
        let dispatch = Dispatch::new("tally", include_str!("../../shaders/op/tally.wgsl")).size("rows", rows);
        vec![dispatch.size("columns", self.sums.len).elements(self.sums.len, 1).trips(rows.div_ceil(64) + 63)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let [terms, sums, mean] = views.all()?;
        let (terms, mean, rows) = (terms.floats()?, mean.floats_mut()?, self.rows());
        for (column, sum) in sums.floats_mut()?.iter_mut().enumerate() {
            let own = terms[column * rows..][..rows].iter().copied().sum::<F>();
            *sum += own;
            if column == 0 {
                mean[0] = own / F::of(rows.max(1) as f64);
            }
        }
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let mut case = |columns, rows| {
            let terms = layout.floats("terms", columns * rows);
            let (sums, means) = (layout.floats("sums", columns + 1), layout.floats("means", 3));
            let view = |buffer, offset, len| View { buffer, offset, len };
            Self { terms: layout.whole(terms), sums: view(sums, 1, columns), mean: view(means, 2, 1) }
        };
        [(1, 0), (1, 1), (2, 63), (3, 64), (1, 65), (5, 1_000)].map(|(columns, rows)| case(columns, rows)).to_vec()
    }
}
