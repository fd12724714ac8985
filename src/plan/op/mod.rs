//! Operations as data, one file per operation of a step. Matrices are row-major; sizes are per lane.

mod centralise;
mod combine;
mod control;
mod copy_lanes;
mod dots;
mod factored;
mod factors;
mod gate;
mod half;
mod norm;
mod orthogonal;
mod update;

use super::{Operated, Operation, View};
pub use centralise::Centralise;
pub use combine::Combine;
pub use control::{Control, Counter, LossScale, Micro, Scalar};
pub use copy_lanes::CopyLanes;
pub use dots::Dots;
pub use factored::Factored;
pub use factors::{Factors, NormOf, TensorBound, TensorChunks, Trust};
pub use gate::{Gate, GateKind};
pub use half::Half;
pub use norm::{Norm, NormKind};
pub use orthogonal::Orthogonalise;
pub use update::{Extras, Span, Update, UpdateKind};

/// A list of operations, run in order.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    ops: Vec<Op>,
}

impl Plan {
    /// Appends an operation.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// Appends an [`Operation`].
    pub fn operate(&mut self, operation: impl Operation) {
        self.push(Op::Operation(Operated::new(operation)));
    }

    /// The operations in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
}

/// One operation. Each writes buffers that it does not read, unless it says so.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Op {
    /// An operation by contract.
    Operation(Operated),
    /// Partial sums of squares.
    Norm(Norm),
    /// The decision about a step: its norm, clip coefficient and row, or that it is skipped.
    Control(Control),
    /// Norms of each tensor, and the factors that follow from them.
    Factors(Factors),
    /// Whether a micro-batch counts, or how far to ascend: a row for an update that is not a step.
    Gate(Gate),
    /// Takes the mean of each line out of it.
    Centralise(Centralise),
    /// Makes directions of matrices orthogonal.
    Orthogonalise(Orthogonalise),
    /// A rule over all parameters of a lane.
    Update(Update),
    /// Partial inner products of vectors.
    Dots(Dots),
    /// `output[r] = Σ_c input[r, c]`, or with [`NormKind::Max`] the largest, for values that are not negative: what partial
    /// norms and partial inner products are parts of. No root is taken.
    Join {
        /// Whether to add or to take the largest.
        kind: NormKind,
        /// A matrix of as many rows as the output has elements.
        input: View,
        /// One element per row.
        output: View,
    },
    /// A linear combination of vectors.
    Combine(Combine),
    /// Running means of squares, of matrices by rows and columns.
    Factored(Factored),
    /// Lanes take over what other lanes hold.
    CopyLanes(CopyLanes),
}
