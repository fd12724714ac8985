//! Operations of layers and of training, one file each, beside their WGSL halves in `shaders/op/`.
//!
//! A [`Plan`](crate::plan::Plan) takes them by [`operate`](crate::plan::Plan::operate), as it takes
//! [`Operation`](crate::plan::Operation)s from outside the crate.

use crate::plan::Case;

/// One line per operation: the module, then the type.
macro_rules! operations {
    ($($module:ident :: $operation:ident),* $(,)?) => {
        $(pub use $module::$operation;)*

        /// The cases that every operation is tried on, for this many lanes.
        pub fn cases(lanes: usize) -> Vec<Case> {
            let mut cases = Vec::new();
            $(cases.extend(Case::of::<$operation>(lanes));)*
            cases
        }

        #[cfg(test)]
        mod tests {
            use crate::plan::{Case, Operation};

            /// Without cases an operation is compared with nothing.
            #[test]
            fn every_operation_has_cases() {
                $(assert!(!Case::of::<super::$operation>(1).is_empty(), "{}", <super::$operation as Operation>::NAME);)*
            }
        }
    };
}

mod conv;
mod copy;
mod fold;
mod gather;
mod lookup;
mod map;
mod matmul;
mod place;
mod pool;
mod recurrence;
mod step_key;
mod tally;
mod tick;

pub use crate::random::threefry;
pub use conv::{ConvPart, ConvSizes};
pub use fold::Reduction;
pub use map::{Expr, Source};
pub use matmul::Strides;
#[cfg_attr(not(feature = "gpu"), expect(unused_imports, reason = "the GPU engine names it"))]
pub(crate) use matmul::Variant;
pub(crate) use pool::LARGEST_PLANE;
pub use pool::{PoolKind, PoolSizes, Window};
pub use recurrence::{Cell, RecurrenceSizes};

operations! {
    conv::Conv,
    copy::Copy,
    fold::Fold,
    gather::Gather,
    lookup::Lookup,
    lookup::ScatterAdd,
    map::Map,
    matmul::MatMul,
    place::Place,
    pool::Pool,
    pool::PoolGrad,
    recurrence::Recurrence,
    recurrence::RecurrenceGrad,
    step_key::StepKey,
    tally::Tally,
    tick::Tick,
}
