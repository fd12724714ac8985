//! Hyper-parameter search: spaces, samplers, strategies and the table of results.
//!
//! All of it is host code over numbers and knows nothing of models or engines: a program asks for points, trains them in any
//! way, and tells the metrics.
//!
//! | subject | what is in it |
//! | --- | --- |
//! | spaces | [`SearchSpace`] of [`Parameter`]s, each with a [`Domain`]; a [`Point`] has a [`Coordinate`] for each |
//! | samplers | [`Study`] asks one for points and is told metrics: [`Grid`], [`Random`], [`Latin`], [`Sobol`], [`Tpe`], or any [`Sampler`] |
//! | strategies | which trials go on: [`Halving`], [`Hyperband`], [`MedianStopping`], [`FoldStopping`], [`Patience`], [`PopulationBased`]. They are pure: functions of settings, seed and metrics |
//! | results | [`Table`] of [`Record`]s, as CSV and lines of JSON, from which a search is resumed; [`importance`] of parameters |
//! | all together | [`Sweep`] asks, has whatever can [`Train`] (or [`TrainAsync`]) train, decides and writes the table |

mod domain;
mod driver;
mod grid;
mod halving;
mod importance;
mod json;
mod point;
mod population;
mod random;
mod record;
mod run;
mod signed_rank;
mod space;
mod spread;
mod stopping;
mod study;
mod summary;
mod table;
mod table_text;
pub mod tpe;

pub use domain::Domain;
pub use driver::{Job, Stopping, Strategy, Sweep, Train, TrainAsync};
pub use grid::Grid;
pub use halving::{Bracket, Halving, Hyperband, Rung};
pub use importance::importance;
pub use point::{Coordinate, Point};
pub use population::{Exploit, PopulationBased};
pub use random::Random;
pub use record::{Record, Status};
pub use signed_rank::signed_rank;
pub use space::{Parameter, SearchSpace, When};
pub use spread::{Latin, Sobol};
pub use stopping::{FoldStopping, MedianStopping, Patience, Score};
pub use study::{Goal, History, Outcome, Sampler, Study, Trial};
pub use summary::Summary;
pub use table::Table;
pub use tpe::Tpe;
