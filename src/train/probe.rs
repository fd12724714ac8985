//! The first recording of a model, which tells its parameters and outputs.

use super::builder::Settled;
use super::feed::Table;
use super::record::Scaling;
use super::task::{Columns, Task};
use crate::error::{Error, Result};
use crate::nn::{Model, Tape, Value};
use crate::plan::{Arena, Blueprint, BufferId, Kind, Layout, View};

/// The model's output for a batch.
pub(super) fn forward(
    tape: &mut Tape,
    model: &dyn Model,
    (features, kind): (BufferId, Kind),
    [rows, width]: [usize; 2],
    scaling: Option<Scaling>,
) -> Value {
    let view = View { buffer: features, offset: 0, len: rows * width };
    let x = match kind {
        Kind::Index => tape.indices(view, &[rows, width]),
        _ => tape.input(view, &[rows, width]),
    };
    let x = scaling.map_or_else(|| x.clone(), |scaling| scaling.apply(tape, &x));
    model.forward(tape, &x)
}

/// The targets of a batch.
pub(super) fn target(tape: &mut Tape, target: BufferId, table: &Table, rows: usize) -> Value {
    let view = |len| View { buffer: target, offset: 0, len };
    match table.kind {
        Kind::Index => tape.indices(view(rows), &[rows]),
        _ => tape.input(view(rows * table.target_width), &[rows, table.target_width]),
    }
}

/// The first recording, which finds the parameters, the output's shape and the columns for the others.
pub(super) struct Probe {
    pub tape: Tape,
    pub output: Vec<usize>,
    pub columns: Columns,
}

impl Probe {
    pub fn of(
        model: &dyn Model,
        blueprint: &mut Blueprint,
        task: &Task,
        table: &Table,
        rows: usize,
        scaling: Option<Scaling>,
    ) -> Result<Self> {
        // A layout for its batch, which is never loaded.
        let mut apart = Layout::new(blueprint.layout().lanes());
        let features = match table.of_features {
            Kind::Index => apart.shared_indices("features", rows * table.width),
            _ => apart.shared_floats("features", rows * table.width),
        };
        let targets = match table.kind {
            Kind::Index => apart.shared_indices("labels", rows),
            _ => apart.shared_floats("targets", rows * table.target_width),
        };
        let mut tape = Tape::training();
        let output = forward(&mut tape, model, (features, table.of_features), [rows, table.width], scaling);
        tape.check()?;
        if output.shape().first() != Some(&rows) {
            return Err(Error::shape("output of the model", format!("[{rows}, …]"), format!("{:?}", output.shape())));
        }
        let shape = output.shape().to_vec();
        let target = target(&mut tape, targets, table, rows);
        let measured = task.measure(&mut tape, &output, &target, [None, None]);
        Ok(Self { tape, output: shape, columns: measured.columns })
    }
}

/// Where the parameters of the model lie.
pub(super) fn arena(settled: &Settled) -> Result<Arena> {
    let mut blueprint = Blueprint::new(settled.lanes.len());
    let scaling = Scaling::declare(blueprint.layout_mut(), &settled.scalers, "features");
    let table = Table::declare(&mut blueprint, "training", settled.train, settled.indices, settled.weights.is_some());
    Probe::of(settled.model, &mut blueprint, &settled.task, &table, settled.batch.rows, scaling)?.tape.arena()
}
