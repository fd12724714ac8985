//! The contract of operations: one kernel with its CPU twin, declared once. What a plan checks, what an engine borrows and
//! binds, and the accessors of the WGSL follow from the operands.

use super::matrix::{Multiply, Product};
use super::{Kind, Layout, Scope, View};
use crate::error::{Error, Result, Unit};
use crate::rule::{BoundsChecks, Real};
use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

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

    /// Operations on buffers that this declares, for tests of the two halves against each other ([`Case`](super::Case), which
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

/// What an operation does with a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Reads it.
    Read,
    /// Writes all of it.
    Write,
    /// Reads and writes it.
    Change,
    /// Memory for what comes between its kernels: nothing is known of it before or after.
    Scratch,
}

/// A view of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operand {
    /// Its name in errors and in WGSL.
    pub name: &'static str,
    /// The view.
    pub view: View,
    /// What it holds.
    pub kind: Kind,
    /// What is done with it.
    pub usage: Use,
    /// Elements that the operation relies on.
    pub len: usize,
}

/// The views of an operation, in order.
#[derive(Debug, Clone, Default)]
pub struct Operands {
    list: Vec<Operand>,
    /// The first size that cannot be: its name, the size, and which ones can.
    wrong: Option<(&'static str, usize, String)>,
}

impl Operands {
    /// Declares a view by all that is known of it. Floats of 16 bits are no operands.
    pub fn declare(&mut self, name: &'static str, view: View, kind: Kind, usage: Use, len: usize) {
        self.list.push(Operand { name, view, kind, usage, len });
    }

    /// Floats that are read, `len` of them.
    pub fn read(&mut self, name: &'static str, view: View, len: usize) {
        self.declare(name, view, Kind::Float, Use::Read, len);
    }

    /// Floats that are written, all of them.
    pub fn write(&mut self, name: &'static str, view: View, len: usize) {
        self.declare(name, view, Kind::Float, Use::Write, len);
    }

    /// Floats that are read and written.
    pub fn change(&mut self, name: &'static str, view: View, len: usize) {
        self.declare(name, view, Kind::Float, Use::Change, len);
    }

    /// Indices that are read. Any value may stand in them: the operation compares each with what it points into.
    pub fn indices(&mut self, name: &'static str, view: View, len: usize) {
        self.declare(name, view, Kind::Index, Use::Read, len);
    }

    /// Requires that a size is not below the least that it may be.
    pub fn at_least(&mut self, name: &'static str, size: usize, least: usize) {
        if size < least && self.wrong.is_none() {
            self.wrong = Some((name, size, format!("at least {least}")));
        }
    }

    /// Requires that a size is not beyond the most that it may be.
    pub fn at_most(&mut self, name: &'static str, size: usize, most: usize) {
        if size > most && self.wrong.is_none() {
            self.wrong = Some((name, size, format!("at most {most}")));
        }
    }

    /// Requires that a size is the only one that it may be.
    pub fn exactly(&mut self, name: &'static str, size: usize, expected: usize) {
        if size != expected && self.wrong.is_none() {
            self.wrong = Some((name, size, format!("exactly {expected}")));
        }
    }

    /// Requires that a size is a multiple of another one.
    pub fn multiple_of(&mut self, name: &'static str, size: usize, unit: usize) {
        if !size.is_multiple_of(unit) && self.wrong.is_none() {
            self.wrong = Some((name, size, format!("a multiple of {unit}")));
        }
    }

    /// A product of sizes. One that overflows becomes the largest number, which is beyond every view: an error when the plan is
    /// checked.
    pub fn product(sizes: &[usize]) -> usize {
        sizes.iter().fold(1, |product, &size| product.saturating_mul(size))
    }

    /// The operands in order.
    pub fn list(&self) -> &[Operand] {
        &self.list
    }
}

/// A field of a kernel's uniform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// `u32`.
    Count(usize),
    /// `f32`.
    Number(f64),
}

/// One kernel of an operation, and how it is dispatched.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// The entry point.
    pub entry: &'static str,
    /// The WGSL, without bindings.
    pub text: Cow<'static, str>,
    /// Values of its `override`s.
    pub constants: Vec<(&'static str, f64)>,
    /// Fields of the uniform `op`.
    pub sizes: Vec<(Cow<'static, str>, Size)>,
    /// Workgroups along x and y.
    pub grid: [u32; 2],
    /// Iterations of all loops of one invocation, at most.
    pub trips: u64,
    /// Elements, if each of them stands alone: see [`Dispatch::each`].
    pub each: Option<Each>,
}

/// A kernel in which each element stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Each {
    /// Elements.
    pub len: usize,
    /// Threads of a workgroup.
    pub threads: usize,
}

/// Workgroups along one dimension that every device grants.
pub(crate) const GROUPS: usize = 65_535;

impl Dispatch {
    /// A kernel in one workgroup per lane, without sizes and loops.
    pub fn new(entry: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { entry, text: text.into(), constants: Vec::new(), sizes: Vec::new(), grid: [1, 1], trips: 0, each: None }
    }

    /// With a count in the uniform.
    pub fn size(mut self, name: impl Into<Cow<'static, str>>, value: usize) -> Self {
        self.sizes.push((name.into(), Size::Count(value)));
        self
    }

    /// With a number in the uniform, rounded to `f32`.
    pub fn number(mut self, name: impl Into<Cow<'static, str>>, value: f64) -> Self {
        self.sizes.push((name.into(), Size::Number(value)));
        self
    }

    /// With a value for an `override`.
    pub fn constant(mut self, name: &'static str, value: f64) -> Self {
        self.constants.push((name, value));
        self
    }

    /// A thread per element, in workgroups of `threads`: element `id.x + id.y · count.x · threads`.
    pub fn elements(self, elements: usize, threads: usize) -> Self {
        self.workgroups(elements.div_ceil(threads))
    }

    /// So many workgroups, numbered `id.x + id.y · count.x`; there may be a few more than that.
    pub fn workgroups(mut self, groups: usize) -> Self {
        let rows = groups.div_ceil(GROUPS).max(1);
        self.grid = [groups.div_ceil(rows), rows].map(|groups| u32::try_from(groups).unwrap_or(u32::MAX));
        self
    }

    /// As [`Dispatch::elements`], with the size `len`, for a kernel in which element i of what is written depends on element i
    /// of what is read alone, and whose text says nothing of their type. The engine may then give it vectors of four as
    /// elements, and run it piece by piece over whole buffers that lie in several.
    pub fn each(self, len: usize, threads: usize) -> Self {
        Self { each: Some(Each { len, threads }), ..self.size("len", len).elements(len, threads) }
    }

    /// With loops of this many iterations. Some software drivers end long loops silently; there too many iterations are an
    /// error.
    pub fn trips(mut self, trips: usize) -> Self {
        self.trips = trips as u64;
        self
    }
}

/// A view of a lane, as the CPU's half of an operation gets it. It knows what it was declared as, so taking it for something
/// else is an error.
#[derive(Debug)]
pub struct Elements<'a, F> {
    slice: Slice<'a, F>,
    operand: &'static str,
    operation: &'static str,
}

/// What is in a view, and what may be done with it.
#[derive(Debug)]
pub(crate) enum Slice<'a, F> {
    Floats(&'a [F]),
    FloatsMut(&'a mut [F]),
    Indices(&'a [u32]),
    IndicesMut(&'a mut [u32]),
}

impl<F> Slice<'_, F> {
    fn described(&self) -> &'static str {
        match self {
            Self::Floats(_) => "floats to read",
            Self::FloatsMut(_) => "floats to write",
            Self::Indices(_) => "indices to read",
            Self::IndicesMut(_) => "indices to write",
        }
    }
}

impl<'a, F> Elements<'a, F> {
    /// In the place of a view that is not there.
    pub(crate) const NONE: Self = Self { slice: Slice::Floats(&[]), operand: "", operation: "" };

    pub(crate) fn new(slice: Slice<'a, F>, operand: &'static str, operation: &'static str) -> Self {
        Self { slice, operand, operation }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::NONE)
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        match self.slice {
            Slice::Floats(_) | Slice::FloatsMut(_) => Kind::Float,
            Slice::Indices(_) | Slice::IndicesMut(_) => Kind::Index,
        }
    }

    /// Floats that were declared to be read.
    ///
    /// # Errors
    /// [`Error::Shape`], naming operation and operand, where they were declared as something else: operands are taken in the
    /// order in which they were declared.
    pub fn floats(self) -> Result<&'a [F]> {
        match self.slice {
            Slice::Floats(elements) => Ok(elements),
            other => Err(wrong(self.operand, self.operation, &other, "floats to read")),
        }
    }

    /// Floats that were declared to be written or changed.
    ///
    /// # Errors
    /// As for [`Elements::floats`].
    pub fn floats_mut(self) -> Result<&'a mut [F]> {
        match self.slice {
            Slice::FloatsMut(elements) => Ok(elements),
            other => Err(wrong(self.operand, self.operation, &other, "floats to write")),
        }
    }

    /// Indices that were declared to be read.
    ///
    /// # Errors
    /// As for [`Elements::floats`].
    pub fn indices(self) -> Result<&'a [u32]> {
        match self.slice {
            Slice::Indices(elements) => Ok(elements),
            other => Err(wrong(self.operand, self.operation, &other, "indices to read")),
        }
    }

    /// Indices that were declared to be written or changed.
    ///
    /// # Errors
    /// As for [`Elements::floats`].
    pub fn indices_mut(self) -> Result<&'a mut [u32]> {
        match self.slice {
            Slice::IndicesMut(elements) => Ok(elements),
            other => Err(wrong(self.operand, self.operation, &other, "indices to write")),
        }
    }
}

/// An operand that is taken for what it is not.
fn wrong<F>(operand: &str, operation: &str, declared: &Slice<'_, F>, asked: &str) -> Error {
    Error::shape(format!("{operand} of {operation}, as its run takes it"), declared.described(), asked)
}

/// Operands of an operation at most: the storage buffers that every device lets one kernel have.
pub const MAX_OPERANDS: usize = 8;

/// Threads that may work at one operation: the caller's, and those that an engine lends it.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    count: usize,
    /// Calls a function on this thread, and on up to this many others; returns when all have returned.
    run: fn(usize, &(dyn Fn() + Sync)),
}

impl Workers {
    /// The caller alone.
    pub const ONE: Self = Self { count: 1, run: |_, work| work() };

    pub(crate) fn new(count: usize, run: fn(usize, &(dyn Fn() + Sync))) -> Self {
        Self { count, run }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Works on `count` parts in their order, each on whichever thread is free. So at any time all threads are at neighbouring
    /// places in memory, which is faster than at places far apart.
    pub fn in_order<T>(&self, count: usize, parts: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync) {
        let helpers = self.count.min(count).saturating_sub(1);
        if helpers == 0 {
            return parts.for_each(work);
        }
        let parts = Mutex::new(parts);
        let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
        (self.run)(helpers, &|| {
            while let Some(part) = next() {
                work(part);
            }
        });
    }
}

/// The views of an operation in one lane, in the order of its operands. The engine keeps the list itself: it is longer than what
/// is worth moving from function to function at each operation of a small model.
#[derive(Debug)]
pub struct Views<'a, F> {
    operation: &'static str,
    views: &'a mut [Elements<'a, F>],
    workers: Workers,
    products: Products<F>,
}

/// The products of matrices that an engine gives its operations.
#[derive(Debug)]
pub(crate) struct Products<F> {
    /// A fast one for one thread; none in the oracle.
    pub one: Option<Product<F>>,
    /// One for several threads.
    pub shared: Multiply<F>,
}

impl<'a, F> Views<'a, F> {
    pub(crate) fn new(
        operation: &'static str,
        views: &'a mut [Elements<'a, F>],
        workers: Workers,
        products: Products<F>,
    ) -> Self {
        Self { operation, views, workers, products }
    }

    /// Threads that may share the work. The bits must not depend on how many they are.
    pub fn workers(&self) -> Workers {
        self.workers
    }

    /// A fast product of matrices. The oracle has none: there an operation takes plain loops, so that it is another
    /// implementation.
    pub(crate) fn product(&self) -> Option<Product<F>> {
        self.products.one
    }

    /// A product of matrices that threads share; in the oracle it is that of another library.
    pub(crate) fn multiply(&self) -> Multiply<F> {
        self.products.shared
    }

    /// All of them, one after the other.
    pub fn list(self) -> impl Iterator<Item = Elements<'a, F>> {
        self.views.iter_mut().map(Elements::take)
    }

    /// All of them.
    ///
    /// # Errors
    /// [`Error::Shape`], naming the operation, if there are not `N`.
    pub fn all<const N: usize>(self) -> Result<[Elements<'a, F>; N]> {
        let declared = self.views.len();
        let views: &mut [_; N] = self
            .views
            .try_into()
            .map_err(|_| Error::shape(format!("operands of {}, as its run takes them", self.operation), declared, N))?;
        Ok(views.each_mut().map(Elements::take))
    }
}

/// Any [`Operation`]; implemented for all of them, and for nothing else.
pub trait AnyOperation: Debug + Send + Sync + sealed::Sealed {
    /// [`Operation::NAME`].
    fn name(&self) -> &'static str;
    /// [`Operation::dispatches`].
    fn dispatches(&self) -> Vec<Dispatch>;
    /// [`Operation::dispatches_on`].
    fn dispatches_on(&self, adapter: &Adapter) -> Vec<Dispatch>;
    /// [`Operation::described`].
    fn described(&self) -> String;
    /// [`Operation::run`] in single precision.
    fn run_f32(&self, views: Views<'_, f32>) -> Result<()>;
    /// [`Operation::run`] in double precision.
    fn run_f64(&self, views: Views<'_, f64>) -> Result<()>;
    /// A copy in a box of its own.
    fn boxed(&self) -> Box<dyn AnyOperation>;
}

mod sealed {
    pub trait Sealed {}
    impl<O: super::Operation> Sealed for O {}
}

impl<O: Operation> AnyOperation for O {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        Operation::dispatches(self)
    }

    fn dispatches_on(&self, adapter: &Adapter) -> Vec<Dispatch> {
        Operation::dispatches_on(self, adapter)
    }

    fn described(&self) -> String {
        Operation::described(self)
    }

    fn run_f32(&self, views: Views<'_, f32>) -> Result<()> {
        self.run(views)
    }

    fn run_f64(&self, views: Views<'_, f64>) -> Result<()> {
        self.run(views)
    }

    fn boxed(&self) -> Box<dyn AnyOperation> {
        Box::new(self.clone())
    }
}

/// A float type in which operations run.
pub trait Operable: Real {
    /// Runs an operation in this type.
    #[doc(hidden)]
    fn operate(operation: &dyn AnyOperation, views: Views<'_, Self>) -> Result<()>;
}

impl Operable for f32 {
    fn operate(operation: &dyn AnyOperation, views: Views<'_, f32>) -> Result<()> {
        operation.run_f32(views)
    }
}

impl Operable for f64 {
    fn operate(operation: &dyn AnyOperation, views: Views<'_, f64>) -> Result<()> {
        operation.run_f64(views)
    }
}

/// An operation as a plan holds it.
#[derive(Debug)]
pub struct Operated {
    operation: Box<dyn AnyOperation>,
    operands: Operands,
    bounds_checks: BoundsChecks,
}

impl Operated {
    /// Asks the operation for its operands.
    pub(crate) fn new<O: Operation>(operation: O) -> Self {
        let mut operands = Operands::default();
        operation.operands(&mut operands);
        Self { operation: Box::new(operation), operands, bounds_checks: O::BOUNDS_CHECKS }
    }

    /// The operation.
    pub fn operation(&self) -> &dyn AnyOperation {
        &*self.operation
    }

    /// Its operands.
    pub fn operands(&self) -> &[Operand] {
        &self.operands.list
    }

    /// Whether its kernels are compiled with bounds checks.
    pub fn bounds_checks(&self) -> BoundsChecks {
        self.bounds_checks
    }

    /// Whether it runs once for all lanes: its outputs are shared.
    pub(crate) fn is_shared(&self, layout: &Layout) -> bool {
        let scope = |operand: &Operand| layout.declared(operand.view.buffer).scope;
        self.operands().iter().filter(|operand| operand.written()).all(|operand| scope(operand) == Scope::Shared)
    }

    /// Checks that the operands fit the layout: kinds, lengths and scopes, and that nothing else lies in an output's buffer.
    ///
    /// # Errors
    /// [`Error::Setting`] for a size that cannot be, [`Error::Limit`] for too many operands, [`Error::Shape`] naming operation
    /// and operand for everything else.
    pub(crate) fn check(&self, layout: &Layout) -> Result<()> {
        let name = self.operation.name();
        if let Some((size, found, allowed)) = &self.operands.wrong {
            return Err(Error::setting(&format!("{name}.{size}"), *found, allowed));
        }
        let count = self.operands().len();
        if count > MAX_OPERANDS {
            return Err(Error::limit(format!("the operation '{name}'"), count as u64, MAX_OPERANDS as u64, Unit::Operands));
        }
        self.operands().iter().try_for_each(|operand| layout.known(operand.view.buffer).map(drop))?;
        let shared = self.is_shared(layout);
        self.operands().iter().enumerate().try_for_each(|(index, operand)| {
            operand.check(name, layout)?;
            let buffer = layout.declared(operand.view.buffer);
            let fits = match (shared, operand.written(), buffer.scope) {
                (true, _, scope) => scope == Scope::Shared,
                (false, written, scope) => scope == Scope::Lane || !written,
            };
            let expected =
                if shared { "shared by the lanes, like its outputs" } else { "of each lane, like its other outputs" };
            operand.require(fits, name, &buffer.name, expected, format!("{:?}", buffer.scope))?;
            let mut others = self.operands().iter().enumerate().filter(|(other, _)| operand.written() && *other != index);
            let twin = others.find(|(_, other)| other.view.buffer == operand.view.buffer);
            let found = twin.map_or_else(String::new, |(_, other)| format!("the buffer of {}", other.name));
            operand.require(twin.is_none(), name, &buffer.name, "a buffer of its own", found)
        })
    }
}

impl Clone for Operated {
    fn clone(&self) -> Self {
        let Self { operation, operands, bounds_checks } = self;
        Self { operation: operation.boxed(), operands: operands.clone(), bounds_checks: *bounds_checks }
    }
}

impl Operand {
    /// Whether it is written.
    pub fn written(&self) -> bool {
        self.usage != Use::Read
    }

    /// Checks kind, length and place.
    fn check(&self, operation: &str, layout: &Layout) -> Result<()> {
        let Self { view, kind, len, .. } = self;
        let buffer = layout.declared(view.buffer);
        let require = |holds, expected: String, found: String| self.require(holds, operation, &buffer.name, expected, found);
        require(*kind != Kind::Half && buffer.kind == *kind, format!("{kind:?}"), format!("{:?}", buffer.kind))?;
        require(view.len == *len, format!("{len} elements"), view.len.to_string())?;
        let inside = view.offset.checked_add(view.len).is_some_and(|end| end <= buffer.len);
        let found = format!("{} from element {} on", view.len, view.offset);
        require(inside, format!("at most {} elements", buffer.len), found)
    }

    fn require(&self, holds: bool, operation: &str, buffer: &str, expected: impl ToString, found: impl ToString) -> Result<()> {
        let what = || format!("{} of {operation} (buffer {buffer})", self.name);
        if holds { Ok(()) } else { Err(Error::shape(what(), expected, found)) }
    }
}
