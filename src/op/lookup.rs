use crate::error::Result;
use crate::plan::{BoundsChecks, Dispatch, Kind, Layout, Operands, Operation, Use, View, Views};
use crate::rule::Real;

/// Rows of a table by number: `out[r, :] = table[rows[r], :]`. A number beyond the table, such as [`NONE`](crate::plan::NONE),
/// gives zeros.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The table: any number of rows.
    pub table: View,
    /// Row numbers.
    pub rows: View,
    /// As many rows as there are numbers.
    pub out: View,
    /// Elements per row, at least 1.
    pub width: usize,
}

impl Operation for Lookup {
    const NAME: &'static str = "lookup";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.at_least("width", self.width, 1);
        o.read("table", self.table, self.table.len);
        o.indices("rows", self.rows, self.rows.len);
        o.write("out", self.out, Operands::product(&[self.rows.len, self.width]));
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        let dispatch = Dispatch::new("lookup", include_str!("../../shaders/op/lookup.wgsl")).size("width", self.width);
        let dispatch = dispatch.size("table_rows", self.table.len / self.width.max(1)).size("len", self.out.len);
        vec![dispatch.elements(self.out.len, 64)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let [table, rows, out] = views.all()?;
        let table = table.floats()?;
        for (&row, out) in rows.indices()?.iter().zip(out.floats_mut()?.chunks_exact_mut(self.width)) {
            match table.chunks_exact(self.width).nth(row as usize) {
                Some(row) => out.copy_from_slice(row),
                None => out.fill(F::zero()),
            }
        }
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let mut case = |rows, width| {
            let [table, out] = [5 * width, rows * width].map(|len| layout.floats("lookup", len)).map(|id| layout.whole(id));
            let rows = layout.indices("rows", rows);
            Self { table, rows: layout.whole(rows), out, width }
        };
        [(0, 3), (1, 1), (7, 5), (65, 33)].into_iter().map(|(rows, width)| case(rows, width)).collect()
    }
}

/// The gradient of [`Lookup`]: `table[v, :] = Σ_{r: rows[r] = v} x[r, :]`, added in the order of r. Numbers beyond the table
/// count for nothing.
#[derive(Debug, Clone)]
pub struct ScatterAdd {
    /// As many rows as there are numbers.
    pub x: View,
    /// Row numbers, at most 32,767.
    pub rows: View,
    /// The sums; rows that no number names are 0.
    pub table: View,
    /// Elements per row, at least 1.
    pub width: usize,
    /// A row that gets nothing.
    pub skip: Option<u32>,
}

impl ScatterAdd {
    /// Rows of the table.
    fn table_rows(&self) -> usize {
        self.table.len / self.width.max(1)
    }
}

impl Operation for ScatterAdd {
    const NAME: &'static str = "scatter_add";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.at_least("width", self.width, 1);
        o.read("x", self.x, Operands::product(&[self.rows.len, self.width]));
        o.indices("rows", self.rows, self.rows.len);
        o.declare("table", self.table, Kind::Float, Use::Write, self.table.len);
    }

    /// Zeros first. Then a thread per element of the rows whose number comes up for the first time; it adds those that follow.
    fn dispatches(&self) -> Vec<Dispatch> {
        let text = include_str!("../../shaders/op/scatter_add.wgsl");
        let stage = |entry, len: usize| {
            let dispatch =
                Dispatch::new(entry, text).size("width", self.width).size("rows_len", self.rows.len).size("len", len);
            let dispatch = dispatch.size("skip", self.skip.map_or(u32::MAX as usize, |skip| skip as usize));
            dispatch.size("table_rows", self.table_rows()).elements(len, 64)
        };
        vec![stage("zeros", self.table.len), stage("scatter_add", self.x.len).trips(2 * self.rows.len)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let [x, rows, table] = views.all()?;
        let table = table.floats_mut()?;
        table.fill(F::zero());
        for (&row, x) in rows.indices()?.iter().zip(x.floats()?.chunks_exact(self.width)) {
            let named = (row as usize) < self.table_rows() && Some(row) != self.skip;
            if named {
                let sums = &mut table[row as usize * self.width..][..self.width];
                sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
            }
        }
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let mut case = |rows, width, skip| {
            let [table, x] = [5 * width, rows * width].map(|len| layout.floats("scatter", len)).map(|id| layout.whole(id));
            let rows = layout.indices("rows", rows);
            Self { x, rows: layout.whole(rows), table, width, skip }
        };
        vec![case(0, 3, None), case(1, 1, None), case(7, 5, Some(2)), case(65, 33, None)]
    }
}
