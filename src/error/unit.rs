//! What limits count.

use std::fmt;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Bytes of something that a kernel wants in one piece.
    Binding,
    /// Turns that a loop takes in one invocation of a kernel. Software drivers end longer ones in silence.
    Turns,
    /// Elements, numbered with 32 bits.
    Elements,
    /// Groups of hyper-parameters.
    Groups,
    /// Tensors of an arena.
    Tensors,
    /// Matrix products of one dispatch: lanes × batch.
    Products,
    /// Tiles of a matrix product.
    Tiles,
    /// Storage buffers of one kernel.
    Buffers,
    /// Operands of an operation.
    Operands,
    /// Bytes of the sizes of an operation.
    Sizes,
}

impl Unit {
    /// How to stay below the limit.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Binding => {
                "make it smaller, in several tensors if it can be, or take the CPU engine, which has no such limit"
            }
            Self::Turns => "take smaller layers or batches, a real GPU, or the CPU engine, which have no such limit",
            Self::Elements | Self::Tiles => "make it smaller, or take the CPU engine",
            Self::Products => "split the population into several programs, or take the CPU engine",
            Self::Groups | Self::Tensors => "split it into several optimizers",
            Self::Buffers => "leave out what goes with the rule, such as averages, or take the CPU engine",
            Self::Operands | Self::Sizes => "split the operation into several",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Binding => "bytes in one binding",
            Self::Turns => "turns of a loop",
            Self::Elements => "elements",
            Self::Groups => "groups",
            Self::Tensors => "tensors",
            Self::Products => "products in one dispatch",
            Self::Tiles => "tiles",
            Self::Buffers => "storage buffers in one kernel",
            Self::Operands => "operands",
            Self::Sizes => "bytes for its sizes",
        })
    }
}
