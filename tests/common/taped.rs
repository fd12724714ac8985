//! A tape with inputs of its own, run on an engine.

use thalweg::Real;
use thalweg::nn::{Places, Recorded, Slots, Tape, Value};
use thalweg::op::StepKey;
use thalweg::plan::{Arena, Blueprint, BufferId, Engine, Layout, Op, Plan, PlanId, Program, View};

/// Inputs of a model: shape and numbers, or whole numbers.
#[derive(Clone)]
pub enum Input {
    Floats(Vec<usize>, Vec<f64>),
    /// Numbers by which no gradient is taken, such as data.
    Data(Vec<usize>, Vec<f64>),
    Indices(Vec<usize>, Vec<u32>),
}

/// The results of a run, per lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// The outputs in order.
    pub outputs: Vec<Vec<f64>>,
    /// By name.
    pub grads: Vec<(String, Vec<f64>)>,
    /// Gradients by the float inputs, in order; empty if an input has none.
    pub of_inputs: Vec<Vec<f64>>,
    /// By name, after the run.
    pub buffers: Vec<(String, Vec<f64>)>,
}

/// A recorded model, its buffers and its inputs.
pub struct Taped {
    layout: Layout,
    plan: Plan,
    pub arena: Arena,
    buffers: Arena,
    ids: [BufferId; 3],
    key: BufferId,
    step: BufferId,
    inputs: Vec<(BufferId, Input)>,
    outputs: Vec<BufferId>,
    of_inputs: Vec<Option<BufferId>>,
    pub recorded: Recorded,
    initial: Vec<f64>,
    initial_buffers: Vec<f64>,
    lanes: usize,
}

/// Records a model over inputs, for so many lanes. It returns outputs, of which the first is the loss if `backward` is asked
/// for.
pub fn record(
    lanes: usize,
    mut tape: Tape,
    inputs: &[Input],
    backward: bool,
    model: impl FnOnce(&mut Tape, &[Value]) -> Vec<Value>,
) -> thalweg::Result<Taped> {
    let mut layout = Layout::new(lanes);
    let mut values = Vec::new();
    let mut declared = Vec::new();
    for input in inputs {
        let (id, value) = match input {
            Input::Floats(shape, numbers) => {
                let id = layout.floats("input", numbers.len());
                (id, tape.input(layout.whole(id), shape).watched())
            }
            Input::Data(shape, numbers) => {
                let id = layout.floats("input", numbers.len());
                (id, tape.input(layout.whole(id), shape))
            }
            Input::Indices(shape, numbers) => {
                let id = layout.indices("input", numbers.len());
                (id, tape.indices(layout.whole(id), shape))
            }
        };
        values.push(value);
        declared.push((id, input.clone()));
    }
    let outputs = model(&mut tape, &values);
    tape.check()?;
    if backward {
        tape.backward(&outputs[0]);
    }
    let (arena, buffers) = (tape.arena()?, tape.buffers()?);
    let ids = [layout.arena("params", &arena), layout.arena("grads", &arena), layout.arena("buffers", &buffers)];
    let [key, step, words] = [2, 1, 2].map(|len| layout.indices("key", len));
    let mut plan = Plan::default();
    let [of_lane, applied, out]: [View; 3] = [key, step, words].map(|id| layout.whole(id));
    plan.operate(StepKey { key: of_lane, step: applied, micro: None, out });
    let grads: Vec<Option<Value>> = values.iter().map(|value| tape.gradient(value)).collect();
    let mut wanted: Vec<(&Value, BufferId)> = Vec::new();
    outputs.iter().for_each(|value| wanted.push((value, layout.floats("output", value.len()))));
    let output_ids = wanted.iter().map(|(_, id)| *id).collect();
    let of_inputs: Vec<Option<BufferId>> =
        grads.iter().map(|grad| grad.as_ref().map(|grad| layout.floats("gradient", grad.len()))).collect();
    grads.iter().zip(&of_inputs).for_each(|(grad, id)| wanted.extend(grad.as_ref().zip(*id)));
    let views: Vec<(&Value, View)> = wanted.iter().map(|(value, id)| (*value, layout.whole(*id))).collect();
    let places = Places {
        params: (&arena, ids[0]),
        grads: Some(ids[1]),
        buffers: Some((&buffers, ids[2])),
        shared: None,
        key: Some(out),
    };
    let recorded = tape.record(&mut layout, &mut plan, &places, &mut Slots::default(), &views)?;
    let (initial, initial_buffers) = (tape.initial([1, 2])?, tape.initial_buffers()?);
    Ok(Taped {
        layout,
        plan,
        ids,
        key,
        step,
        inputs: declared,
        outputs: output_ids,
        of_inputs,
        recorded,
        initial,
        initial_buffers,
        lanes,
        arena,
        buffers,
    })
}

impl Taped {
    /// Products of matrices in the plan.
    pub fn products(&self) -> usize {
        self.plan.ops().iter().filter(|op| matches!(op, Op::Operation(op) if op.operation().name() == "matmul")).count()
    }

    /// Kernels that a GPU runs for the plan.
    pub fn kernels(&self) -> usize {
        let of = |op: &Op| if let Op::Operation(op) = op { op.operation().dispatches().len() } else { 1 };
        self.plan.ops().iter().map(of).sum()
    }

    /// Sets the start values of a parameter.
    pub fn set(&mut self, name: &str, values: &[f64]) {
        let tensor = self.arena.tensor(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(tensor.len(), values.len(), "{name}");
        self.initial[tensor.offset..tensor.offset + values.len()].copy_from_slice(values);
    }

    /// Start values of a parameter.
    pub fn get(&self, name: &str) -> Vec<f64> {
        let tensor = self.arena.tensor(name).unwrap_or_else(|error| panic!("{error}"));
        self.initial[tensor.offset..tensor.offset + tensor.len()].to_vec()
    }

    /// Runs it `times` on an engine, each lane with the same numbers, in the given step.
    pub fn run<E: Engine>(&self, engine: &E, step: u32, times: usize) -> Vec<Results> {
        let mut program = self.load(engine, step);
        program.run(PlanId::FIRST, times).expect("a run");
        (0..self.lanes).map(|lane| self.results(&mut program, lane)).collect()
    }

    /// The recording as the only plan.
    pub fn blueprint(&self) -> Blueprint {
        Blueprint::of(&self.layout, std::slice::from_ref(&self.plan))
    }

    /// A program with its start values, whose only plan is the recording.
    pub fn load<E: Engine>(&self, engine: &E, step: u32) -> E::Program {
        let mut program = engine.load(&self.blueprint()).unwrap_or_else(|error| panic!("{}: {error}", engine.describe()));
        let floats = |values: &[f64]| values.iter().map(|&x| E::Float::of(x)).collect::<Vec<_>>();
        for lane in 0..self.lanes {
            program.write(self.ids[0], lane, 0, &floats(&self.initial)).expect("parameters");
            program.write(self.ids[2], lane, 0, &floats(&self.initial_buffers)).expect("buffers");
            program.write_indices(self.key, lane, 0, &[7, 11]).expect("a key");
            program.write_indices(self.step, lane, 0, &[step]).expect("a step");
            for (id, input) in &self.inputs {
                match input {
                    Input::Floats(_, values) | Input::Data(_, values) => program.write(*id, lane, 0, &floats(values)),
                    Input::Indices(_, values) => program.write_indices(*id, lane, 0, values),
                }
                .expect("an input");
            }
        }
        program
    }

    fn results<P: Program>(&self, program: &mut P, lane: usize) -> Results {
        let mut read =
            |id: BufferId| -> Vec<f64> { program.read(id, lane).expect("values").into_iter().map(Real::as_f64).collect() };
        let (grads, buffers) = (read(self.ids[1]), read(self.ids[2]));
        let named = |arena: &Arena, values: &[f64]| {
            let part = |tensor: &thalweg::plan::Tensor| values[tensor.offset..tensor.offset + tensor.len()].to_vec();
            arena.tensors().iter().map(|tensor| (tensor.name.clone(), part(tensor))).collect()
        };
        Results {
            outputs: self.outputs.iter().map(|id| read(*id)).collect(),
            of_inputs: self.of_inputs.iter().map(|id| id.map_or(Vec::new(), &mut read)).collect(),
            grads: named(&self.arena, &grads),
            buffers: named(&self.buffers, &buffers),
        }
    }
}

/// How far gradients may be from differences. Richardson's rule with steps of 2e-3 leaves an error of their fourth power,
/// 1.6e-11, times derivatives of up to some 10⁴. The rounding of losses adds far less.
pub const BY_DIFFERENCES: f64 = 1e-6;

/// Compares all gradients with differences, on the oracle: relative to the largest gradient of each tensor.
pub fn check_gradients(what: &str, taped: &mut Taped, tolerance: f64) {
    let oracle = thalweg::cpu::Cpu::<f64>::default();
    let found = taped.run(&oracle, 3, 1).swap_remove(0);
    let difference = |taped: &mut Taped, change: &mut dyn FnMut(&mut Taped, f64)| {
        let mut at = |by: f64| {
            change(taped, by);
            let loss = taped.run(&oracle, 3, 1)[0].outputs[0][0];
            change(taped, -by);
            loss
        };
        let mut slope = |h: f64| (at(h) - at(-h)) / (2.0 * h);
        // Richardson's rule leaves an error of fourth order.
        let (coarse, fine) = (slope(2e-3), slope(1e-3));
        (4.0 * fine - coarse) / 3.0
    };
    let compare = |name: &str, found: &[f64], right: &[f64]| {
        let largest = right.iter().fold(1e-3, |largest: f64, x| largest.max(x.abs()));
        for (i, (found, right)) in found.iter().zip(right).enumerate() {
            assert!((found - right).abs() <= tolerance * largest, "{what}, {name}[{i}]: {found}, not {right}");
        }
    };
    for (name, grads) in &found.grads {
        let right: Vec<f64> = (0..grads.len())
            .map(|i| {
                difference(taped, &mut |taped, by| {
                    let mut values = taped.get(name);
                    values[i] += by;
                    taped.set(name, &values);
                })
            })
            .collect();
        compare(name, grads, &right);
    }
    for (index, grads) in found.of_inputs.iter().enumerate() {
        let right: Vec<f64> = (0..grads.len())
            .map(|i| {
                difference(taped, &mut |taped, by| {
                    if let Input::Floats(_, values) = &mut taped.inputs[index].1 {
                        values[i] += by;
                    }
                })
            })
            .collect();
        compare(&format!("input {index}"), grads, &right);
    }
}
