//! The CPU engine: runs plans over slices, in `f32` (fast) or `f64` (the oracle that every kernel is checked against).
//!
//! Lanes run in parallel, each lane's operations one after the other, so that a small model stays in its core's cache; with
//! fewer lanes than threads the operations themselves are parallel too. Either way the bits are the same.
//!
//! Threads are the crate's own (`pool.rs`). They are as many as the processor runs at a time; the environment variable
//! `THALWEG_THREADS` names another number for the process, [`Cpu::with_threads`] one for an engine.

mod available;
mod borrowed;
mod centralise;
mod combine;
mod control;
mod copy_lanes;
mod dots;
mod factored;
mod factors;
mod gate;
mod join_rows;
mod matmul;
mod norm;
mod operation;
mod orthogonal;
mod pool;
mod share;
mod small;
mod store;
mod update;

use crate::error::Result;
use crate::plan::{
    Answer, Arena, Blueprint, Buffer, BufferId, CopyLanes, Engine, Kind, Layout, Machine, Need, Op, Operated, Plan, PlanId,
    Program, Reading, Scope, Tag, Values, check_even, check_memory, check_plans, copied,
};
pub use available::available_memory;
use borrowed::Borrowed;
pub use matmul::Float;
use share::Threads;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::LazyLock;
use store::Store;

/// The CPU engine over floats of type `F`.
///
/// # Examples
///
/// ```
/// use thalweg::{cpu::Cpu, plan::Engine};
///
/// assert!(Cpu::<f32>::default().describe().starts_with("CPU, f32"));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu<F = f32> {
    threads: Option<NonZeroUsize>,
    /// Bytes that a program may take.
    bound: Option<u64>,
    float: PhantomData<F>,
}

impl<F> Cpu<F> {
    /// An engine whose programs run on this many threads at most, the caller's among them. 1: on the caller's alone. 0: the
    /// default.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{cpu::Cpu, plan::Engine};
    ///
    /// assert!(Cpu::<f32>::with_threads(3).describe().contains("3 threads"));
    /// ```
    pub fn with_threads(threads: usize) -> Self {
        Self { threads: NonZeroUsize::new(threads), bound: None, float: PhantomData }
    }

    /// The engine with programs whose buffers take at most so many bytes. Default: one lane may take what the system gives, and
    /// a population what [`available_memory`] says, if it says anything.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Adam, Error, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let engine = Cpu::<f32>::default().bounded(1 << 20);
    /// let recipe = |lanes| Recipe::new(Adam::default()).repeated(lanes);
    /// let Err(Error::Lanes { asked: 1000, fit, .. }) = Optimizer::new(&engine, recipe(1000), &[("w", &[300])]) else { panic!() };
    /// Optimizer::new(&engine, recipe(fit), &[("w", &[300])])?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn bounded(self, bytes: u64) -> Self {
        Self { bound: Some(bytes), ..self }
    }

    /// Whether the buffers of a program fit into what they may take. The system is asked only where it may matter.
    fn check_memory(&self, blueprint: &Blueprint) -> Result<()> {
        let (lanes, float) = (blueprint.layout().lanes(), size_of::<F>());
        let much = lanes > 1 && Need::of(blueprint.layout(), float).all(lanes) >= MUCH;
        let bound = self.bound.or_else(|| if much { available_memory() } else { None });
        bound.map_or(Ok(()), |bytes| check_memory(blueprint, float, bytes))
    }

    fn threads(&self) -> Threads {
        Threads::new(self.threads.map_or_else(|| *DEFAULT_THREADS, NonZeroUsize::get))
    }
}

/// Bytes of a population for which it is worth asking the system what there is.
const MUCH: u128 = 64 << 20;

/// `THALWEG_THREADS`, if it is a number above 0; else as many as the processor runs at a time.
static DEFAULT_THREADS: LazyLock<usize> = LazyLock::new(|| {
    let given = std::env::var("THALWEG_THREADS").ok().and_then(|text| text.trim().parse().ok());
    let given = given.or_else(|| std::thread::available_parallelism().ok());
    given.map_or(1, NonZeroUsize::get)
});

impl<F: Float> Engine for Cpu<F> {
    type Float = F;
    type Program = CpuProgram<F>;

    fn load(&self, blueprint: &Blueprint) -> Result<CpuProgram<F>> {
        let (layout, plans) = (blueprint.layout(), blueprint.plans());
        blueprint.check()?;
        self.check_memory(blueprint)?;
        let threads = self.threads();
        pool::start(threads.count() - 1);
        Ok(CpuProgram {
            threads,
            shared: Store::new(layout, Scope::Shared, 0)?,
            lanes: Store::lanes(layout)?,
            phases: plans.iter().map(|plan| phases(plan, layout)).collect(),
            layout: layout.clone(),
            answers: Vec::new(),
        })
    }

    /// Allocates it all and gives it back: memory that nobody writes costs nothing.
    fn check_room(&self, layout: &Layout) -> Result<()> {
        self.check_memory(&Blueprint::of(layout, &[]))?;
        Store::<F>::lanes(layout).map(drop)
    }

    fn describe(&self) -> String {
        describe::<F>(self.threads())
    }
}

fn describe<F>(threads: Threads) -> String {
    // pulp lists every feature; its variant says enough.
    let arch = format!("{:?}", pulp::Arch::new());
    let instructions = match arch.split(['(', ' ']).next().unwrap_or_default() {
        "V3" => "AVX2",
        "V4" => "AVX-512",
        other => other,
    };
    format!("CPU, {}, {} threads, {instructions}", std::any::type_name::<F>(), threads.count())
}

/// Operations that belong to no lane, that lead from lane to lane, or that run for each lane on its own.
#[derive(Debug)]
enum Phase {
    Shared(Operated),
    Copies(CopyLanes),
    Lanes(Vec<Op>),
}

impl Phase {
    fn of_lanes(&self) -> Option<&[Op]> {
        match self {
            Self::Shared(_) | Self::Copies(_) => None,
            Self::Lanes(ops) => Some(ops),
        }
    }
}

/// Operations without lanes and copies of lanes are barriers; those between them are one task per lane.
fn phases(plan: &Plan, layout: &Layout) -> Vec<Phase> {
    let mut phases = Vec::new();
    for op in plan.ops() {
        match (op, phases.last_mut()) {
            (Op::Operation(op), _) if op.is_shared(layout) => phases.push(Phase::Shared(op.clone())),
            (Op::CopyLanes(op), _) => phases.push(Phase::Copies(op.clone())),
            (_, Some(Phase::Lanes(ops))) => ops.push(op.clone()),
            _ => phases.push(Phase::Lanes(vec![op.clone()])),
        }
    }
    phases
}

/// A program on the CPU engine.
#[derive(Debug)]
pub struct CpuProgram<F> {
    threads: Threads,
    layout: Layout,
    shared: Store<F>,
    lanes: Vec<Store<F>>,
    phases: Vec<Vec<Phase>>,
    /// The newest answer under each tag, and whether it has still to be given out.
    answers: Vec<(Answer<F>, bool)>,
}

/// Tags whose newest answers are kept.
const ASKERS: usize = 64;

impl<F: Float> CpuProgram<F> {
    /// A lane's floats, in place.
    ///
    /// # Errors
    /// A lane that does not exist, or a buffer of indices.
    pub fn floats(&self, buffer: BufferId, lane: usize) -> Result<&[F]> {
        self.layout.check_access(buffer, Kind::Float, lane, 0, 0)?;
        Ok(match self.layout.declared(buffer).scope {
            Scope::Lane => self.lanes[lane].floats(buffer),
            Scope::Shared => self.shared.floats(buffer),
        })
    }

    /// A lane's floats, to be changed in place.
    ///
    /// # Errors
    /// A lane that does not exist, or a buffer of indices.
    pub fn floats_mut(&mut self, buffer: BufferId, lane: usize) -> Result<&mut [F]> {
        self.layout.check_access(buffer, Kind::Float, lane, 0, 0)?;
        Ok(self.store_mut(buffer, lane).floats_mut(buffer))
    }

    fn store_mut(&mut self, buffer: BufferId, lane: usize) -> &mut Store<F> {
        match self.layout.declared(buffer).scope {
            Scope::Lane => &mut self.lanes[lane],
            Scope::Shared => &mut self.shared,
        }
    }
}

impl<F: Float> CpuProgram<F> {
    /// Threads that an operation of one lane is shared out to: all, unless there are lanes enough.
    fn threads_of_a_lane(&self) -> Threads {
        if self.lanes.len() < self.threads.count() { self.threads } else { Threads::ONE }
    }

    /// Lanes that a thread takes at a time, where it runs their operations so many times: one by one, as far as there are few.
    fn lanes_at_a_time(&self, times: usize) -> usize {
        self.lanes.len().div_ceil(8 * self.threads.count()).div_ceil(times.max(1))
    }

    /// Runs plans one after the other, all of that `times` times. Without operations that all lanes share, all of it is one
    /// task per lane: a lane's memory then stays in its core's cache from step to step.
    fn run_all(&mut self, plans: &[PlanId], times: usize) -> Result<()> {
        let mut phases = plans.iter().flat_map(|plan| &self.phases[plan.0]);
        if phases.all(|phase| phase.of_lanes().is_some()) {
            self.run_once(plans, times)
        } else {
            (0..times).try_for_each(|_| self.run_once(plans, 1))
        }
    }

    /// Runs plans one after the other, operations of lanes `times` times. Where one plan ends and the next one begins with such
    /// operations, both are one task per lane, as if they were one plan.
    fn run_once(&mut self, plans: &[PlanId], times: usize) -> Result<()> {
        let (threads, at_a_time) = (self.threads_of_a_lane(), self.lanes_at_a_time(times));
        let (all, shared, lanes) = (&self.phases, &mut self.shared, &mut self.lanes);
        let mut phases = plans.iter().flat_map(|plan| &all[plan.0]);
        let mut next = phases.next();
        while let Some(phase) = next {
            match phase {
                Phase::Shared(op) => {
                    operation::operate(op, shared, None, self.threads)?;
                    next = phases.next();
                }
                Phase::Copies(op) => {
                    copy_lanes::copy_lanes(op, lanes, shared, self.threads);
                    next = phases.next();
                }
                Phase::Lanes(_) => {
                    let first = std::iter::once(phase).chain(phases.clone());
                    let together = first.map_while(Phase::of_lanes);
                    let after = together.clone().count() - 1;
                    let shared = &*shared;
                    let lane = |store: &mut Store<F>| {
                        let all = |_| together.clone().flatten().try_for_each(|op| run(op, store, shared, None, threads));
                        (0..times).try_for_each(all)
                    };
                    match &mut lanes[..] {
                        [one] => lane(one)?,
                        many => {
                            let (count, parts) = (many.len().div_ceil(at_a_time), many.chunks_mut(at_a_time));
                            self.threads.try_in_order(count, parts, |lanes| lanes.iter_mut().try_for_each(&lane))?;
                        }
                    }
                    next = phases.nth(after);
                }
            }
        }
        Ok(())
    }

    /// Checks slices before [`CpuProgram::run_over`].
    ///
    /// # Errors
    /// As for [`CpuProgram::run_over`].
    pub(crate) fn check_over(&self, arena: &Arena, params: &[&mut [F]], grads: &[&mut [F]]) -> Result<()> {
        self.check_slices(arena, params.iter().map(|slice| slice.len()))?;
        borrowed::check(arena, self.lanes.len(), "gradients", grads.iter().map(|slice| slice.len()))
    }

    /// Checks slices of parameters by their lengths.
    ///
    /// # Errors
    /// As for [`CpuProgram::run_over`].
    pub(crate) fn check_slices(&self, arena: &Arena, lens: impl ExactSizeIterator<Item = usize>) -> Result<()> {
        borrowed::check(arena, self.lanes.len(), "parameters", lens)
    }

    /// Runs a plan once, with the caller's slices in the place of two buffers: lane by lane, tensor by tensor in the arena's
    /// order.
    ///
    /// # Errors
    /// Slices that are not as many or not as long as the tensors of all lanes, naming the tensor.
    pub fn run_over<'s>(
        &mut self,
        plan: PlanId,
        arena: &Arena,
        params: (BufferId, &mut [&'s mut [F]]),
        grads: (BufferId, &mut [&'s mut [F]]),
    ) -> Result<()> {
        self.check_over(arena, params.1, grads.1)?;
        let (threads, at_a_time) = (self.threads_of_a_lane(), self.lanes_at_a_time(1));
        let tensors = arena.tensors().len().max(1);
        check_plans(&[plan], self.phases.len())?;
        for phase in &self.phases[plan.0] {
            match phase {
                Phase::Shared(op) => operation::operate(op, &mut self.shared, None, self.threads)?,
                Phase::Copies(op) => copy_lanes::copy_lanes(op, &mut self.lanes, &self.shared, self.threads),
                Phase::Lanes(ops) => {
                    let shared = &self.shared;
                    let lane = |store: &mut Store<F>, x: &mut [&'s mut [F]], g: &mut [&'s mut [F]]| {
                        let mut borrowed = Borrowed::new(arena, (params.0, x), (grads.0, g));
                        ops.iter().try_for_each(|op| run(op, store, shared, Some(&mut borrowed), threads))
                    };
                    match &mut self.lanes[..] {
                        [one] => lane(one, params.1, grads.1)?,
                        many => {
                            let count = many.len().div_ceil(at_a_time);
                            let slices = [&mut *params.1, &mut *grads.1].map(|slices| slices.chunks_mut(at_a_time * tensors));
                            let [params, grads] = slices;
                            let parts = many.chunks_mut(at_a_time).zip(params.zip(grads));
                            self.threads.try_in_order(count, parts, |(stores, (params, grads))| {
                                let slices = params.chunks_mut(tensors).zip(grads.chunks_mut(tensors));
                                stores.iter_mut().zip(slices).try_for_each(|(store, (x, g))| lane(store, x, g))
                            })?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl<F: Float> Program for CpuProgram<F> {
    type Float = F;

    fn machine(&self) -> Machine {
        Machine::new("cpu", describe::<F>(self.threads))
    }

    fn repeat(&mut self, plans: &[PlanId], times: usize) -> Result<()> {
        check_plans(plans, self.phases.len())?;
        self.run_all(plans, times)
    }

    fn write(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[F]) -> Result<()> {
        self.layout.check_access(buffer, Kind::Float, lane, offset, values.len())?;
        let threads = self.threads;
        threads.copy(values, &mut self.store_mut(buffer, lane).floats_mut(buffer)[offset..][..values.len()]);
        Ok(())
    }

    fn write_indices(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u32]) -> Result<()> {
        self.layout.check_access(buffer, Kind::Index, lane, offset, values.len())?;
        self.store_mut(buffer, lane).indices_mut(buffer)[offset..][..values.len()].copy_from_slice(values);
        Ok(())
    }

    fn fill_indices(
        &mut self,
        buffer: BufferId,
        lanes: usize,
        len: usize,
        fill: &(dyn Fn(usize, &mut [u32]) + Sync),
    ) -> Result<()> {
        let Some(last) = lanes.checked_sub(1) else { return Ok(()) };
        self.layout.check_access(buffer, Kind::Index, last, 0, len)?;
        let of = |(lane, store): (usize, &mut Store<F>)| fill(lane, &mut store.indices_mut(buffer)[..len]);
        match self.layout.declared(buffer).scope {
            Scope::Lane => self.threads.in_order(lanes, self.lanes.iter_mut().take(lanes).enumerate(), of),
            Scope::Shared => (0..lanes).for_each(|lane| of((lane, &mut self.shared))),
        }
        Ok(())
    }

    fn read(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<F>> {
        copied(&self.layout.known(buffer)?.name, self.floats(buffer, lane)?)
    }

    fn read_range(&mut self, buffer: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<F>> {
        self.layout.check_access(buffer, Kind::Float, lane, 0, range.end)?;
        copied(&self.layout.known(buffer)?.name, self.floats(buffer, lane)?.get(range).unwrap_or_default())
    }

    fn read_to(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &mut [F]) -> Result<()> {
        self.layout.check_access(buffer, Kind::Float, lane, offset, values.len())?;
        self.threads.copy(&self.floats(buffer, lane)?[offset..][..values.len()], values);
        Ok(())
    }

    fn read_indices(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u32>> {
        self.layout.check_access(buffer, Kind::Index, lane, 0, 0)?;
        Ok(self.store_mut(buffer, lane).indices(buffer).to_vec())
    }

    fn read_halves(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u16>> {
        self.layout.check_access(buffer, Kind::Half, lane, 0, 0)?;
        Ok(self.store_mut(buffer, lane).halves(buffer).to_vec())
    }

    fn write_halves(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u16]) -> Result<()> {
        self.layout.check_access(buffer, Kind::Half, lane, offset, values.len())?;
        check_even(offset, values.len())?;
        self.store_mut(buffer, lane).halves_mut(buffer)[offset..][..values.len()].copy_from_slice(values);
        Ok(())
    }

    fn read_all(&mut self, buffers: &[BufferId]) -> Result<Vec<Values<F>>> {
        fn all<'a, F: Float, T: Copy + 'a>(
            declared: &Buffer,
            owners: &'a [Store<F>],
            own: impl Fn(&'a Store<F>) -> &'a [T],
        ) -> Result<Vec<Vec<T>>> {
            owners.iter().map(|owner| copied(&declared.name, own(owner))).collect()
        }
        let values = |&id| {
            let declared = self.layout.known(id)?;
            let owners = if declared.scope == Scope::Lane { &self.lanes[..] } else { std::slice::from_ref(&self.shared) };
            Ok(match declared.kind {
                Kind::Float => Values::Floats(all(declared, owners, |owner| owner.floats(id))?),
                Kind::Index => Values::Indices(all(declared, owners, |owner| owner.indices(id))?),
                Kind::Half => Values::Halves(all(declared, owners, |owner| owner.halves(id))?),
            })
        };
        buffers.iter().map(values).collect()
    }

    fn read_parts(&mut self, parts: &mut [Reading<'_, F>]) -> Result<()> {
        parts.iter_mut().try_for_each(|part| self.read_to(part.buffer, part.lane, part.offset, part.values))
    }

    fn request(&mut self, tag: Tag, buffers: &[BufferId]) -> Result<()> {
        self.layout.check_request(buffers)?;
        let own = self.answers.iter().position(|(answer, _)| answer.tag == tag);
        let own = own.unwrap_or_else(|| {
            // With more askers than that, the oldest answer makes room.
            if self.answers.len() == ASKERS {
                self.answers.remove(0);
            }
            self.answers.push((Answer::default(), false));
            self.answers.len() - 1
        });
        let (answer, answered) = &mut self.answers[own];
        answer.clear();
        answer.tag = tag;
        for &id in buffers {
            let declared = self.layout.declared(id);
            let owners = if declared.scope == Scope::Lane { &self.lanes[..] } else { std::slice::from_ref(&self.shared) };
            for owner in owners {
                match declared.kind {
                    Kind::Float => answer.floats.extend_from_slice(owner.floats(id)),
                    Kind::Index => answer.indices.extend_from_slice(owner.indices(id)),
                    Kind::Half => {}
                }
            }
        }
        *answered = true;
        Ok(())
    }

    fn arrived(&mut self, tag: Tag) -> Result<Option<&Answer<F>>> {
        let own = self.answers.iter_mut().find(|(answer, answered)| answer.tag == tag && *answered);
        Ok(own.map(|(answer, answered)| {
            *answered = false;
            &*answer
        }))
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Runs one operation of one lane.
///
/// # Errors
/// Those of operations by contract.
fn run<F: Float>(
    op: &Op,
    lane: &mut Store<F>,
    shared: &Store<F>,
    borrowed: Option<&mut Borrowed<F>>,
    threads: Threads,
) -> Result<()> {
    match op {
        Op::Operation(op) => return operation::operate(op, lane, Some(shared), threads),
        Op::Norm(op) => norm::norm(op, lane, borrowed.as_deref(), threads),
        Op::Control(op) => control::control(op, lane),
        Op::Factors(op) => factors::factors(op, lane),
        Op::Gate(op) => gate::gate(op, lane),
        Op::Centralise(op) => centralise::centralise(op, lane, borrowed),
        Op::Orthogonalise(op) => orthogonal::orthogonalise(op, lane, threads),
        Op::Update(op) => update::update(op, lane, borrowed, threads),
        Op::Dots(op) => dots::dots(op, lane, threads),
        Op::Join { kind, input, output } => join_rows::join_rows(*kind, input, output, lane, shared),
        Op::Combine(op) => combine::combine(op, lane, threads),
        Op::Factored(op) => factored::factored(op, lane, borrowed, threads),
        // A phase of its own.
        Op::CopyLanes(_) => {}
    }
    Ok(())
}
