//! A tape of operations on values, each of which knows its gradient.

mod apart;
mod backward;
mod graph;
mod images;
mod look;
mod ops;
mod record;
mod recurrent;
mod slots;
mod together;

use crate::error::{Error, Result};
use crate::nn::Model;
use crate::nn::init::Init;
use crate::nn::summary::Line;
use crate::op::Source;
use crate::plan::{Arena, View};
pub(crate) use apart::Apart;
use graph::{Graph, Maker, Node, Tensor};
pub(crate) use look::Look;
pub use record::{Places, Recorded};
pub(in crate::nn) use recurrent::Recurring;
pub use slots::Slots;
use std::cell::RefCell;
use std::rc::Rc;

/// Operations recorded on values. What is recorded becomes part of a plan by [`Tape::record`].
///
/// A mistake in shapes is kept, named after the layer in which it was made; [`Tape::check`] and [`Tape::record`] return the
/// first one. Lanes are not a dimension of a value: everything is computed for each lane.
///
/// # Examples
///
/// The gradient of Σ (x·w)² by w:
///
/// ```
/// use thalweg::cpu::Cpu;
/// use thalweg::nn::{Init, Places, Slots, Tape};
/// use thalweg::plan::{Blueprint, Engine, Layout, Plan, PlanId, Program};
///
/// let mut tape = Tape::training();
/// let x = tape.constant(&[1, 2], 3.0);
/// let w = tape.parameter("w", &[2, 1], Init::Zeros);
/// let loss = x.matmul(&w).square().sum(&[]);
/// tape.backward(&loss);
///
/// let (mut layout, mut plan, arena) = (Layout::new(1), Plan::default(), tape.arena()?);
/// let (params, grads) = (layout.arena("params", &arena), layout.arena("grads", &arena));
/// let places = Places::new(&arena, params, Some(grads));
/// tape.record(&mut layout, &mut plan, &places, &mut Slots::default(), &[])?;
///
/// let mut program = Cpu::<f64>::default().load(&Blueprint::of(&layout, &[plan]))?;
/// program.write(params, 0, 0, &[1.0, 2.0])?;
/// program.run(PlanId::FIRST, 1)?;
/// assert_eq!(program.read(grads, 0)?[..2], [54.0, 54.0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tape {
    graph: Rc<RefCell<Graph>>,
    training: bool,
}

/// A value on a tape: an array of some shape, per lane. Its operations follow NumPy and PyTorch: shapes are broadcast from the
/// last dimension on.
#[derive(Debug, Clone)]
pub struct Value {
    pub(in crate::nn) graph: Rc<RefCell<Graph>>,
    pub(in crate::nn) look: Look,
}

/// A parameter, or a buffer that is not trained.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Declared {
    /// Its name: that of its layer, a dot, and its own.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its start values.
    pub init: Init,
    tensor: usize,
    /// A row that gets no gradient.
    skip: Option<u32>,
    frozen: bool,
}

impl Declared {
    /// Elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it gets no gradient.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }
}

impl Tape {
    /// A tape for a training step: dropout drops, batch normalisation goes by the batch and moves its running statistics.
    pub fn training() -> Self {
        Self { graph: Rc::default(), training: true }
    }

    /// A tape for evaluation.
    pub fn evaluation() -> Self {
        Self { graph: Rc::default(), training: false }
    }

    /// Whether a training step is recorded.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// Parameters whose names the predicate picks get no gradient. This holds for those that are declared afterwards.
    pub fn freeze(&mut self, names: impl Fn(&str) -> bool + 'static) {
        self.graph.borrow_mut().frozen = Some(Rc::new(names));
    }

    /// Records under a layer's name, which is put before the names of parameters, and appears in errors.
    pub fn named<T>(&mut self, name: &str, record: impl FnOnce(&mut Self) -> T) -> T {
        self.graph.borrow_mut().scope.push(name.into());
        let result = record(self);
        self.graph.borrow_mut().scope.pop();
        result
    }

    /// Records a layer under a name.
    pub fn layer(&mut self, name: &str, layer: &(impl Model + ?Sized), x: &Value) -> Value {
        let count = |tape: &Self| tape.graph.borrow().params.iter().map(Declared::len).sum::<usize>();
        let before = count(self);
        let value = self.named(name, |tape| layer.forward(tape, x));
        let parameters = count(self) - before;
        let mut graph = self.graph.borrow_mut();
        let name = graph.scope.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
        graph.lines.push(Line { name, kind: layer.kind(), shape: value.shape().to_vec(), parameters });
        drop(graph);
        value
    }

    /// The layers that [`Tape::layer`] recorded.
    pub fn lines(&self) -> Vec<Line> {
        self.graph.borrow().lines.clone()
    }

    /// Floating-point operations of all that is recorded: two per multiplication and addition of a product, one per other
    /// function.
    pub fn flops(&self) -> usize {
        self.graph.borrow().nodes.iter().map(Node::flops).sum()
    }

    /// Says which row of a table gets no gradient from [`Tape::lookup`].
    pub fn skip_row(&mut self, table: &Value, row: Option<u32>) {
        let mut graph = self.graph.borrow_mut();
        if let Some(param) = graph.params.iter_mut().find(|param| param.tensor == table.look.tensor) {
            param.skip = row;
        }
    }

    /// A parameter of the current layer. Asking again for the same name returns the same parameter, by which layers share
    /// weights.
    pub fn parameter(&mut self, name: &str, shape: &[usize], init: Init) -> Value {
        self.declared(name, shape, init, Kind::Param)
    }

    /// A parameter that gets no gradient, whatever [`Tape::freeze`] picks, such as the base of an adapter.
    pub fn constant_parameter(&mut self, name: &str, shape: &[usize], init: Init) -> Value {
        let value = self.declared(name, shape, init, Kind::Param);
        let mut graph = self.graph.borrow_mut();
        graph.tensors[value.look.tensor].trained = false;
        if let Some(param) = graph.params.iter_mut().find(|param| param.tensor == value.look.tensor) {
            param.frozen = true;
        }
        drop(graph);
        value
    }

    /// A parameter by its whole name, which an earlier layer declared: tied weights.
    pub fn tied(&mut self, name: &str) -> Value {
        let found =
            self.graph.borrow().params.iter().find(|param| param.name == name).map(|param| (param.tensor, param.shape.clone()));
        match found {
            Some((tensor, shape)) => self.value(Look::whole(tensor, &shape)),
            None => {
                let known: Vec<String> = self.graph.borrow().params.iter().map(|param| param.name.clone()).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                self.fail(Error::unknown("parameter", name, &known))
            }
        }
    }

    /// A parameter that gets no gradient and that all lanes share: the base of adapters, which then takes the memory of one
    /// lane. It is none of [`Tape::parameters`], but of [`Tape::shared`], and lies where [`Places::shared`] says.
    pub fn shared_parameter(&mut self, name: &str, shape: &[usize], init: Init) -> Value {
        self.declared(name, shape, init, Kind::Shared)
    }

    /// Numbers of a layer that are not trained, such as running statistics.
    pub fn buffer(&mut self, name: &str, shape: &[usize], init: Init) -> Value {
        self.declared(name, shape, init, Kind::Buffer)
    }

    fn declared(&mut self, name: &str, shape: &[usize], init: Init, kind: Kind) -> Value {
        let mut graph = self.graph.borrow_mut();
        let name = graph.scope.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
        if let Some(known) = graph.declared(kind).iter().find(|known| known.name == name) {
            let (tensor, found) = (known.tensor, known.shape.clone());
            drop(graph);
            return if found == shape {
                self.value(Look::whole(tensor, shape))
            } else {
                self.fail(Error::shape(name, format!("{found:?}"), format!("{shape:?}")))
            };
        }
        let frozen = kind != Kind::Param || graph.frozen.as_ref().is_some_and(|frozen| frozen(&name));
        let index = graph.declared(kind).len();
        let maker = match kind {
            Kind::Param => Maker::Param(index),
            Kind::Buffer => Maker::Buffer(index),
            Kind::Shared => Maker::Shared(index),
        };
        let tensor = graph.tensor(Tensor::new(shape.iter().product(), maker, !frozen));
        graph.declared(kind).push(Declared { name, shape: shape.to_vec(), init, tensor, skip: None, frozen });
        drop(graph);
        self.value(Look::whole(tensor, shape))
    }

    /// Sets a buffer to a value at the end of the plan, when everything else has read it.
    pub fn assign(&mut self, buffer: &Value, value: &Value) {
        let value = value.contiguous();
        let mut graph = self.graph.borrow_mut();
        graph.assigned.push((buffer.look.tensor, value.look));
    }

    /// A value from floats in a buffer of the layout, of each lane or shared.
    pub fn input(&mut self, view: View, shape: &[usize]) -> Value {
        self.given(view, Source::Floats(view), shape)
    }

    /// A value from indices in a buffer of the layout, which become floats: exact up to 2²⁴ in single precision.
    pub fn indices(&mut self, view: View, shape: &[usize]) -> Value {
        self.given(view, Source::Indices(view), shape)
    }

    fn given(&mut self, view: View, source: Source, shape: &[usize]) -> Value {
        let len = shape.iter().product();
        if view.len != len {
            return self.fail(Error::shape("an input of the tape", format!("{len} elements for shape {shape:?}"), view.len));
        }
        let tensor = self.graph.borrow_mut().tensor(Tensor::new(len, Maker::Given(source), false));
        self.value(Look::whole(tensor, shape))
    }

    /// The same number everywhere.
    pub fn constant(&mut self, shape: &[usize], number: f64) -> Value {
        self.map_of(shape, &[], |_| number.into())
    }

    /// Each element's place along an axis: 0, 1, …
    pub fn places(&mut self, shape: &[usize], axis: usize) -> Value {
        let mut look = self.virtual_look(Maker::Place, shape);
        look.strides = (0..shape.len()).map(|d| usize::from(d == axis)).collect();
        self.value(look)
    }

    /// Random numbers from 0 to below 1. They are others in each step, and others for each call while a model is recorded.
    pub fn uniform(&mut self, shape: &[usize]) -> Value {
        let site = self.graph.borrow().sites;
        self.graph.borrow_mut().sites += 1;
        let look = self.virtual_look(Maker::Uniform(site), shape);
        self.value(look)
    }

    fn virtual_look(&mut self, maker: Maker, shape: &[usize]) -> Look {
        let tensor = self.graph.borrow_mut().tensor(Tensor::new(shape.iter().product(), maker, false));
        Look::whole(tensor, shape)
    }

    /// The first mistake that was made while recording.
    ///
    /// # Errors
    /// That mistake.
    pub fn check(&self) -> Result<()> {
        self.graph.borrow().error.clone().map_or(Ok(()), Err)
    }

    /// The parameters in the order in which they were declared, for an optimizer.
    ///
    /// # Errors
    /// The first mistake of the recording.
    pub fn arena(&self) -> Result<Arena> {
        self.check()?;
        arena_of(&self.graph.borrow().params)
    }

    /// The untrained buffers, laid out as parameters are.
    ///
    /// # Errors
    /// The first mistake of the recording.
    pub fn buffers(&self) -> Result<Arena> {
        self.check()?;
        arena_of(&self.graph.borrow().buffers)
    }

    /// The parameters that lanes share, laid out as others are.
    ///
    /// # Errors
    /// The first mistake of the recording.
    pub fn shared(&self) -> Result<Arena> {
        self.check()?;
        arena_of(&self.graph.borrow().shared)
    }

    /// Start values of the parameters that lanes share, laid out as [`Tape::shared`], by a key.
    ///
    /// # Errors
    /// As for [`Tape::initial`].
    pub fn initial_shared(&self, key: [u32; 2]) -> Result<Vec<f64>> {
        initial_of(&self.shared()?, &self.graph.borrow().shared, key)
    }

    /// The parameters, with shapes and start values.
    pub fn parameters(&self) -> Vec<Declared> {
        self.graph.borrow().params.clone()
    }

    /// Start values of all parameters, laid out as [`Tape::arena`], by a lane's key.
    ///
    /// # Errors
    /// The first mistake of the recording, or an initialisation that does not fit its parameter.
    pub fn initial(&self, key: [u32; 2]) -> Result<Vec<f64>> {
        initial_of(&self.arena()?, &self.graph.borrow().params, key)
    }

    /// Start values of all buffers, laid out as [`Tape::buffers`].
    ///
    /// # Errors
    /// As for [`Tape::initial`].
    pub fn initial_buffers(&self) -> Result<Vec<f64>> {
        initial_of(&self.buffers()?, &self.graph.borrow().buffers, [0, 0])
    }

    /// Whether random numbers are drawn: then [`Places::key`] is needed.
    pub fn is_random(&self) -> bool {
        self.graph.borrow().sites > 0
    }

    pub(in crate::nn) fn value(&self, look: Look) -> Value {
        Value { graph: Rc::clone(&self.graph), look }
    }

    /// Keeps a mistake, and returns a value to go on with.
    pub fn fail(&mut self, error: Error) -> Value {
        Value { graph: Rc::clone(&self.graph), look: graph::failed(&self.graph, error) }
    }
}

/// What a declaration is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Param,
    Buffer,
    Shared,
}

impl Graph {
    fn declared(&mut self, kind: Kind) -> &mut Vec<Declared> {
        match kind {
            Kind::Param => &mut self.params,
            Kind::Buffer => &mut self.buffers,
            Kind::Shared => &mut self.shared,
        }
    }
}

fn arena_of(declared: &[Declared]) -> Result<Arena> {
    let mut arena = Arena::default();
    declared.iter().try_for_each(|tensor| arena.add(&tensor.name, &tensor.shape).map(drop))?;
    Ok(arena)
}

fn initial_of(arena: &Arena, declared: &[Declared], key: [u32; 2]) -> Result<Vec<f64>> {
    let mut values = vec![0.0; arena.len()];
    for tensor in declared {
        let place = arena.tensor(&tensor.name)?;
        tensor.init.fill(&tensor.name, &tensor.shape, key, &mut values[place.offset..place.offset + place.len()])?;
    }
    Ok(values)
}
