//! An operation as a plan holds it, and its check.

use super::{Adapter, Dispatch, Operand, Operands, Operation, Views};
use crate::error::{Error, Result, Unit};
use crate::plan::{Layout, Scope};
use crate::rule::{BoundsChecks, Real};
use std::fmt::Debug;

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

/// Operands of an operation at most: the storage buffers that every device lets one kernel have.
pub const MAX_OPERANDS: usize = 8;
