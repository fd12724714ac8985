//! Data on the device, the order in which rows are taken, and the sums over what was taken.

use super::fitting::check_index_values;
use super::lanes::Rows;
use super::metrics::Metrics;
use super::task::{Columns, Scores};
use crate::data::{Dataset, Scaler};
use crate::error::{Error, Result};
use crate::op::{Gather, Tally, Tick};
use crate::plan::{Blueprint, BufferId, Kind, Layout, NONE, Plan, Program, Role, Values, View};
use crate::rule::Real;

/// A data set on the device, which lanes share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub features: View,
    /// What features are: floats, or indices.
    pub of_features: Kind,
    pub target: View,
    /// How much each row counts, where they do not count the same.
    weights: Option<View>,
    /// 1 for each row: a row that is picked without being there gets 0.
    present: View,
    pub rows: usize,
    pub width: usize,
    pub target_width: usize,
    pub kind: Kind,
    classes: usize,
}

impl Table {
    pub fn declare(blueprint: &mut Blueprint, what: &str, data: &Dataset, indices: bool, weighted: bool) -> Self {
        let layout = blueprint.layout_mut();
        let (name, cells) = (format!("{what} features"), data.features.len());
        let (features, of_features) = match indices {
            true => (layout.shared_indices(&name, cells), Kind::Index),
            false => (layout.shared_floats(&name, cells), Kind::Float),
        };
        let weights = weighted.then(|| layout.shared_floats(&format!("{what} weights"), data.rows()));
        let (target, kind) = if data.is_regression() {
            (layout.shared_floats(&format!("{what} targets"), data.targets.len()), Kind::Float)
        } else {
            (layout.shared_indices(&format!("{what} labels"), data.rows()), Kind::Index)
        };
        let present = layout.shared_floats(&format!("{what} rows"), data.rows());
        let ids = [features, target, present].map(|id| blueprint.mark(id, Role::Data));
        let [features, target, present] = ids.map(|id| blueprint.layout().whole(id));
        let weights = weights.map(|id| blueprint.mark(id, Role::Data)).map(|id| blueprint.layout().whole(id));
        let (rows, width, target_width) = (data.rows(), data.width, data.target_width.max(1));
        Self { features, of_features, target, weights, present, rows, width, target_width, kind, classes: data.classes }
    }

    pub fn upload<P: Program>(&self, program: &mut P, data: &Dataset, weights: Option<&[f32]>) -> Result<()> {
        self.write(program, 0, data)?;
        if let (Some(view), Some(weights)) = (self.weights, weights) {
            program.write(view.buffer, 0, 0, &floats(weights))?;
        }
        program.write(self.present.buffer, 0, 0, &vec![P::Float::of(1.0); self.rows])
    }

    /// Writes rows from one of the table's on.
    pub fn write<P: Program>(&self, program: &mut P, first: usize, data: &Dataset) -> Result<()> {
        let cell = first * self.width;
        match self.of_features {
            Kind::Index => program.write_indices(self.features.buffer, 0, cell, &whole(&data.features))?,
            _ => program.write(self.features.buffer, 0, cell, &floats(&data.features))?,
        }
        match self.kind {
            Kind::Index => program.write_indices(self.target.buffer, 0, first, &data.labels),
            _ => program.write(self.target.buffer, 0, first * self.target_width, &floats(&data.targets)),
        }
    }

    /// Whether data can stand in so many rows of the table.
    pub fn check(&self, data: &Dataset, rows: usize) -> Result<()> {
        data.check()?;
        for (what, expected, found) in [
            ("rows of a batch", rows, data.rows()),
            ("features of a batch", self.width, data.width),
            ("numbers to predict of a batch", if self.kind == Kind::Index { 0 } else { self.target_width }, data.target_width),
        ] {
            if expected != found {
                return Err(Error::shape(what, format!("{expected} as in the sample"), found));
            }
        }
        if self.of_features == Kind::Index {
            check_index_values(&data.features, data.width)?;
        }
        match data.labels.iter().find(|&&label| label as usize >= self.classes) {
            Some(label) => Err(Error::setting("label of a batch", label, &format!("below {}, as in the sample", self.classes))),
            None => Ok(()),
        }
    }
}

/// Features that are numbers of rows.
pub(super) fn whole(values: &[f32]) -> Vec<u32> {
    values.iter().map(|&x| x as u32).collect()
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
    pub weights: Option<BufferId>,
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
    units: Units,
    lanes: usize,
}

/// What a feed is made of.
pub(super) struct Feeding<'a> {
    pub what: &'a str,
    pub table: Table,
    pub batch: usize,
    pub batches: usize,
    pub shared: bool,
    /// Whether rows count as much as the table's weights say.
    pub weighted: bool,
    /// Whether batches may have rows that hold no data.
    pub padded: bool,
    pub columns: Columns,
}

impl Feed {
    pub fn declare(blueprint: &mut Blueprint, feeding: Feeding) -> Self {
        let Feeding { what, table, batch, batches, shared, weighted, padded, columns } = feeding;
        let lanes = blueprint.layout().lanes();
        let layout = blueprint.layout_mut();
        let mut floats = |name: &str, len| {
            let name = format!("{what} {name}");
            if shared { layout.shared_floats(&name, len) } else { layout.floats(&name, len) }
        };
        let of_features = (table.of_features != Kind::Index).then(|| floats("batch", batch * table.width));
        let weights = table.weights.filter(|_| weighted).map(|_| floats("batch weights", batch));
        let present = padded.then(|| floats("batch rows", batch));
        let of_target = (table.kind != Kind::Index).then(|| floats("batch targets", batch * table.target_width));
        let mut indices = |name: &str, len| {
            let name = format!("{what} {name}");
            if shared { layout.shared_indices(&name, len) } else { layout.indices(&name, len) }
        };
        let features = of_features.unwrap_or_else(|| indices("batch", batch * table.width));
        let target = of_target.unwrap_or_else(|| indices("batch labels", batch));
        let (order, clock) = (indices("order", batch * batches), indices("clock", 1));
        let tally = layout.floats(&format!("{what} tally"), columns.count());
        let mean = layout.floats(&format!("{what} mean"), 1);
        let mean = layout.whole(mean);
        [order, clock, tally].into_iter().for_each(|id| {
            blueprint.mark(id, Role::Data);
        });
        let picked = Picked { features, target, weights, present };
        Self {
            table,
            picked,
            order,
            clock,
            tally,
            mean,
            columns,
            batch,
            batches,
            shared,
            variances: Vec::new(),
            units: Units::default(),
            lanes,
        }
    }

    /// Records the picking of a batch, and the move to the next one.
    pub fn pick(&self, plan: &mut Plan) {
        let &Self { table, picked, batch: rows, batches, .. } = self;
        let whole = |buffer, len| View { buffer, offset: 0, len };
        let (order, clock) = (whole(self.order, batches * rows), whole(self.clock, 1));
        let mut gather = |table, out, kind, width| {
            plan.operate(Gather { table, order, clock, out: whole(out, rows * width), kind, width, rows, batches });
        };
        gather(table.features, picked.features, table.of_features, table.width);
        gather(table.target, picked.target, table.kind, table.target_width);
        if let (Some(weights), Some(picked)) = (table.weights, picked.weights) {
            gather(weights, picked, Kind::Float, 1);
        }
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

    /// Writes which rows each batch takes, in each lane: `put` does so and returns how many places it has filled. Those that
    /// are left in the last batch hold no rows.
    pub fn write_order<P: Program>(&self, program: &mut P, put: impl Fn(usize, &mut [u32]) -> usize + Sync) -> Result<()> {
        program.fill_indices(self.order, self.copies(), self.batch * self.batches, &|lane, places| {
            let filled = put(lane, places);
            places[filled..].fill(NONE);
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
        // A step that begins an epoch allocates nothing.
        let (zeros, count) = ([P::Float::of(0.0); 64], self.columns.count());
        (0..self.lanes).try_for_each(|lane| {
            let mut starts = (0..count).step_by(zeros.len());
            starts.try_for_each(|at| program.write(self.tally, lane, at, &zeros[..zeros.len().min(count - at)]))
        })
    }

    /// Learns how far the targets of each lane's rows lie apart, and in which units errors are found.
    pub fn survey<'a>(&mut self, data: &Dataset, rows: impl Iterator<Item = &'a Rows>, units: &Units) {
        self.variances = rows.map(|rows| variances(data, rows)).collect();
        self.units = units.clone();
    }

    /// What was measured over each lane's `rows` rows since the last reset.
    pub fn metrics<P: Program>(&self, program: &mut P, rows: impl Fn(usize) -> usize) -> Result<Vec<Metrics>> {
        // Reads all lanes with one wait.
        let found = program.read_all(&[self.tally])?;
        Ok(self.metrics_of(found, rows))
    }

    /// [`Feed::metrics`] of what the sums hold.
    pub fn metrics_of<F: Real>(&self, found: Vec<Values<F>>, rows: impl Fn(usize) -> usize) -> Vec<Metrics> {
        let lanes = found.into_iter().flat_map(|values| if let Values::Floats(lanes) = values { lanes } else { Vec::new() });
        let lane = |(lane, sums): (usize, Vec<F>)| {
            let sums: Vec<f64> = sums.into_iter().map(Real::as_f64).collect();
            let found = self.units.data(self.columns, lane, sums);
            Metrics::of(self.columns, &found, rows(lane), &self.variances[lane])
        };
        lanes.enumerate().map(lane).collect()
    }
}

/// What one of the units of each output is in those of the data, by lane; nothing where they are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Units(Vec<Vec<f64>>);

impl Units {
    /// Those of targets that were scaled, by one scaling for all lanes or one of each.
    pub fn of(scalers: &[Scaler], lanes: usize) -> Self {
        let of = |lane: usize| scalers.get(lane).or(scalers.first()).map(|scaler| scaler.divisor.clone());
        Self((0..lanes).filter_map(of).collect())
    }

    /// Sums of a lane with the squared and the absolute errors of each output in the units of the data.
    fn data(&self, columns: Columns, lane: usize, mut sums: Vec<f64>) -> Vec<f64> {
        let (Some(units), Scores::Numbers { outputs }) = (self.0.get(lane), columns.scores) else { return sums };
        let first = columns.count() - 2 * outputs;
        for (output, unit) in units.iter().enumerate() {
            sums[first + output] *= unit * unit;
            sums[first + outputs + output] *= unit;
        }
        sums
    }
}

/// The variance of each output's targets around their mean.
fn variances(data: &Dataset, rows: &Rows) -> Vec<f64> {
    let numbers: Vec<u32> = if data.is_regression() { rows.numbers().collect() } else { Vec::new() };
    let of = |output: usize| {
        let targets = || numbers.iter().filter_map(|&row| data.target(row as usize)).map(|target| f64::from(target[output]));
        let mean = targets().sum::<f64>() / numbers.len() as f64;
        targets().map(|target| (target - mean).powi(2)).sum::<f64>() / numbers.len() as f64
    };
    (0..data.target_width).map(of).collect()
}
