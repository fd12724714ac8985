//! Recordings whose untrained buffers change in plans of their own, from numbers that lie in memory in between.

use super::graph::{Graph, Maker, Node};
use super::look::{Look, contiguous};
use super::record::{Places, Recorded, four, merged};
use super::slots::Slots;
use super::{Tape, Value};
use crate::error::{Error, Result};
use crate::op::{Copy, Expr, Map, Source};
use crate::plan::{BufferId, Layout, Plan, View};

/// How an untrained buffer changes: an expression of buffers as they were, and of numbers that are computed without them.
struct Change {
    /// The tensor of the buffer.
    tensor: usize,
    shape: Vec<usize>,
    inputs: Vec<Input>,
    expr: Expr,
}

enum Input {
    /// A buffer as it was.
    Old(Look),
    /// Numbers of the batch.
    New(Look),
}

/// Where changes lie between the two plans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Apart {
    /// The numbers that buffers change by: as many floats as [`Tape::changes`] says, or more.
    pub changes: View,
    /// The changed buffers before they are in their place, laid out as [`Tape::buffers`].
    pub moved: BufferId,
}

impl Tape {
    /// How many floats per lane untrained buffers change by.
    ///
    /// # Errors
    /// A buffer that changes by numbers that are computed with changed buffers.
    pub(crate) fn changes(&self) -> Result<usize> {
        let changes = self.graph.borrow().split()?;
        let len = |input: &Input| if let Input::New(look) = input { look.len() } else { 0 };
        Ok(changes.iter().flat_map(|change| &change.inputs).map(len).sum())
    }

    /// [`Tape::record`] in two plans. The first one leaves untrained buffers as they are, and writes what they change by; the
    /// second one changes them by what is there. So numbers of several batches can be computed at several places, and change
    /// the buffers one after the other.
    ///
    /// # Errors
    /// As for [`Tape::record`] and [`Tape::changes`].
    pub(crate) fn record_apart(
        &self,
        layout: &mut Layout,
        [plan, moves]: [&mut Plan; 2],
        places: &Places,
        slots: &mut Slots,
        outputs: &[(&Value, View)],
        apart: Apart,
    ) -> Result<Recorded> {
        let (mut graph, mut targets) = self.to_record(places, outputs)?;
        let (mut copies, mut at) = (Vec::new(), apart.changes.offset);
        for change in graph.split()? {
            let output = graph.place_of_buffer(change.tensor, places)?;
            let mut sources = Vec::new();
            for input in change.inputs {
                sources.push(match input {
                    Input::Old(look) => (graph.place_of_buffer(look.tensor, places)?, look.offset, look.strides),
                    Input::New(look) => {
                        let view = View { offset: at, len: look.len(), ..apart.changes };
                        at += view.len;
                        targets.push((graph.in_order(&look), view));
                        (view, 0, contiguous(&change.shape))
                    }
                });
            }
            let strides: Vec<&[usize]> = sources.iter().map(|(.., strides)| &strides[..]).collect();
            let (shape, strides) = merged(&change.shape, &strides);
            four(&shape)?;
            let parts = sources.iter().zip(&strides);
            let map = parts
                .fold(Map::new(&shape), |map, ((view, offset, _), strides)| map.part(Source::Floats(*view), *offset, strides));
            let input = View { buffer: apart.moved, ..output };
            moves.operate(map.output(input, change.expr));
            copies.push(Copy { input, output });
        }
        // All buffers are read before any changes.
        copies.into_iter().for_each(|copy| moves.operate(copy));
        graph.record(layout, plan, places, slots, &targets)
    }
}

impl Graph {
    /// How each buffer changes that is assigned to.
    fn split(&self) -> Result<Vec<Change>> {
        let changes = self.assigned.iter().map(|&(tensor, ref look)| {
            let new = |look: &Look| !self.depends(look);
            if new(look) {
                let (shape, inputs) = (look.shape.clone(), vec![Input::New(look.clone())]);
                return Ok(Change { tensor, shape, inputs, expr: Expr::input(0) });
            }
            let Maker::Node(node, _) = self.tensors[look.tensor].maker else { return Err(entangled(self, tensor)) };
            let Node::Map { shape, said, .. } = &self.nodes[node] else { return Err(entangled(self, tensor)) };
            let input = |look: &Look| match self.tensors[look.tensor].maker {
                Maker::Buffer(_) => Ok(Input::Old(look.clone())),
                _ if new(look) => Ok(Input::New(look.clone())),
                _ => Err(entangled(self, tensor)),
            };
            let inputs = said.inputs.iter().map(input).collect::<Result<_>>()?;
            let expr = said.exprs.first().cloned().unwrap_or_else(|| 0.0.into());
            Ok(Change { tensor, shape: shape.clone(), inputs, expr })
        });
        changes.collect()
    }

    /// Whether a look is computed with a buffer that changes.
    fn depends(&self, look: &Look) -> bool {
        let mut open = vec![look.tensor];
        let mut seen = vec![false; self.tensors.len()];
        while let Some(tensor) = open.pop() {
            if std::mem::replace(&mut seen[tensor], true) {
                continue;
            }
            if self.assigned.iter().any(|(assigned, _)| *assigned == tensor) {
                return true;
            }
            if let Maker::Node(node, _) = self.tensors[tensor].maker {
                open.extend(self.nodes[node].inputs().into_iter().map(|look| look.tensor));
            }
        }
        false
    }
}

/// The error for a buffer whose change cannot be put off.
fn entangled(graph: &Graph, tensor: usize) -> Error {
    let name = match graph.tensors[tensor].maker {
        Maker::Buffer(index) => graph.buffers[index].name.as_str(),
        _ => "a value",
    };
    let reason = "it changes by numbers that are computed with buffers that change, so its changes cannot be put off";
    Error::conflict(format!("the untrained buffer '{name}'"), "steps that machines share", reason)
}
