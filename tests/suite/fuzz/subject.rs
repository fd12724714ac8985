//! All calls of the library by the fuzz. A case is built and run in one of several homes, and the results must be the same in
//! all of them.

use super::case::{Case, Modifier, Op};
use std::cell::RefCell;
use thalweg::cpu::{Cpu, CpuProgram, Float};
use thalweg::gpu::{BorrowedTensor, Gpu, GpuProgram, Slice};
use thalweg::plan::{Arena, BufferId, Engine, Half, Program, Storage};
use thalweg::{AnyRule, Optimizer, Real, Recipe, Result, set, wgpu};

/// The contents of an array, which decide how exact it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Parameters, or an average of them.
    Params,
    /// The state of a rule.
    Plane,
    /// A norm, a coefficient, a scale.
    Scalar,
    /// Counters.
    Count,
    /// Floats in 16 bits, which are only compared with the parameters.
    Half,
}

/// Values that were read, with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub name: String,
    pub what: What,
    pub values: Vec<f64>,
}

/// Everything that can be read at a moment.
#[derive(Debug, Clone, Default)]
pub struct Look {
    pub arrays: Vec<Array>,
    /// The errors so far, with the operation's index.
    pub errors: Vec<(usize, String)>,
}

/// Where an optimizer has its parameters and gradients, and who computes.
pub trait Home {
    type Program: Program;

    /// A new optimizer.
    fn build(&self, recipe: Recipe, arena: Arena) -> Result<Optimizer<Self::Program>>;

    fn set_params(&self, optimizer: &mut Optimizer<Self::Program>, lane: usize, tensor: usize, values: &[f32]) -> Result<()> {
        optimizer.lane(lane).and_then(|mut lane| lane.set_params(&name(tensor), &floats(values)))
    }

    fn set_grads(&self, optimizer: &mut Optimizer<Self::Program>, lane: usize, tensor: usize, values: &[f32]) -> Result<()> {
        optimizer.lane(lane).and_then(|mut lane| lane.set_grads(&name(tensor), &floats(values)))
    }

    fn params(
        &self,
        optimizer: &mut Optimizer<Self::Program>,
        lane: usize,
        tensor: usize,
    ) -> Result<Vec<<Self::Program as Program>::Float>> {
        optimizer.lane(lane).and_then(|mut lane| lane.params(&name(tensor)))
    }

    /// The parameters to evaluate with, where a home has them.
    fn eval(
        &self,
        optimizer: &mut Optimizer<Self::Program>,
        lane: usize,
        tensor: usize,
    ) -> Option<Result<Vec<<Self::Program as Program>::Float>>> {
        Some(optimizer.lane(lane).and_then(|mut lane| lane.eval_params(&name(tensor))))
    }

    /// Whether the copy in 16 bits has to be that of the parameters.
    fn copies(&self) -> bool {
        true
    }

    fn steps(&self, optimizer: &mut Optimizer<Self::Program>, count: usize) -> Result<()> {
        if count == 1 { optimizer.step() } else { optimizer.steps(count) }
    }

    fn inspected(&self, optimizer: &mut Optimizer<Self::Program>) -> Result<()> {
        optimizer.step_inspected()
    }

    fn accumulate(&self, optimizer: &mut Optimizer<Self::Program>) -> Result<()> {
        optimizer.accumulate()
    }

    fn ascend(&self, optimizer: &mut Optimizer<Self::Program>) -> Result<()> {
        optimizer.ascend()
    }
}

/// In arenas of the optimizer.
pub struct Own<'a, E>(pub &'a E);

impl<E: Engine> Home for Own<'_, E> {
    type Program = E::Program;

    fn build(&self, recipe: Recipe, arena: Arena) -> Result<Optimizer<E::Program>> {
        Optimizer::over(self.0, recipe, arena)
    }
}

/// The oracle with noise: before each step, gradients and parameters change by a small part of themselves, as if they had been
/// rounded.
pub struct Noisy {
    pub engine: Cpu<f64>,
    /// The relative size of the noise, of either sign.
    pub size: f64,
    /// Whether gradients have noise.
    pub grads: bool,
    /// Whether parameters have noise.
    pub params: bool,
    pub rng: RefCell<fastrand::Rng>,
}

impl Noisy {
    fn disturb_grads(&self, optimizer: &mut Optimizer<CpuProgram<f64>>) {
        if self.grads {
            self.disturb(optimizer, optimizer.grads_buffer());
        }
    }

    fn disturb_params(&self, optimizer: &mut Optimizer<CpuProgram<f64>>) {
        if self.params {
            self.disturb(optimizer, optimizer.params_buffer());
        }
    }

    fn disturb(&self, optimizer: &mut Optimizer<CpuProgram<f64>>, buffer: BufferId) {
        let mut rng = self.rng.borrow_mut();
        let mut lane = 0;
        while let Ok(values) = optimizer.program_mut().floats_mut(buffer, lane) {
            // The noise has different sizes, since equal errors would cancel in a difference.
            let mut noise = || self.size * (0.5 + 0.5 * rng.f64()) * if rng.bool() { 1.0 } else { -1.0 };
            values.iter_mut().for_each(|x| *x *= 1.0 + noise());
            lane += 1;
        }
    }
}

impl Home for Noisy {
    type Program = CpuProgram<f64>;

    fn build(&self, recipe: Recipe, arena: Arena) -> Result<Optimizer<Self::Program>> {
        Optimizer::over(&self.engine, recipe, arena)
    }

    /// The noise changes parameters, but not their copy.
    fn copies(&self) -> bool {
        false
    }

    fn steps(&self, optimizer: &mut Optimizer<Self::Program>, count: usize) -> Result<()> {
        for _ in 0..count {
            self.disturb_grads(optimizer);
            self.disturb_params(optimizer);
            optimizer.step()?;
        }
        Ok(())
    }

    fn inspected(&self, optimizer: &mut Optimizer<Self::Program>) -> Result<()> {
        self.steps(optimizer, 1)
    }

    fn accumulate(&self, optimizer: &mut Optimizer<Self::Program>) -> Result<()> {
        self.disturb_grads(optimizer);
        optimizer.accumulate()
    }

    /// The step that follows goes from the parameters as they are here.
    fn ascend(&self, optimizer: &mut Optimizer<Self::Program>) -> Result<()> {
        self.disturb_params(optimizer);
        self.disturb_grads(optimizer);
        optimizer.ascend()
    }
}

/// On borrowed memory, for one step.
pub struct Borrowed<'a, F> {
    pub engine: &'a Cpu<F>,
    memory: RefCell<Memory<F>>,
}

/// Parameters and gradients, lane after lane.
struct Memory<F> {
    tensors: usize,
    params: Vec<Vec<F>>,
    grads: Vec<Vec<F>>,
}

impl<'a, F: Float> Borrowed<'a, F> {
    pub fn new(engine: &'a Cpu<F>) -> Self {
        Self { engine, memory: RefCell::new(Memory { tensors: 0, params: Vec::new(), grads: Vec::new() }) }
    }
}

fn slices<F>(tensors: &mut [Vec<F>]) -> Vec<&mut [F]> {
    tensors.iter_mut().map(Vec::as_mut_slice).collect()
}

impl<F: Float> Home for Borrowed<'_, F> {
    type Program = CpuProgram<F>;

    fn build(&self, recipe: Recipe, arena: Arena) -> Result<Optimizer<Self::Program>> {
        let lens: Vec<usize> = arena.tensors().iter().map(|tensor| tensor.len()).collect();
        let zeros = || lens.repeat(recipe.lanes()).into_iter().map(|len| vec![F::of(0.0); len]).collect();
        *self.memory.borrow_mut() = Memory { tensors: lens.len(), params: zeros(), grads: zeros() };
        Optimizer::over(self.engine, recipe, arena)
    }

    fn set_params(&self, optimizer: &mut Optimizer<Self::Program>, lane: usize, tensor: usize, values: &[f32]) -> Result<()> {
        let memory = &mut *self.memory.borrow_mut();
        memory.params[lane * memory.tensors + tensor] = floats(values);
        // And the buffers that follow them.
        optimizer.lane(lane).and_then(|mut lane| lane.set_params(&name(tensor), &floats(values)))
    }

    fn set_grads(&self, _: &mut Optimizer<Self::Program>, lane: usize, tensor: usize, values: &[f32]) -> Result<()> {
        let memory = &mut *self.memory.borrow_mut();
        memory.grads[lane * memory.tensors + tensor] = floats(values);
        Ok(())
    }

    fn params(&self, _: &mut Optimizer<Self::Program>, lane: usize, tensor: usize) -> Result<Vec<F>> {
        let memory = &*self.memory.borrow();
        Ok(memory.params[lane * memory.tensors + tensor].clone())
    }

    fn eval(&self, _: &mut Optimizer<Self::Program>, _: usize, _: usize) -> Option<Result<Vec<F>>> {
        None
    }

    fn steps(&self, optimizer: &mut Optimizer<Self::Program>, count: usize) -> Result<()> {
        let Memory { params, grads, .. } = &mut *self.memory.borrow_mut();
        (0..count).try_for_each(|_| optimizer.step_over(&mut slices(params), &mut slices(grads)))
    }

    fn inspected(&self, optimizer: &mut Optimizer<Self::Program>) -> Result<()> {
        self.steps(optimizer, 1)
    }

    fn accumulate(&self, optimizer: &mut Optimizer<Self::Program>) -> Result<()> {
        let Memory { params, grads, .. } = &mut *self.memory.borrow_mut();
        optimizer.accumulate_over(&mut slices(params), &mut slices(grads))
    }

    fn ascend(&self, optimizer: &mut Optimizer<Self::Program>) -> Result<()> {
        let Memory { params, grads, .. } = &mut *self.memory.borrow_mut();
        optimizer.ascend_over(&mut slices(params), &mut slices(grads))
    }
}

/// On slices of buffers that the program owns.
pub struct Slices<'a> {
    pub gpu: &'a Gpu,
    /// Whether parameters and gradients lie in one buffer.
    pub together: bool,
    /// Whether steps are recorded into encoders of somebody else's.
    pub encoded: bool,
    /// Whether some recorded steps are dropped before each step.
    pub dropped: bool,
}

impl Slices<'_> {
    fn submit(&self, record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<()>) -> Result<()> {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        record(&mut encoder)?;
        self.gpu.queue().submit([encoder.finish()]);
        Ok(())
    }
}

impl Home for Slices<'_> {
    type Program = GpuProgram;

    fn build(&self, recipe: Recipe, arena: Arena) -> Result<Optimizer<GpuProgram>> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffer = |elements: usize| {
            let descriptor =
                wgpu::BufferDescriptor { label: None, size: 4 * elements as u64, usage, mapped_at_creation: false };
            self.gpu.device().create_buffer(&descriptor)
        };
        // Odd gaps, and for the second buffer the gradients first.
        let all = recipe.lanes() * arena.tensors().iter().map(|tensor| tensor.len() + 3).sum::<usize>() + 8;
        let one = buffer(2 * all);
        let buffers = if self.together { [one.clone(), one] } else { [buffer(all), buffer(all)] };
        let mut at = [1, if self.together { all } else { 5 }];
        let mut slice = |which: usize, len: usize| {
            let slice = Slice { buffer: buffers[which].clone(), offset: 4 * at[which] as u64, len };
            at[which] += len + 1 + len % 3;
            slice
        };
        let mut lane = || {
            let tensors = arena.tensors().iter().map(|tensor| BorrowedTensor {
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
                params: slice(0, tensor.len()),
                grads: slice(1, tensor.len()),
            });
            tensors.collect::<Vec<_>>()
        };
        let lanes: Vec<_> = (0..recipe.lanes()).map(|_| lane()).collect();
        Optimizer::borrowing_lanes(self.gpu, recipe, &lanes)
    }

    fn steps(&self, optimizer: &mut Optimizer<GpuProgram>, count: usize) -> Result<()> {
        if self.dropped {
            let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
            optimizer.encode_step(&mut encoder)?;
            drop(encoder);
            optimizer.forget_recorded()?;
        }
        match self.encoded {
            true => self.submit(|encoder| (0..count).try_for_each(|_| optimizer.encode_step(encoder))),
            false => optimizer.steps(count),
        }
    }

    fn accumulate(&self, optimizer: &mut Optimizer<GpuProgram>) -> Result<()> {
        if self.encoded { self.submit(|encoder| optimizer.encode_accumulate(encoder)) } else { optimizer.accumulate() }
    }

    fn ascend(&self, optimizer: &mut Optimizer<GpuProgram>) -> Result<()> {
        if self.encoded { self.submit(|encoder| optimizer.encode_ascend(encoder)) } else { optimizer.ascend() }
    }
}

fn floats<F: Real>(values: &[f32]) -> Vec<F> {
    values.iter().map(|&x| F::of(f64::from(x))).collect()
}

fn doubles<F: Real>(values: Vec<F>) -> Vec<f64> {
    values.into_iter().map(Real::as_f64).collect()
}

pub fn name(tensor: usize) -> String {
    format!("tensor {tensor}")
}

/// The tensor of a name.
fn number(name: &str) -> Option<usize> {
    name.strip_prefix("tensor ").and_then(|number| number.parse().ok())
}

fn group(index: usize) -> String {
    if index == 0 { "default".into() } else { format!("group {index}") }
}

impl Case {
    /// The rules of each group, lane after lane.
    pub fn own_rules(&self) -> Vec<Box<dyn AnyRule>> {
        let rule = |(part, own): (usize, &Vec<(String, f64)>)| {
            let mut rule = self.rules[part % self.groups].rule();
            for (name, value) in own {
                set(&mut *rule, name, &value.to_string()).unwrap_or_else(|error| panic!("{self}: {error}"));
            }
            rule
        };
        self.own.iter().enumerate().map(rule).collect()
    }

    /// A rule per lane and group. The first group is that of all tensors which no other one takes.
    fn grouped(&self) -> Recipe {
        let rules = self.own_rules();
        let of_group = |group: usize| (0..self.lanes).map(|lane| rules[lane * self.groups + group].clone()).collect::<Vec<_>>();
        (1..self.groups).fold(Recipe::population(of_group(0)), |recipe, index| {
            let of = self.tensors.clone();
            let takes = move |tensor: &thalweg::plan::Tensor| number(&tensor.name).is_some_and(|at| of[at].group == index);
            recipe.group(&group(index), takes, of_group(index))
        })
    }

    fn recipe(&self) -> Recipe {
        let recipe = self.grouped();
        self.modifiers.iter().fold(recipe, |recipe, modifier| match modifier.clone() {
            Modifier::Clip(clip) => recipe.clip(clip),
            Modifier::SkipBad => recipe.skip_bad(),
            Modifier::GradScale(scale) => recipe.grad_scale(scale),
            Modifier::LossScale(rule) => recipe.loss_scale(rule),
            Modifier::L1(l1) => recipe.l1(l1),
            Modifier::WeightDecay(decay) => recipe.weight_decay(decay),
            Modifier::Average(average) => recipe.average(average),
            Modifier::Lookahead(lookahead) => recipe.lookahead(lookahead),
            Modifier::Accumulate(accumulation) => recipe.accumulate(accumulation),
            Modifier::Sam(rho) => recipe.sam(rho),
            Modifier::HalfCopy(half) => recipe.half_copy(half),
            Modifier::HalfState => recipe.state(Storage::Bf16),
            Modifier::ZeroGrads => recipe.zero_grads(),
            Modifier::Cautious => recipe.cautious(),
            Modifier::Centralise => recipe.centralise(),
            Modifier::Inspect => recipe.inspect(),
            Modifier::Schedule(None, setting, schedule) => recipe.schedule(&setting, schedule),
            Modifier::Schedule(Some(at), setting, schedule) => recipe.schedule_group(&group(at), &setting, schedule),
            Modifier::Scale(None, setting, schedule) => recipe.scale(&setting, schedule),
            Modifier::Scale(Some(at), setting, schedule) => recipe.scale_group(&group(at), &setting, schedule),
        })
    }

    fn arena(&self) -> Arena {
        let mut arena = Arena::default();
        for (index, tensor) in self.tensors.iter().enumerate() {
            arena.add(&name(index), &tensor.shape).expect("names that differ");
        }
        arena
    }

    /// The error of a case that is refused.
    pub fn refusal(&self) -> Option<String> {
        Own(&Cpu::<f64>::default()).build(self.recipe(), self.arena()).err().map(|error| error.to_string())
    }

    fn half(&self) -> Option<Half> {
        self.modifiers
            .iter()
            .rev()
            .find_map(|modifier| if let Modifier::HalfCopy(half) = modifier { Some(*half) } else { None })
    }
}

/// A case that is run in a home.
pub struct Subject<'a, H: Home> {
    case: &'a Case,
    home: &'a H,
    optimizer: Optimizer<H::Program>,
    errors: Vec<(usize, String)>,
}

impl<'a, H: Home> Subject<'a, H> {
    pub fn new(case: &'a Case, home: &'a H) -> Result<Self> {
        let optimizer = home.build(case.recipe(), case.arena())?;
        Ok(Self { case, home, optimizer, errors: Vec::new() })
    }

    /// Does the operation of that index. An error is a result like any other.
    pub fn run(&mut self, index: usize) {
        if let Err(error) = self.try_op(&self.case.ops[index]) {
            self.errors.push((index, error.to_string()));
        }
    }

    /// One of several steps; errors are noted once.
    pub fn step(&mut self, index: usize) {
        if let Err(error) = self.home.steps(&mut self.optimizer, 1) {
            self.errors.push((index, error.to_string()));
        }
    }

    fn try_op(&mut self, op: &Op) -> Result<()> {
        let Self { case, home, optimizer, .. } = self;
        match op {
            Op::Grads(lane, values) => {
                for (index, tensor) in case.tensors.iter().enumerate() {
                    home.set_grads(optimizer, *lane, index, &values.of(index, tensor.len()))?;
                }
                Ok(())
            }
            Op::Params(lane, tensor, values) => {
                home.set_params(optimizer, *lane, *tensor, &values.of(*tensor, case.tensors[*tensor].len()))
            }
            Op::Step => home.steps(optimizer, 1),
            Op::Steps(count) => home.steps(optimizer, *count),
            Op::Inspected => home.inspected(optimizer),
            Op::Accumulate => home.accumulate(optimizer),
            Op::Ascend => home.ascend(optimizer),
            Op::Set(lane, at, setting, value) => {
                optimizer.lane(*lane).and_then(|mut lane| lane.set(&group(*at), setting, *value))
            }
            Op::Freeze(lane, at, frozen) => optimizer.lane(*lane).and_then(|mut lane| lane.freeze(&group(*at), *frozen)),
            Op::Rebuild => self.rebuild(),
            Op::Restore => self.restore(),
            Op::Look => Ok(()),
        }
    }

    fn rebuild(&mut self) -> Result<()> {
        let Self { case, home, optimizer, .. } = self;
        let mut kept = Vec::new();
        for lane in 0..case.lanes {
            for tensor in 0..case.tensors.len() {
                kept.push((lane, tensor, home.params(optimizer, lane, tensor)?));
            }
        }
        *optimizer = home.build(case.recipe(), case.arena())?;
        for (lane, tensor, values) in kept {
            let values: Vec<f32> = values.into_iter().map(|x| x.as_f64() as f32).collect();
            home.set_params(optimizer, lane, tensor, &values)?;
        }
        Ok(())
    }

    fn restore(&mut self) -> Result<()> {
        let Self { case, home, optimizer, .. } = self;
        let (state, grads) = (optimizer.state_dict()?, optimizer.grads_buffer());
        let grads = (0..case.lanes).map(|lane| optimizer.program_mut().read(grads, lane)).collect::<Result<Vec<_>>>()?;
        *optimizer = home.build(case.recipe(), case.arena())?;
        optimizer.load_state_dict(&state)?;
        let id = optimizer.grads_buffer();
        (0..case.lanes).try_for_each(|lane| optimizer.program_mut().write(id, lane, 0, &grads[lane]))
    }

    /// Reads everything.
    pub fn look(&mut self) -> Look {
        let mut arrays = Vec::new();
        for lane in 0..self.case.lanes {
            for tensor in 0..self.case.tensors.len() {
                self.look_at(lane, tensor, &mut arrays);
            }
            let report = self.optimizer.lane(lane).expect("a lane").report().expect("a report");
            let mut add = |name: &str, what, values: &[f64]| {
                arrays.push(Array { name: format!("{name} of lane {lane}"), what, values: values.to_vec() });
            };
            let counts = [report.applied, report.skipped, report.frozen, report.clipped, report.bad_in_a_row];
            add("counts (applied, skipped, frozen, clipped, bad in a row)", What::Count, &counts.map(f64::from));
            add("norm, coefficient, loss scale", What::Scalar, &[report.norm, report.coefficient, report.loss_scale]);
        }
        Look { arrays, errors: self.errors.clone() }
    }

    fn look_at(&mut self, lane: usize, tensor: usize, arrays: &mut Vec<Array>) {
        let Self { case, home, optimizer, .. } = self;
        let label = name(tensor);
        let mut add = |what, of: &str, values: Vec<f64>| {
            arrays.push(Array { name: format!("{of} of {label}, lane {lane}"), what, values });
        };
        let params = doubles(home.params(optimizer, lane, tensor).expect("parameters"));
        add(What::Params, "params", params.clone());
        if let Some(eval) = home.eval(optimizer, lane, tensor) {
            add(What::Params, "eval", doubles(eval.expect("parameters to evaluate with")));
        }
        if let Ok(average) = optimizer.lane(lane).and_then(|mut lane| lane.averaged(&label)) {
            add(What::Params, "average", doubles(average));
        }
        let rule = &case.own_rules()[case.tensors[tensor].group];
        let names = rule.planes().into_iter().map(|plane| rule.state_names()[plane]).chain(["row_var", "col_var"]);
        for plane in names {
            if let Ok(state) = optimizer.lane(lane).and_then(|mut lane| lane.state(&label, plane)) {
                add(What::Plane, plane, doubles(state));
            }
        }
        let Some(half) = case.half() else { return };
        let found = optimizer.lane(lane).expect("a lane").half(&label).expect("a copy");
        for (bits, x) in found.iter().zip(&params).filter(|(_, x)| home.copies() && !x.is_nan()) {
            let expected = half.bits(*x as f32);
            assert!(*bits == expected, "copy of {label}, lane {lane}: {bits:#x} beside {x}, whose bits are {expected:#x}");
        }
        add(What::Half, "copy", found.into_iter().map(f64::from).collect());
    }
}
