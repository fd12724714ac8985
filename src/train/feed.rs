//! Data on the device, the order in which rows are taken, and the sums over what was taken.

use super::lanes::Rows;
use super::metrics::Metrics;
use super::task::Columns;
use crate::data::Dataset;
use crate::error::Result;
use crate::op::{Gather, Tally, Tick};
use crate::plan::{Blueprint, BufferId, Kind, Layout, NONE, Plan, Program, Role, Values, View};
use crate::rule::Real;

/// A data set on the device, which lanes share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub features: View,
    pub target: View,
    /// 1 for each row of the data. A place of a batch that holds no row reads 0.
    present: View,
    pub rows: usize,
    pub width: usize,
    pub target_width: usize,
    pub kind: Kind,
}

impl Table {
    pub fn declare(blueprint: &mut Blueprint, what: &str, data: &Dataset) -> Self {
        let layout = blueprint.layout_mut();
        let features = layout.shared_floats(&format!("{what} features"), data.features.len());
        let (target, kind) = if data.is_regression() {
            (layout.shared_floats(&format!("{what} targets"), data.targets.len()), Kind::Float)
        } else {
            (layout.shared_indices(&format!("{what} labels"), data.rows()), Kind::Index)
        };
        let present = layout.shared_floats(&format!("{what} rows"), data.rows());
        let ids = [features, target, present].map(|id| blueprint.mark(id, Role::Data));
        let [features, target, present] = ids.map(|id| blueprint.layout().whole(id));
        let target_width = data.target_width.max(1);
        Self { features, target, present, rows: data.rows(), width: data.width, target_width, kind }
    }

    pub fn upload<P: Program>(&self, program: &mut P, data: &Dataset) -> Result<()> {
        program.write(self.features.buffer, 0, 0, &floats(&data.features))?;
        program.write(self.present.buffer, 0, 0, &vec![P::Float::of(1.0); self.rows])?;
        match self.kind {
            Kind::Index => program.write_indices(self.target.buffer, 0, 0, &data.labels),
            _ => program.write(self.target.buffer, 0, 0, &floats(&data.targets)),
        }
    }
}

/// Numbers in the engine's float type.
pub(super) fn floats<F: Real>(values: &[f32]) -> Vec<F> {
    values.iter().map(|&x| F::of(x.into())).collect()
}

/// Where a batch lies: its features, its targets, and which of its rows hold data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picked {
    pub features: BufferId,
    pub target: BufferId,
    pub present: Option<BufferId>,
}

/// The order in which rows of a table are taken, and the sums over what was taken.
#[derive(Debug)]
pub(super) struct Feed {
    pub table: Table,
    pub picked: Picked,
    order: BufferId,
    clock: BufferId,
    pub tally: BufferId,
    /// The mean of a batch's losses.
    pub mean: View,
    pub columns: Columns,
    /// Rows of a batch, and batches.
    pub batch: usize,
    pub batches: usize,
    /// Whether all lanes take the same rows in the same order.
    shared: bool,
    /// The variance of each lane's targets, by output.
    variances: Vec<Vec<f64>>,
    lanes: usize,
}

/// What a feed is made of.
pub(super) struct Feeding<'a> {
    pub what: &'a str,
    pub table: Table,
    pub batch: usize,
    pub batches: usize,
    pub shared: bool,
    /// Whether batches may have rows that hold no data.
    pub padded: bool,
    pub columns: Columns,
}

impl Feed {
    pub fn declare(blueprint: &mut Blueprint, feeding: Feeding) -> Self {
        let Feeding { what, table, batch, batches, shared, padded, columns } = feeding;
        let lanes = blueprint.layout().lanes();
        let layout = blueprint.layout_mut();
        let mut floats = |name: &str, len| {
            let name = format!("{what} {name}");
            if shared { layout.shared_floats(&name, len) } else { layout.floats(&name, len) }
        };
        let features = floats("batch", batch * table.width);
        let present = padded.then(|| floats("batch rows", batch));
        let of_target = (table.kind != Kind::Index).then(|| floats("batch targets", batch * table.target_width));
        let mut indices = |name: &str, len| {
            let name = format!("{what} {name}");
            if shared { layout.shared_indices(&name, len) } else { layout.indices(&name, len) }
        };
        let target = of_target.unwrap_or_else(|| indices("batch labels", batch));
        let (order, clock) = (indices("order", batch * batches), indices("clock", 1));
        let tally = layout.floats(&format!("{what} tally"), columns.count());
        let mean = layout.floats(&format!("{what} mean"), 1);
        let mean = layout.whole(mean);
        [order, clock, tally].into_iter().for_each(|id| {
            blueprint.mark(id, Role::Data);
        });
        let picked = Picked { features, target, present };
        Self { table, picked, order, clock, tally, mean, columns, batch, batches, shared, variances: Vec::new(), lanes }
    }

    /// Records the picking of a batch, and the move to the next one.
    pub fn pick(&self, plan: &mut Plan) {
        let &Self { table, picked, batch: rows, batches, .. } = self;
        let whole = |buffer, len| View { buffer, offset: 0, len };
        let (order, clock) = (whole(self.order, batches * rows), whole(self.clock, 1));
        let mut gather = |table, out, kind, width| {
            plan.operate(Gather { table, order, clock, out: whole(out, rows * width), kind, width, rows, batches });
        };
        gather(table.features, picked.features, Kind::Float, table.width);
        gather(table.target, picked.target, table.kind, table.target_width);
        if let Some(present) = picked.present {
            gather(table.present, present, Kind::Float, 1);
        }
        plan.operate(Tick { clock });
    }

    /// Where the columns of a batch of so many rows are to be written, and the operation that adds them up.
    pub fn counted(&self, layout: &mut Layout, name: &str, rows: usize) -> (View, Tally) {
        let columns = self.columns.count();
        let terms = layout.floats(&format!("terms of {name}"), rows * columns);
        let terms = layout.whole(terms);
        (terms, Tally { terms, sums: View { buffer: self.tally, offset: 0, len: columns }, mean: self.mean })
    }

    /// Writes which rows each batch takes, in each lane. Places that are left in the last batch hold no rows.
    pub fn write_order<P: Program>(&self, program: &mut P, order: impl Fn(usize) -> Vec<u32>) -> Result<()> {
        let slots = self.batch * self.batches;
        (0..self.copies()).try_for_each(|lane| {
            let mut order = order(lane);
            order.resize(slots, NONE);
            program.write_indices(self.order, lane, 0, &order)
        })
    }

    /// Whether all lanes take the same rows in the same order.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// How many orders there are.
    fn copies(&self) -> usize {
        if self.shared { 1 } else { self.lanes }
    }

    /// Makes the batch of that number the next one.
    pub fn seek<P: Program>(&self, program: &mut P, batch: usize) -> Result<()> {
        (0..self.copies()).try_for_each(|lane| program.write_indices(self.clock, lane, 0, &[batch as u32]))
    }

    /// Goes back to the first batch, and sets all sums to 0.
    pub fn reset<P: Program>(&self, program: &mut P) -> Result<()> {
        self.seek(program, 0)?;
        let zeros = vec![P::Float::of(0.0); self.columns.count()];
        (0..self.lanes).try_for_each(|lane| program.write(self.tally, lane, 0, &zeros))
    }

    /// Computes the variances of each lane's targets.
    pub fn survey<'a>(&mut self, data: &Dataset, rows: impl Iterator<Item = &'a Rows>) {
        self.variances = rows.map(|rows| variances(data, rows)).collect();
    }

    /// What was measured over each lane's `rows` rows since the last reset.
    pub fn metrics<P: Program>(&self, program: &mut P, rows: impl Fn(usize) -> usize) -> Result<Vec<Metrics>> {
        // Reads all lanes with one wait.
        let found = program.read_all(&[self.tally])?;
        let lanes = found.into_iter().flat_map(|values| if let Values::Floats(lanes) = values { lanes } else { Vec::new() });
        let lane = |(lane, sums): (usize, Vec<P::Float>)| {
            let sums: Vec<f64> = sums.into_iter().map(Real::as_f64).collect();
            Metrics::of(self.columns, &sums, rows(lane), &self.variances[lane])
        };
        Ok(lanes.enumerate().map(lane).collect())
    }
}

/// The variance of each output's targets around their mean.
fn variances(data: &Dataset, rows: &Rows) -> Vec<f64> {
    let numbers = if data.is_regression() { rows.numbers() } else { Vec::new() };
    let of = |output: usize| {
        let targets = || numbers.iter().filter_map(|&row| data.target(row as usize)).map(|target| f64::from(target[output]));
        let mean = targets().sum::<f64>() / numbers.len() as f64;
        targets().map(|target| (target - mean).powi(2)).sum::<f64>() / numbers.len() as f64
    };
    (0..data.target_width).map(of).collect()
}
