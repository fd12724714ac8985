//! Tensors in files: written so that a crash leaves the older file whole, and read so that a damaged file is refused.
//!
//! The format is [safetensors](https://huggingface.co/docs/safetensors), which PyTorch and many others read: tensors by name,
//! and a map of texts. Files of Thalweg also hold a BLAKE3 hash of everything in them, so that a file that was cut off or
//! changed is found before anything of it is used.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Tensors`] | named tensors and texts in memory |
//! | [`Bytes`] | the bytes of one tensor |
//! | [`write()`], [`read`] | one file |
//! | [`read_foreign`], [`read_any`] | a file of another program, which has no hash; a file of either kind |
//! | [`Folder`] | the last files of a run and its best one |
//! | [`MANIFEST`] | how the names of checkpoints in parts end |
//! | [`Saver`] | writes on a thread of its own |
//! | [`Every`], [`Due`] | how often a run is saved |
//! | [`Renames`] | a table of names for weights of another program |
//! | [`Loaded`] | what loading took from a file and what it left |
//!
//! # Examples
//!
//! ```
//! use thalweg::checkpoint::{self, Tensors};
//!
//! let mut tensors = Tensors::default();
//! tensors.put("weight", &[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! tensors.texts.insert("epoch".into(), "3".into());
//! let file = std::env::temp_dir().join(format!("example-{}.safetensors", std::process::id()));
//! checkpoint::write(&file, &tensors)?;
//! let found = checkpoint::read(&file)?;
//! assert_eq!(found.get::<f32>("weight")?, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
//! assert_eq!(found.texts["epoch"], "3");
//! # std::fs::remove_file(file).unwrap();
//! # Ok::<(), thalweg::Error>(())
//! ```

mod bytes;
mod every;
mod file;
mod fill;
mod folder;
mod lanes;
mod loaded;
mod renames;
mod saver;
mod tensors;

pub use bytes::Bytes;
pub use every::{Due, Every};
pub(crate) use file::read_into;
pub use file::{Writer, read, read_any, read_foreign, write};
pub(crate) use fill::{Room, Rooms};
pub use folder::{Folder, MANIFEST};
pub(crate) use lanes::{LANES, STEPS};
pub use loaded::Loaded;
pub use renames::Renames;
pub use saver::Saver;
pub(crate) use tensors::swap;
pub use tensors::{Dtype, Element, StoredTensor, Tensors};
