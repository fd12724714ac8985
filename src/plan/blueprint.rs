//! Everything that is recorded before an engine loads it: buffers with their roles, and plans under their names.

use super::{Arena, Buffer, BufferId, Layout, Op, Plan};
use crate::error::{Error, Result};

/// A plan of a [`Blueprint`], and of the program that an engine makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanId(pub(crate) usize);

impl PlanId {
    /// The plan that was added first.
    pub const FIRST: Self = Self(0);
}

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Parameters that are trained.
    Params,
    /// Gradients of the parameters.
    Grads,
    /// What an optimizer keeps from step to step beside the parameters: planes, averages, slow weights, sums of micro-batches.
    State,
    /// Counters, and scalars that change with them: applied and skipped steps, the loss scale, frozen groups.
    Counter,
    /// Hyper rows: written by the host, ahead of the device.
    Hyper,
    /// Intermediate values: nothing in them outlives a run of a plan.
    Scratch,
    /// Data from outside: features, labels, losses.
    Data,
}

impl Role {
    /// Whether a run that is to be continued needs such a buffer.
    fn is_kept(self) -> bool {
        matches!(self, Self::Params | Self::State | Self::Counter)
    }
}

/// What a blueprint says of a buffer beside its declaration.
#[derive(Debug, Clone, Copy)]
struct Mark {
    role: Role,
    kept: bool,
    borrowed: bool,
}

impl Mark {
    fn of(role: Role) -> Self {
        Self { role, kept: role.is_kept(), borrowed: false }
    }
}

/// A buffer of a [`Blueprint`]; see [`Blueprint::buffers`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Named<'a> {
    /// The buffer.
    pub id: BufferId,
    /// Its declaration: name, length, and the kind of its elements.
    pub declared: &'a Buffer,
    /// What it is for.
    pub role: Role,
    /// Whether a run that is to be continued needs it: a part of snapshots.
    pub kept: bool,
    /// Whether the caller's memory stands for it.
    pub borrowed: bool,
}

/// A layout, plans under their names, and what each buffer is for. An [`Engine`](super::Engine) makes a program of it.
///
/// Buffers that are declared through [`Blueprint::layout_mut`] are scratch, unless [`Blueprint::mark`] says otherwise.
///
/// # Examples
///
/// A step along the caller's gradient:
///
/// ```
/// use thalweg::plan::{Arena, Blueprint, Engine, Program, Role};
/// use thalweg::{Recipe, Sgd, cpu::Cpu};
///
/// let mut arena = Arena::default();
/// arena.add("w", &[2])?;
/// let mut blueprint = Blueprint::new(1);
/// let params = blueprint.arena("params", &arena, Role::Params);
/// let grads = blueprint.arena("grads", &arena, Role::Grads);
/// let mut stepper = Recipe::new(Sgd { lr: 0.5, ..Default::default() }).record(&mut blueprint, &arena, params, grads)?;
///
/// let mut program = Cpu::<f32>::default().load(&blueprint)?;
/// stepper.start(&mut program)?;
/// program.write(grads, 0, 0, &[1.0, 2.0])?;
/// stepper.steps(&mut program, 2)?;
/// assert_eq!(program.read(params, 0)?[..2], [-1.0, -2.0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Blueprint {
    layout: Layout,
    /// Of the buffers, as far as there are any; the others are scratch.
    marks: Vec<Mark>,
    plans: Vec<Plan>,
    names: Vec<String>,
    prefix: String,
    /// A buffer that was marked and is another layout's.
    wrong: Option<BufferId>,
}

impl From<Layout> for Blueprint {
    fn from(layout: Layout) -> Self {
        Self { layout, marks: Vec::new(), plans: Vec::new(), names: Vec::new(), prefix: String::new(), wrong: None }
    }
}

impl Blueprint {
    /// Nothing yet, for `lanes` lanes.
    pub fn new(lanes: usize) -> Self {
        Layout::new(lanes).into()
    }

    /// A layout and plans that are known by their numbers: `0`, `1` and so on.
    pub fn of(layout: &Layout, plans: &[Plan]) -> Self {
        let names = (0..plans.len()).map(|index| index.to_string()).collect();
        Self { plans: plans.to_vec(), names, ..layout.clone().into() }
    }

    /// Puts `prefix` before every name that is given from here on, so that one blueprint can hold several optimizers.
    pub fn set_prefix(&mut self, prefix: &str) {
        self.prefix = prefix.into();
    }

    /// The buffers' declarations.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The buffers' declarations, to add intermediate values.
    pub fn layout_mut(&mut self) -> &mut Layout {
        &mut self.layout
    }

    /// Declares floats of each lane.
    pub fn floats(&mut self, name: &str, len: usize, role: Role) -> BufferId {
        let id = self.layout.floats(&self.prefixed(name), len);
        self.mark(id, role)
    }

    /// Declares indices of each lane.
    pub fn indices(&mut self, name: &str, len: usize, role: Role) -> BufferId {
        let id = self.layout.indices(&self.prefixed(name), len);
        self.mark(id, role)
    }

    /// Declares floats of each lane that are laid out as an arena.
    pub fn arena(&mut self, name: &str, arena: &Arena, role: Role) -> BufferId {
        let id = self.layout.arena(&self.prefixed(name), arena);
        self.mark(id, role)
    }

    /// [`Blueprint::arena`] of floats of 16 bits.
    pub fn half_arena(&mut self, name: &str, arena: &Arena, role: Role) -> BufferId {
        let id = self.layout.half_arena(&self.prefixed(name), arena);
        self.mark(id, role)
    }

    /// Says what a buffer of the layout is for, and returns it.
    pub fn mark(&mut self, id: BufferId, role: Role) -> BufferId {
        self.remark(id, |mark| *mark = Mark::of(role))
    }

    /// Makes a buffer a part of snapshots, or not, whatever its role, and returns it.
    pub fn keep(&mut self, id: BufferId, kept: bool) -> BufferId {
        self.remark(id, |mark| mark.kept = kept)
    }

    /// Says that the caller's memory will stand for a buffer, and returns it.
    pub fn borrow(&mut self, id: BufferId) -> BufferId {
        self.remark(id, |mark| mark.borrowed = true)
    }

    /// Checks all plans, and what was said of buffers.
    ///
    /// # Errors
    /// [`Error::Setting`] for a buffer of another layout that was marked, or as for [`Plan::check`].
    pub fn check(&self) -> Result<()> {
        self.wrong.map_or(Ok(()), |id| self.layout.known(id).map(drop))?;
        self.plans.iter().try_for_each(|plan| plan.check(&self.layout))?;
        self.buffers().filter(|buffer| buffer.borrowed).try_for_each(|buffer| self.check_stays(&buffer))
    }

    /// Lanes cannot take over what lies in the caller's memory.
    fn check_stays(&self, borrowed: &Named) -> Result<()> {
        let copies = |op: &Op| matches!(op, Op::CopyLanes(op) if op.buffers.contains(&borrowed.id));
        if self.plans.iter().flat_map(Plan::ops).any(copies) {
            return Err(Error::shape(
                &borrowed.declared.name,
                "memory of the program's own, as lanes are copied",
                "the caller's",
            ));
        }
        Ok(())
    }

    /// Changes what is said of a buffer; of another layout's it is kept for [`Blueprint::check`].
    fn remark(&mut self, id: BufferId, change: impl FnOnce(&mut Mark)) -> BufferId {
        match self.layout.known(id) {
            Ok(_) => change(self.marked(id)),
            Err(_) => self.wrong = self.wrong.or(Some(id)),
        }
        id
    }

    fn marked(&mut self, id: BufferId) -> &mut Mark {
        let known = self.marks.len().max(id.0 + 1);
        self.marks.resize(known, Mark::of(Role::Scratch));
        &mut self.marks[id.0]
    }

    fn prefixed(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A name without the prefix that is set.
    pub(crate) fn plain_name<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(&self.prefix).unwrap_or(name)
    }

    /// All buffers, in the order of their ids.
    pub fn buffers(&self) -> impl Iterator<Item = Named<'_>> {
        self.layout.buffers().iter().enumerate().map(|(index, declared)| {
            let Mark { role, kept, borrowed } = self.marks.get(index).copied().unwrap_or(Mark::of(Role::Scratch));
            Named { id: self.layout.id(index), declared, role, kept, borrowed }
        })
    }

    /// The first buffer of that name, prefix included.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn buffer(&self, name: &str) -> Result<BufferId> {
        self.buffers().find(|buffer| buffer.declared.name == name).map(|buffer| buffer.id).ok_or_else(|| {
            let known: Vec<&str> = self.layout.buffers().iter().map(|buffer| buffer.name.as_str()).collect();
            Error::unknown("buffer", name, &known)
        })
    }

    /// Adds a plan.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if the name is taken.
    pub fn add(&mut self, name: &str, plan: Plan) -> Result<PlanId> {
        let name = self.prefixed(name);
        if self.names.contains(&name) {
            return Err(Error::Duplicate { kind: "plan".into(), name });
        }
        self.names.push(name);
        self.plans.push(plan);
        Ok(PlanId(self.plans.len() - 1))
    }

    /// The plan of that name, prefix included.
    ///
    /// # Errors
    /// [`Error::Unknown`], listing the names.
    pub fn plan(&self, name: &str) -> Result<PlanId> {
        let found = self.names.iter().position(|known| known == name).map(PlanId);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.names.iter().map(String::as_str).collect();
            Error::unknown("plan", name, &known)
        })
    }

    /// The plans, in the order in which they were added.
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// The names of the plans, in the same order.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}
