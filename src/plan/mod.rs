//! A step recorded once as plain data: buffers, operations and their shapes. No wgpu and no threads live here.
//!
//! A [`Layout`] declares the buffers of a program, a [`Plan`] lists operations on them, a [`Blueprint`] has both with their
//! names. An [`Engine`] turns it into a [`Program`], which runs plans as often as asked. The two engines are `gpu` and `cpu`;
//! neither knows the other.
//!
//! # Examples
//!
//! A product of two 2×2 matrices on the oracle:
//!
//! ```
//! use thalweg::op::MatMul;
//! use thalweg::plan::{Blueprint, Engine, Layout, Plan, PlanId, Program};
//! use thalweg::cpu::Cpu;
//!
//! let mut layout = Layout::new(1);
//! let (a, b, c) = (layout.floats("a", 4), layout.floats("b", 4), layout.floats("c", 4));
//! let mut plan = Plan::default();
//! plan.operate(MatMul::new(layout.whole(a), layout.whole(b), layout.whole(c), 2, 2, 2));
//!
//! let mut program = Cpu::<f64>::default().load(&Blueprint::of(&layout, &[plan]))?;
//! program.write(a, 0, 0, &[1.0, 2.0, 3.0, 4.0])?;
//! program.write(b, 0, 0, &[1.0, 0.0, 0.0, 2.0])?;
//! program.run(PlanId::FIRST, 1)?;
//! assert_eq!(program.read(c, 0)?, [1.0, 4.0, 3.0, 8.0]);
//! # Ok::<(), thalweg::Error>(())
//! ```

mod arena;
mod blueprint;
mod check;
mod engine;
#[cfg(feature = "checkpoint")]
mod fresh;
mod layout;
mod matrix;
mod moments;
mod need;
mod op;
mod operation;
mod per_lane;
mod stream;
mod trial;

pub use arena::{Arena, Chunk, Tensor};
pub use blueprint::{Blueprint, Named, PlanId, Role};
pub use engine::{Answer, Engine, Machine, Program, Reading, Tag, Values};
pub(crate) use engine::{check_even, check_plans};
#[cfg(feature = "checkpoint")]
pub use fresh::Fresh;
pub(crate) use layout::copied;
pub use layout::{Buffer, BufferId, Kind, Layout, Scope, View};
pub(crate) use matrix::{Matrix, MatrixMut, Product};
pub use moments::{Moments, Stack, TILE};
pub use need::Need;
pub(crate) use need::check_memory;
pub use op::{
    Centralise, Combine, Control, CopyLanes, Counter, Dots, Extras, Factored, Factors, Gate, GateKind, Half, LossScale, Micro,
    Norm, NormKind, NormOf, Op, Orthogonalise, Plan, Scalar, Span, TensorBound, TensorChunks, Trust, Update, UpdateKind,
};

pub use crate::rule::BoundsChecks;
pub use operation::{
    Adapter, AnyOperation, Dispatch, Each, Elements, MAX_OPERANDS, Operable, Operand, Operands, Operated, Operation, Size, Use,
    Views, Workers,
};
pub(crate) use operation::{GROUPS, Products, Slice};
pub use per_lane::PerLane;
#[cfg(feature = "serde")]
pub(crate) use per_lane::numbers;
pub(crate) use stream::check_storage;
pub use stream::{Storage, Stream, StreamOf};
pub use trial::Case;

/// Tensors start at multiples of this many elements: 256 bytes, the alignment of bindings.
pub const ALIGN: usize = 64;

/// Elements that one partial sum of a norm covers, at most.
pub const CHUNK: usize = 4_096;

/// Steps for which hyper rows are kept ahead, at most: fewer where lanes and groups are many.
pub const SLOTS: usize = 256;

/// In an index buffer: no element. A gathered row of it is empty, a label of it counts for nothing.
pub const NONE: u32 = u32::MAX;
