//! The contract of operations: one kernel with its CPU twin, declared once. What a plan checks, what an engine borrows and
//! binds, and the accessors of the WGSL follow from the operands.

mod dispatch;
mod elements;
mod operands;
mod operated;
mod views;
mod workers;

use super::Layout;
use crate::error::Result;
use crate::rule::{BoundsChecks, Real};
pub(crate) use dispatch::GROUPS;
pub use dispatch::{Dispatch, Each, Size};
pub use elements::Elements;
pub(crate) use elements::Slice;
pub use operands::{Operand, Operands, Use};
pub use operated::{AnyOperation, MAX_OPERANDS, Operable, Operated};
use std::fmt::Debug;
pub(crate) use views::Products;
pub use views::Views;
pub use workers::Workers;

/// An operation of a lane: it reads and writes views, and knows nothing of lanes, offsets or bindings.
///
/// If all its outputs lie in buffers that the lanes share, it runs once for all of them, and its inputs have to be shared too.
/// Inputs may be parts of one buffer; an output lies in a buffer in which no other operand lies.
///
/// The WGSL half is the text of [`Dispatch`]. In front of it the engine writes, for an operand named `x`, `fn x(lane: u32, i:
/// u32)`, which reads element `i` of a lane's view, and for an operand that is written `fn put_x(lane: u32, i: u32, value: …)`;
/// for sizes a uniform named `op` with a field of each name. Lanes lie along z of the grid. A kernel that keeps places of its
/// own takes `x_elements[op.x_first + lane * op.x_lane + i]`, which is what `x` reads.
///
/// Its kernels are compiled with bounds checks, unless [`Operation::BOUNDS_CHECKS`] turns them off.
///
/// # Examples
///
/// y = x², element by element:
///
/// ```
/// use thalweg::plan::{Blueprint, Dispatch, Engine, Layout, Operands, Operation, Plan, PlanId, Program, View, Views};
/// use thalweg::{Real, Result, cpu::Cpu};
///
/// #[derive(Debug, Clone)]
/// struct Square { input: View, output: View }
///
/// impl Operation for Square {
///     const NAME: &'static str = "square";
///
///     fn operands(&self, o: &mut Operands) {
///         o.read("x", self.input, self.output.len);
///         o.write("y", self.output, self.output.len);
///     }
///
///     fn dispatches(&self) -> Vec<Dispatch> {
///         let text = "
///             @compute @workgroup_size(64)
///             fn square(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
///                 let i = id.x + id.y * count.x * 64u;
///                 if i < op.len { put_y(id.z, i, x(id.z, i) * x(id.z, i)); }
///             }";
///         vec![Dispatch::new("square", text).size("len", self.output.len).elements(self.output.len, 64)]
///     }
///
///     fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
///         let [x, y] = views.all()?;
///         y.floats_mut()?.iter_mut().zip(x.floats()?).for_each(|(y, &x)| *y = x * x);
///         Ok(())
///     }
/// }
///
/// let mut layout = Layout::new(1);
/// let (x, y) = (layout.floats("x", 3), layout.floats("y", 3));
/// let mut plan = Plan::default();
/// plan.operate(Square { input: layout.whole(x), output: layout.whole(y) });
///
/// let mut program = Cpu::<f64>::default().load(&Blueprint::of(&layout, &[plan]))?;
/// program.write(x, 0, 0, &[1.0, -2.0, 3.0])?;
/// program.run(PlanId::FIRST, 1)?;
/// assert_eq!(program.read(y, 0)?, [1.0, 4.0, 9.0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait Operation: Debug + Clone + Send + Sync + 'static {
    /// Its name in errors.
    const NAME: &'static str;

    /// Whether its kernels are compiled with bounds checks. Default: they are.
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::ON;

    /// Declares each view once, in the order in which [`Operation::run`] takes them.
    fn operands(&self, operands: &mut Operands);

    /// The GPU's half: kernels that run one after the other.
    fn dispatches(&self) -> Vec<Dispatch>;

    /// The kernels for an adapter, where some adapters want others. Each of them has to agree with the CPU's half. Default:
    /// [`Operation::dispatches`], whatever the adapter.
    fn dispatches_on(&self, _adapter: &Adapter) -> Vec<Dispatch> {
        self.dispatches()
    }

    /// What errors about limits call it, so that users find it in their models. Default: by its name.
    fn described(&self) -> String {
        format!("the operation '{}'", Self::NAME)
    }

    /// The CPU's half for one lane; in `f64` it is the oracle.
    ///
    /// # Errors
    /// What [`Views`] and [`Elements`] say where views are taken otherwise than they were declared; the run of the plan then
    /// ends with this error.
    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()>;

    /// Operations on buffers that this declares, for tests of the two halves against each other ([`Case`](crate::plan::Case), which
    /// fills the buffers): sizes around every block, 0 and 1 among them. Default: none, so that nothing is compared.
    fn cases(_layout: &mut Layout) -> Vec<Self> {
        Vec::new()
    }
}

/// What kernels may be chosen by: see [`Operation::dispatches_on`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Adapter {
    /// Whether it is a software driver, for which workgroup memory and barriers are slow.
    pub is_cpu: bool,
    /// Whether kernels may use subgroups, none of which has fewer than eight threads.
    pub subgroups: bool,
}

impl Adapter {
    /// A GPU, or a software driver; with subgroups or without.
    pub const fn new(is_cpu: bool, subgroups: bool) -> Self {
        Self { is_cpu, subgroups }
    }
}
