//! IDX files, the format of MNIST and its successors.
//!
//! ```text
//! 0 0 type dimensions | size of each dimension, u32 big endian | values, last dimension fastest
//! ```
//!
//! Only type 0x08, unsigned bytes, is read. Source: <http://yann.lecun.com/exdb/mnist/>.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Dataset;
use super::source::{Content, refused};
use crate::error::Result;

/// Reads images, plain or gzipped: the first dimension counts them, the product of the others is the width of a row.
///
/// Returns the features, 0 to 255 and row after row, and the width.
///
/// # Examples
///
/// ```
/// let path = std::env::temp_dir().join(format!("thalweg-images-{}", std::process::id()));
/// std::fs::write(&path, [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 7, 8, 9, 255])?;
/// let (features, width) = thalweg::data::idx::read_images(&path)?;
/// assert_eq!((features, width), (vec![7.0, 8.0, 9.0, 255.0], 2));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::File`](crate::Error::File) for a file that cannot be read, another magic number, no images or images without
/// pixels, sizes whose product overflows, and content that is shorter or longer than the sizes say.
pub fn read_images(path: impl AsRef<Path>) -> Result<(Vec<f32>, usize)> {
    images(path.as_ref(), u64::MAX).map(|(features, shape)| (features, shape.iter().product()))
}

/// The features of all images, and the dimensions of one.
fn images(path: &Path, max_memory: u64) -> Result<(Vec<f32>, Vec<usize>)> {
    let idx = Idx::read(path, IMAGES, max_memory)?;
    match idx.sizes.as_slice() {
        [0, ..] => Err(refused(path, "the file holds no images")),
        [_, shape @ ..] if !idx.values.is_empty() => {
            Ok((idx.values.iter().map(|&byte| f32::from(byte)).collect(), shape.to_vec()))
        }
        _ => Err(refused(path, "the images have no pixels")),
    }
}

/// Reads labels, plain or gzipped.
///
/// # Examples
///
/// ```
/// let path = std::env::temp_dir().join(format!("thalweg-labels-{}", std::process::id()));
/// std::fs::write(&path, [0, 0, 8, 1, 0, 0, 0, 3, 1, 0, 9])?;
/// assert_eq!(thalweg::data::idx::read_labels(&path)?, [1, 0, 9]);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As [`read_images`].
pub fn read_labels(path: impl AsRef<Path>) -> Result<Vec<u32>> {
    labels(path.as_ref(), u64::MAX)
}

fn labels(path: &Path, max_memory: u64) -> Result<Vec<u32>> {
    let idx = Idx::read(path, LABELS, max_memory)?;
    if idx.values.is_empty() {
        return Err(refused(path, "the file holds no labels"));
    }
    Ok(idx.values.iter().map(|&byte| u32::from(byte)).collect())
}

/// Reads the training and the test part from a directory with the four files of MNIST.
///
/// The classes are the distinct labels of the training part in order, with the labels as their names; a row's shape is that of
/// an image.
///
/// The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`,
/// also spelled with `.idx`, also with `.gz`.
///
/// # Examples
///
/// ```no_run
/// let (train, test) = thalweg::data::idx::read_directory("fashion-mnist")?;
/// assert_eq!((train.rows(), test.rows()), (60_000, 10_000));
/// # Ok::<(), thalweg::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::File`](crate::Error::File) for a missing file, numbers of images and labels that differ, test images of another
/// size, training labels that are all the same, a test label that is not among the training labels, and all that
/// [`read_images`] and [`read_labels`] refuse.
pub fn read_directory(directory: impl AsRef<Path>) -> Result<(Dataset, Dataset)> {
    read_directory_within(directory, u64::MAX)
}

/// [`read_directory`] that refuses a file which needs more than `max_memory` bytes of memory.
///
/// # Errors
///
/// As [`read_directory`], and [`Error::File`](crate::Error::File) for a file that needs more.
pub fn read_directory_within(directory: impl AsRef<Path>, max_memory: u64) -> Result<(Dataset, Dataset)> {
    let directory = directory.as_ref();
    if !directory.is_dir() {
        return Err(refused(directory, "no such directory"));
    }
    let mut train = read_part(directory, "train", max_memory)?;
    let mut test = read_part(directory, "t10k", max_memory)?;
    if test.shape != train.shape {
        let reason = format!("test images of {} pixels, training images of {}", sizes(&test), sizes(&train));
        return Err(refused(directory, reason));
    }
    let known: Vec<u32> = BTreeSet::from_iter(train.labels.iter().copied()).into_iter().collect();
    if let [label] = known[..] {
        return Err(refused(directory, format!("all training labels are {label}, so nothing is to be told apart")));
    }
    if let Some(label) = test.labels.iter().find(|label| known.binary_search(label).is_err()) {
        return Err(refused(directory, format!("test label {label} is none of the training labels {}", list(&known))));
    }
    for part in [&mut train, &mut test] {
        part.labels.iter_mut().for_each(|label| *label = known.partition_point(|known| known < label) as u32);
        part.classes = known.len();
        part.class_names = known.iter().map(u32::to_string).collect();
    }
    Ok((train, test))
}

/// The sizes of an image, as a message has them.
fn sizes(data: &Dataset) -> String {
    let sizes: Vec<String> = data.shape.iter().map(usize::to_string).collect();
    sizes.join(" × ")
}

/// Labels in order, as a message has them.
fn list(labels: &[u32]) -> String {
    let all: Vec<String> = labels.iter().take(10).map(u32::to_string).collect();
    all.join(", ") + if labels.len() > 10 { ", …" } else { "" }
}

fn read_part(directory: &Path, part: &str, max_memory: u64) -> Result<Dataset> {
    let image_file = find(directory, &format!("{part}-images"), "idx3-ubyte")?;
    let label_file = find(directory, &format!("{part}-labels"), "idx1-ubyte")?;
    let (features, shape) = images(&image_file, max_memory)?;
    let width = shape.iter().product();
    let labels = labels(&label_file, max_memory)?;
    let rows = features.len() / width;
    if rows != labels.len() {
        let reason = format!("{} labels for the {rows} images of {}", labels.len(), image_file.display());
        return Err(refused(&label_file, reason));
    }
    Ok(Dataset { shape, ..Dataset::new(features, width, labels)? })
}

/// The first spelling of a file's name that exists.
fn find(directory: &Path, name: &str, format: &str) -> Result<PathBuf> {
    let spellings = ["-", "."].map(|dash| ["", ".gz"].map(|end| format!("{name}{dash}{format}{end}"))).into_iter().flatten();
    let spellings: Vec<String> = spellings.collect();
    let found = spellings.iter().map(|spelling| directory.join(spelling)).find(|path| path.is_file());
    found.ok_or_else(|| refused(directory, format!("no file {}", spellings.join(" or "))))
}

/// Magic number of unsigned bytes in no dimension; the last byte counts the dimensions.
const BYTES: u32 = 0x0800;
/// The expected kind of a file. Images may have any number of dimensions from two, labels have one.
const IMAGES: u32 = BYTES + 3;
const LABELS: u32 = BYTES + 1;

/// The most bytes after the end that are counted for a message.
const COUNTED: u64 = 1 << 20;

/// A file whose length is what its header says.
struct Idx {
    sizes: Vec<usize>,
    values: Vec<u8>,
}

impl Idx {
    /// Reads the header, then as many values as it says. A value takes five bytes of memory: one as it is read, and four as a
    /// float.
    fn read(path: &Path, expected: u32, max_memory: u64) -> Result<Self> {
        let mut content = Content::open(path)?;
        let wrong_length = |found: String, expected: u64| refused(path, format!("{found} bytes found, {expected} expected"));
        let mut magic = Vec::new();
        content.take(4, &mut magic)?;
        let magic: [u8; 4] = magic.as_slice().try_into().map_err(|_| wrong_length(magic.len().to_string(), 4))?;
        let magic = u32::from_be_bytes(magic);
        let fits = magic == expected || expected == IMAGES && (BYTES + 2..=BYTES + 255).contains(&magic);
        if !fits {
            return Err(refused(path, format!("magic number {magic:#010x} found, {expected:#010x} expected")));
        }
        let mut header = Vec::new();
        let header_len = 4 * u64::from(magic & 0xff);
        content.take(header_len, &mut header)?;
        let start = 4 + header_len;
        if (header.len() as u64) < header_len {
            return Err(wrong_length((4 + header.len()).to_string(), start));
        }
        let sizes: Vec<usize> = header.as_chunks().0.iter().map(|size| u32::from_be_bytes(*size) as usize).collect();
        let product = sizes.iter().try_fold(1, |product: u64, &size| product.checked_mul(size as u64));
        let Some((len, length)) = product.and_then(|len| Some((len, len.checked_add(start)?))) else {
            return Err(refused(path, format!("the product of the sizes {sizes:?} overflows")));
        };

        let mut values = Vec::new();
        let found = content.take(len.min(max_memory / 5).saturating_add(1), &mut values)? as u64;
        if found > max_memory / 5 {
            let needed = 5 * u128::from(len);
            return Err(refused(
                path,
                format!("its values take {needed} bytes of memory, {max_memory} are allowed (`max_memory`)"),
            ));
        }
        if found < len {
            return Err(wrong_length((start + found).to_string(), length));
        }
        if found > len {
            let more = content.take(COUNTED, &mut values)? as u64;
            let found = (start + found + more).to_string();
            return Err(wrong_length(if more == COUNTED { format!("more than {found}") } else { found }, length));
        }
        Ok(Self { sizes, values })
    }
}
