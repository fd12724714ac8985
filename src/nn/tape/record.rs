//! From a tape to a plan: which nodes are needed, where their outputs lie, and their operations.

use super::graph::{Graph, Maker, Node, Product};
use super::look::Look;
use super::slots::{Life, Of, Slots, alive};
use super::{Tape, Value};
use crate::error::{Error, Result};
use crate::op::{Copy, Fold, Lookup, Map, MatMul, Place, ScatterAdd, Source};
use crate::plan::{Arena, BufferId, Layout, Plan, View};
use std::collections::BTreeMap;

/// The buffers that a recorded tape reads from and writes to.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// [`Tape::arena`], and the buffer of parameters laid out by it.
    pub params: (&'a Arena, BufferId),
    /// Where gradients go, laid out as the parameters.
    pub grads: Option<BufferId>,
    /// [`Tape::buffers`], and the buffer laid out by it.
    pub buffers: Option<(&'a Arena, BufferId)>,
    /// [`Tape::shared`], and the buffer laid out by it, which all lanes share.
    pub shared: Option<(&'a Arena, BufferId)>,
    /// The key of a step's random numbers: two indices, from a [`StepKey`](crate::op::StepKey).
    pub key: Option<View>,
}

impl<'a> Places<'a> {
    /// Without untrained buffers and random numbers.
    pub fn new(arena: &'a Arena, params: BufferId, grads: Option<BufferId>) -> Self {
        Self { params: (arena, params), grads, buffers: None, shared: None, key: None }
    }
}

/// What a recording consists of.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Operations that were appended to the plan.
    pub operations: usize,
    /// Elements of all slots together, per lane.
    pub slots: usize,
    /// The largest number of elements of intermediate values that are needed at one operation, per lane.
    pub alive: usize,
    /// Elements that values would take if each had memory of its own.
    pub unshared: usize,
}

impl Tape {
    /// Appends to a plan the operations that compute the outputs, the gradients and the buffers that change. Each output is
    /// written to the view beside it; a value that nothing needs is not computed.
    ///
    /// # Errors
    /// The first mistake of the recording; [`Error::Missing`] for a place that is needed; [`Error::Shape`] for an output's view
    /// that does not fit.
    pub fn record(
        &self,
        layout: &mut Layout,
        plan: &mut Plan,
        places: &Places,
        slots: &mut Slots,
        outputs: &[(&Value, View)],
    ) -> Result<Recorded> {
        let (mut graph, mut targets) = self.to_record(places, outputs)?;
        for (tensor, look) in graph.assigned.clone() {
            targets.push((look, graph.place_of_buffer(tensor, places)?));
        }
        graph.record(layout, plan, places, slots, &targets)
    }

    /// What is recorded, with the places of outputs and gradients.
    pub(super) fn to_record(&self, places: &Places, outputs: &[(&Value, View)]) -> Result<(Graph, Vec<(Look, View)>)> {
        self.check()?;
        for (value, view) in outputs {
            if value.len() != view.len {
                return Err(Error::shape("an output of the tape", value.len(), view.len));
            }
        }
        let mut graph = self.graph.borrow().clone_nodes();
        let mut targets: Vec<(Look, View)> = Vec::new();
        for (value, view) in outputs {
            targets.push((graph.in_order(&value.look), *view));
        }
        if let Some(grads) = places.grads {
            for (tensor, grad) in graph.gradients.clone() {
                if let Maker::Param(index) = graph.tensors[tensor].maker {
                    targets.push((grad, places.params.0.tensor(&graph.params[index].name)?.view(grads)));
                }
            }
        }
        Ok((graph, targets))
    }
}

impl Graph {
    /// Appends the operations that compute what is wanted, each into the view beside it.
    pub(super) fn record(
        &mut self,
        layout: &mut Layout,
        plan: &mut Plan,
        places: &Places,
        slots: &mut Slots,
        targets: &[(Look, View)],
    ) -> Result<Recorded> {
        // What is a target itself goes where it belongs.
        let of_target = |tensor: &usize| targets.iter().any(|(look, _)| look.tensor == *tensor);
        let needed = self.needed(targets).into_iter().zip(&self.nodes);
        let free: Vec<bool> = needed.map(|(needed, node)| needed && !node.outputs().iter().any(of_target)).collect();
        self.join_folds(&free);
        let recorder = Recorder { graph: self, places, views: vec![None; self.tensors.len()], scratch: BTreeMap::new() };
        recorder.record(layout, plan, slots, targets)
    }

    /// The place of an untrained buffer.
    pub(super) fn place_of_buffer(&self, tensor: usize, places: &Places) -> Result<View> {
        let Maker::Buffer(index) = self.tensors[tensor].maker else {
            return Err(Error::shape("what is assigned to", "a buffer", "another value"));
        };
        let (arena, buffer) = places.buffers.ok_or_else(|| missing("buffers"))?;
        Ok(arena.tensor(&self.buffers[index].name)?.view(buffer))
    }

    /// A copy of the graph, to which one recording can add operations.
    fn clone_nodes(&self) -> Self {
        Self {
            tensors: self.tensors.clone(),
            nodes: self.nodes.clone(),
            params: self.params.clone(),
            buffers: self.buffers.clone(),
            shared: self.shared.clone(),
            assigned: self.assigned.clone(),
            gradients: self.gradients.clone(),
            ..Self::default()
        }
    }

    /// Which nodes the targets need.
    fn needed(&self, targets: &[(Look, View)]) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        let of = |look: &Look| match self.tensors[look.tensor].maker {
            Maker::Node(node, _) => Some(node),
            _ => None,
        };
        let mut open: Vec<usize> = targets.iter().filter_map(|(look, _)| of(look)).collect();
        while let Some(node) = open.pop() {
            if !needed[node] {
                needed[node] = true;
                open.extend(self.nodes[node].inputs().into_iter().filter_map(of));
            }
        }
        needed
    }

    /// A look at elements that lie in order, by a copy where they do not.
    pub(super) fn in_order(&mut self, look: &Look) -> Look {
        if look.is_contiguous()
            && matches!(
                self.tensors[look.tensor].maker,
                Maker::Node(..) | Maker::Param(_) | Maker::Buffer(_) | Maker::Shared(_)
            )
        {
            return look.clone();
        }
        self.map(&look.shape, vec![look.clone()], crate::op::Expr::input(0))
    }
}

struct Recorder<'a> {
    graph: &'a Graph,
    places: &'a Places<'a>,
    /// Where the outputs of nodes lie.
    views: Vec<Option<View>>,
    /// Scratch memory of nodes.
    scratch: BTreeMap<usize, View>,
}

impl Recorder<'_> {
    fn record(mut self, layout: &mut Layout, plan: &mut Plan, slots: &mut Slots, targets: &[(Look, View)]) -> Result<Recorded> {
        let needed = self.graph.needed(targets);
        let copies = self.pin(&needed, targets);
        let before = plan.ops().len();
        let lives = self.lives(&needed, targets, &copies);
        let (alive, unshared) = alive(&lives);
        let used = self.assign(layout, slots, &lives);
        for (at, node) in self.graph.nodes.iter().enumerate().filter(|(at, _)| needed[*at]) {
            self.operate(at, node, plan)?;
        }
        for &target in &copies {
            let (look, view) = &targets[target];
            plan.operate(Copy { input: self.view(look)?, output: *view });
        }
        Ok(Recorded { operations: plan.ops().len() - before, slots: used, alive, unshared })
    }

    /// Lets nodes write targets to their final places, if nothing else reads them; returns those that have to be copied there.
    fn pin(&mut self, needed: &[bool], targets: &[(Look, View)]) -> Vec<usize> {
        let nodes = || self.graph.nodes.iter().enumerate().filter(|(at, _)| needed[*at]).map(|(_, node)| node);
        let mut read = vec![0; self.graph.tensors.len()];
        nodes().flat_map(Node::inputs).for_each(|look| read[look.tensor] += 1);
        targets.iter().for_each(|(look, _)| read[look.tensor] += 1);
        // The new value of an untrained buffer is copied at the end, when its old one is no longer read.
        let buffers = self.places.buffers.map(|(_, buffer)| buffer);
        let mut copies = Vec::new();
        for (index, (look, view)) in targets.iter().enumerate() {
            let tensor = &self.graph.tensors[look.tensor];
            let alone = match tensor.maker {
                Maker::Node(node, _) => self.graph.nodes[node].outputs().len() == 1,
                _ => false,
            };
            let free = read[look.tensor] == 1 && look.len() == tensor.len && Some(view.buffer) != buffers;
            if alone && free && look.is_contiguous() && !self.reads(look.tensor, view.buffer) {
                self.views[look.tensor] = Some(*view);
            } else {
                copies.push(index);
            }
        }
        copies
    }

    /// Whether the node that makes a tensor reads a buffer that the host has declared.
    fn reads(&self, tensor: usize, buffer: BufferId) -> bool {
        let Maker::Node(node, _) = self.graph.tensors[tensor].maker else { return false };
        self.graph.nodes[node].inputs().iter().any(|look| match self.graph.tensors[look.tensor].maker {
            Maker::Given(Source::Floats(view) | Source::Indices(view)) => view.buffer == buffer,
            Maker::Param(_) => self.places.params.1 == buffer,
            Maker::Buffer(_) => self.places.buffers.is_some_and(|(_, own)| own == buffer),
            _ => false,
        })
    }

    /// For each tensor without a place, its length and the nodes from its own to the last that reads it. Scratch memory lives
    /// through one node.
    fn lives(&self, needed: &[bool], targets: &[(Look, View)], copies: &[usize]) -> Vec<Life> {
        let end = self.graph.nodes.len();
        let nodes = || self.graph.nodes.iter().enumerate().filter(|(at, _)| needed[*at]);
        let mut last_read = vec![None; self.graph.tensors.len()];
        nodes().for_each(|(at, node)| node.inputs().iter().for_each(|look| last_read[look.tensor] = Some(at)));
        copies.iter().for_each(|&copy| last_read[targets[copy].0.tensor] = Some(end));
        let mut lives: Vec<Life> = Vec::new();
        let mut life_of = vec![None; self.graph.tensors.len()];
        for (at, node) in nodes() {
            let own = lives.len();
            for tensor in node.outputs().into_iter().filter(|tensor| self.views[*tensor].is_none()) {
                let last = last_read[tensor].unwrap_or(at);
                life_of[tensor] = Some(lives.len());
                let (of, len) = (Of::Tensor(tensor), self.graph.tensors[tensor].len);
                lives.push(Life { of, len, through: at..last + 1, apart: Vec::new() });
            }
            let scratch = match node {
                Node::Image { op, .. } => op.scratch_len(View { buffer: self.places.params.1, offset: 0, len: 0 }),
                _ => self.fold_of(node).map_or(0, |fold| fold.scratch_len()),
            };
            if scratch > 0 {
                lives.push(Life { of: Of::Scratch(at), len: scratch, through: at..at + 1, apart: Vec::new() });
            }
            let read: Vec<usize> = node.inputs().iter().filter_map(|look| life_of[look.tensor]).collect();
            for written in own..lives.len() {
                for other in read.iter().copied().chain(own..written) {
                    lives[written].apart.push(other);
                    lives[other].apart.push(written);
                }
            }
        }
        lives
    }

    /// Gives memory to each life. Returns the elements of all slots.
    fn assign(&mut self, layout: &mut Layout, slots: &mut Slots, lives: &[Life]) -> usize {
        for (life, view) in lives.iter().zip(slots.assign(layout, lives)) {
            match life.of {
                Of::Tensor(tensor) => self.views[tensor] = Some(view),
                Of::Scratch(node) => drop(self.scratch.insert(node, view)),
            }
        }
        slots.total()
    }

    fn operate(&self, at: usize, node: &Node, plan: &mut Plan) -> Result<()> {
        match node {
            Node::Map { shape, inputs, expr, output, .. } => {
                let looks: Vec<&[usize]> = inputs.iter().map(|look| &look.strides[..]).collect();
                let (shape, strides) = merged(shape, &looks);
                four(&shape)?;
                let map = inputs.iter().zip(&strides).try_fold(Map::new(&shape), |map, (look, strides)| {
                    Ok::<Map, Error>(map.part(self.source(look)?, look.offset, strides))
                })?;
                plan.operate(map.output(self.made(*output)?, expr.clone()));
            }
            Node::Fold { .. } => {
                let Some(fold) = self.fold_of(node) else { return Ok(()) };
                let fold = self.fold(node, fold)?;
                let scratch = self.scratch.get(&at).map(|view| View { len: fold.scratch_len(), ..*view });
                plan.operate(scratch.map_or(fold.clone(), |scratch| fold.scratch(scratch)));
            }
            Node::Product { a, b, sizes, output } => {
                let &Product { batch, m, k, n, trans_a, trans_b } = sizes;
                let product = MatMul::new(self.view(a)?, self.view(b)?, self.made(*output)?, m, k, n);
                plan.operate(product.transposed(trans_a, trans_b).batch(batch));
            }
            Node::Lookup { table, rows, width, output } => {
                let (table, rows, out) = (self.view(table)?, self.view(rows)?, self.made(*output)?);
                plan.operate(Lookup { table, rows, out, width: *width });
            }
            Node::Scatter { x, rows, width, skip, output } => {
                let (x, rows, table) = (self.view(x)?, self.view(rows)?, self.made(*output)?);
                plan.operate(ScatterAdd { x, rows, table, width: *width, skip: *skip });
            }
            Node::Image { op, inputs, outputs } => {
                let reads = inputs.iter().map(|look| self.view(look)).collect::<Result<Vec<View>>>()?;
                let writes = outputs.iter().map(|tensor| self.made(*tensor)).collect::<Result<Vec<View>>>()?;
                op.operate(&reads, &writes, self.scratch.get(&at).copied(), plan);
            }
            Node::Recurrent { op, inputs, outputs } => {
                let reads = inputs.iter().map(|look| self.view(look)).collect::<Result<Vec<View>>>()?;
                let writes = outputs.iter().map(|tensor| self.made(*tensor)).collect::<Result<Vec<View>>>()?;
                op.operate(&reads, &writes, plan)?;
            }
            Node::Beside { parts, rows, columns, output } => {
                let (rows, columns, out) = (*rows, *columns, self.made(*output)?);
                // Parts that cover all columns leave nothing to clear.
                let gaps = parts.iter().map(|(.., width)| width).sum::<usize>() < columns;
                for (index, (look, first, width)) in parts.iter().enumerate() {
                    let (x, first, width, clear) = (self.view(look)?, *first, *width, gaps && index == 0);
                    plan.operate(Place { x, out, rows, width, columns, first, clear });
                }
            }
        }
        Ok(())
    }

    /// A fold without its views, to know how much scratch memory it needs.
    fn fold_of(&self, node: &Node) -> Option<Fold> {
        let Node::Fold { shape, kept, outputs, .. } = node else { return None };
        let nowhere = View { buffer: self.places.params.1, offset: 0, len: 0 };
        let sizes = [shape[..*kept].iter().product(), shape[*kept..].iter().product()];
        let fold = Fold::new(&sizes[..1], &sizes[1..]);
        Some(outputs.iter().fold(fold, |fold, (reduction, expr, tensors)| {
            fold.output(*reduction, &vec![nowhere; tensors.len()], expr.clone())
        }))
    }

    fn fold(&self, node: &Node, unplaced: Fold) -> Result<Fold> {
        let Node::Fold { shape, kept, inputs, outputs, .. } = node else { return Ok(unplaced) };
        let looks: Vec<&[usize]> = inputs.iter().map(|look| &look.strides[..]).collect();
        let [of_kept, of_folded] = [0..*kept, *kept..shape.len()].map(|range| {
            let looks: Vec<&[usize]> = looks.iter().map(|strides| &strides[range.clone()]).collect();
            merged(&shape[range], &looks)
        });
        four(&[&of_kept.0[..], &of_folded.0].concat())?;
        let mut fold = Fold::new(&of_kept.0, &of_folded.0);
        for (index, look) in inputs.iter().enumerate() {
            fold = fold.part(self.source(look)?, look.offset, &[&of_kept.1[index][..], &of_folded.1[index]].concat());
        }
        for (reduction, expr, tensors) in outputs {
            let views = tensors.iter().map(|tensor| self.made(*tensor)).collect::<Result<Vec<View>>>()?;
            fold = fold.output(*reduction, &views, expr.clone());
        }
        Ok(fold)
    }

    /// The view of a node's output.
    fn made(&self, tensor: usize) -> Result<View> {
        self.views[tensor].ok_or_else(|| Error::Missing {
            what: "the tape".into(),
            setting: "a slot".into(),
            example: "Slots".into(),
        })
    }

    /// The view of a whole tensor.
    fn tensor(&self, tensor: usize) -> Result<View> {
        match self.graph.tensors[tensor].maker {
            Maker::Node(..) => self.made(tensor),
            Maker::Param(index) => {
                let (arena, buffer) = self.places.params;
                Ok(arena.tensor(&self.graph.params[index].name)?.view(buffer))
            }
            Maker::Buffer(index) => {
                let (arena, buffer) = self.places.buffers.ok_or_else(|| missing("buffers"))?;
                Ok(arena.tensor(&self.graph.buffers[index].name)?.view(buffer))
            }
            Maker::Shared(index) => {
                let (arena, buffer) = self.places.shared.ok_or_else(|| missing("shared"))?;
                Ok(arena.tensor(&self.graph.shared[index].name)?.view(buffer))
            }
            Maker::Given(Source::Floats(view) | Source::Indices(view)) => Ok(view),
            _ => Err(missing("a value in memory")),
        }
    }

    /// The view of a look whose elements lie one after the other.
    fn view(&self, look: &Look) -> Result<View> {
        let view = self.tensor(look.tensor)?;
        Ok(View { buffer: view.buffer, offset: view.offset + look.offset, len: look.len() })
    }

    fn source(&self, look: &Look) -> Result<Source> {
        Ok(match self.graph.tensors[look.tensor].maker {
            Maker::Place => Source::Place,
            Maker::Uniform(site) => {
                let missing =
                    || Error::Missing { what: "the tape".into(), setting: "a key".into(), example: "Places::key".into() };
                Source::Uniform { key: self.places.key.ok_or_else(missing)?, site }
            }
            Maker::Given(Source::Indices(view)) => Source::Indices(view),
            _ => Source::Floats(self.tensor(look.tensor)?),
        })
    }
}

/// The error where a place is needed that there is not.
fn missing(setting: &str) -> Error {
    Error::Missing { what: "the tape".into(), setting: setting.into(), example: "Places".into() }
}

/// Refuses more dimensions than a kernel has.
pub(super) fn four(shape: &[usize]) -> Result<()> {
    let fits = shape.len() <= 4;
    if fits {
        Ok(())
    } else {
        Err(Error::shape("dimensions that do not lie one after the other", "at most 4", format!("{shape:?}")))
    }
}

/// A shape with its strides, without dimensions of one element. Neighbouring dimensions become one if they lie one after the
/// other in all inputs.
pub(super) fn merged(shape: &[usize], strides: &[&[usize]]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let (mut sizes, mut merged): (Vec<usize>, Vec<Vec<usize>>) = (Vec::new(), vec![Vec::new(); strides.len()]);
    for d in (0..shape.len()).filter(|&d| shape[d] != 1) {
        let goes_on = |(of, strides): (&Vec<usize>, &&[usize])| of.last() == Some(&(strides[d] * shape[d]));
        if !sizes.is_empty() && merged.iter().zip(strides).all(goes_on) {
            let last = sizes.len() - 1;
            sizes[last] *= shape[d];
            merged.iter_mut().zip(strides).for_each(|(of, strides)| of[last] = strides[d]);
        } else {
            sizes.push(shape[d]);
            merged.iter_mut().zip(strides).for_each(|(of, strides)| of.push(strides[d]));
        }
    }
    (sizes, merged)
}
