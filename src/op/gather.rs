use crate::error::Result;
use crate::plan::{Dispatch, Kind, Layout, NONE, Operands, Operation, Use, View, Views};
use crate::rule::Real;

/// Picks a batch of rows: `out[r, :] = table[order[(clock mod batches)·rows + r], :]`. An index beyond the table, such as
/// [`NONE`], gives zeros, or [`NONE`] where rows are indices.
///
/// Each lane may have its own order and clock; the table is usually shared. Where the output is shared, everything has to be.
#[derive(Debug, Clone)]
pub struct Gather {
    /// Rows to pick from: any number of them.
    pub table: View,
    /// Row numbers, `batches` × `rows`.
    pub order: View,
    /// The number of the batch: one index.
    pub clock: View,
    /// The picked rows, `rows` × `width`.
    pub out: View,
    /// What table and output hold.
    pub kind: Kind,
    /// Elements per row, at least 1.
    pub width: usize,
    /// Rows per batch.
    pub rows: usize,
    /// Batches in `order`, at least 1.
    pub batches: usize,
}

impl Operation for Gather {
    const NAME: &'static str = "gather";
    const BOUNDS_CHECKS: crate::plan::BoundsChecks = crate::plan::BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.at_least("width", self.width, 1);
        o.at_least("batches", self.batches, 1);
        o.declare("table", self.table, self.kind, Use::Read, self.table.len);
        o.indices("order", self.order, Operands::product(&[self.batches, self.rows]));
        o.indices("clock", self.clock, 1);
        o.declare("out", self.out, self.kind, Use::Write, Operands::product(&[self.rows, self.width]));
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        let fill = if self.kind == Kind::Index { "0xffffffffu" } else { "0.0" };
        let text = format!("const FILL = {fill};\n{}", include_str!("../../shaders/op/gather.wgsl"));
        let sizes = Dispatch::new("gather", text).size("width", self.width).size("rows", self.rows);
        let sizes = sizes.size("batches", self.batches).size("table_rows", self.table.len / self.width);
        vec![sizes.elements(self.out.len, 64)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let [table, order, clock, out] = views.all()?;
        let batch = clock.indices()?[0] as usize % self.batches;
        let order = &order.indices()?[batch * self.rows..][..self.rows];
        match self.kind {
            Kind::Index => pick(order, table.indices()?, out.indices_mut()?, self.width, NONE),
            _ => pick(order, table.floats()?, out.floats_mut()?, self.width, F::zero()),
        }
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let mut cases = Vec::new();
        for (kind, width, rows, batches) in
            [(Kind::Float, 1, 1, 1), (Kind::Float, 5, 7, 3), (Kind::Index, 3, 65, 2), (Kind::Float, 64, 0, 1)]
        {
            let mut declare = |name, len| match kind {
                Kind::Index => layout.indices(name, len),
                _ => layout.floats(name, len),
            };
            let (table, out) = (declare("table", 4 * width), declare("out", rows * width));
            let (order, clock) = (layout.indices("order", batches * rows), layout.indices("clock", 1));
            let [table, order, clock, out] = [table, order, clock, out].map(|id| layout.whole(id));
            cases.push(Self { table, order, clock, out, kind, width, rows, batches });
        }
        cases
    }
}

fn pick<T: Copy>(order: &[u32], table: &[T], out: &mut [T], width: usize, fill: T) {
    for (&index, row) in order.iter().zip(out.chunks_exact_mut(width)) {
        let first = (index as usize).saturating_mul(width);
        match table.get(first..first.saturating_add(width)) {
            Some(picked) => row.copy_from_slice(picked),
            None => row.fill(fill),
        }
    }
}
