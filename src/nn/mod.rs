//! Networks: values on a tape, layers, losses, start values.
//!
//! A [`Model`] records itself on a [`Tape`], a [`Criterion`] turns its output into a loss, [`Tape::backward`] adds the
//! gradients by all parameters, and [`Tape::record`] writes the operations into a plan. [`Trainer`](crate::Trainer) does all of
//! that.

mod attention;
mod augment;
mod channels;
mod conv;
mod dropout;
mod init;
mod layers;
mod losses;
mod low_rank;
mod model;
mod nonlinearity;
mod normalise;
mod pool;
mod rnn;
mod summary;
mod tape;

pub use crate::op::Cell;
pub use attention::{Attention, Positions, TransformerBlock};
pub use augment::{Augment, LaneAugment};
pub use channels::{BatchNorm2d, ChannelDropout, GroupNorm, InstanceNorm};
pub use conv::{BilinearUpsample, Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Padding, Upsample};
pub use dropout::{Dropout, LaneDropout};
pub use init::Init;
pub use layers::{Embedding, Flatten, Linear, Reshape};
pub use losses::{AbsoluteError, BinaryCrossEntropy, Criterion, CrossEntropy, Huber, KlDivergence, SquaredError, Terms};
pub use low_rank::{LowRank, SharedBase};
pub use model::{Model, Residual, Sequential};
pub use nonlinearity::Nonlinearity;
pub use normalise::{BatchNorm1d, LayerNorm, RmsNorm};
pub use pool::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d,
};
pub use rnn::{GateOrder, Recurrent, RecurrentRun, RecurrentState};
pub use summary::{Line, Summary};
pub(crate) use tape::Apart;
pub use tape::{Declared, Places, Recorded, Slots, Tape, Value};
