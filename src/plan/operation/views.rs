//! What the CPU's half of an operation runs on: its views, threads, and products of matrices.

use super::{Elements, Workers};
use crate::error::{Error, Result};
use crate::plan::matrix::{Multiply, Product};

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
