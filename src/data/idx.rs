//! IDX files, the format of MNIST and its successors.
//!
//! ```text
//! 0 0 type dimensions | size of each dimension, u32 big endian | values, last dimension fastest
//! ```
//!
//! Only type 0x08, unsigned bytes, is read. Source: <http://yann.lecun.com/exdb/mnist/>.

use std::path::{Path, PathBuf};

use super::Dataset;
use super::source::{self, refused};
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
/// [`Error::File`](crate::Error::File) for a file that cannot be read, another magic number, no images or images without pixels, sizes whose product
/// overflows, and a content that is shorter or longer than they say.
pub fn read_images(path: impl AsRef<Path>) -> Result<(Vec<f32>, usize)> {
    let path = path.as_ref();
    let content = source::bytes(path)?;
    let idx = Idx::parse(path, &content, IMAGES)?;
    match idx.sizes.as_slice() {
        [0, ..] => Err(refused(path, "the file holds no images")),
        [images, ..] if !idx.values.is_empty() => {
            Ok((idx.values.iter().map(|&byte| f32::from(byte)).collect(), idx.values.len() / images))
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
    let path = path.as_ref();
    let content = source::bytes(path)?;
    let idx = Idx::parse(path, &content, LABELS)?;
    if idx.values.is_empty() {
        return Err(refused(path, "the file holds no labels"));
    }
    Ok(idx.values.iter().map(|&byte| u32::from(byte)).collect())
}

/// Reads the training and the test part from a directory with the four files of MNIST.
///
/// They are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, also
/// spelled with `.idx`, also with `.gz`. Both parts have the classes of the training part.
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
/// [`Error::File`](crate::Error::File) for a missing file, numbers of images and labels that differ, test images of another size, a test label
/// outside the training classes, and all that [`read_images`] and [`read_labels`] refuse.
pub fn read_directory(directory: impl AsRef<Path>) -> Result<(Dataset, Dataset)> {
    let directory = directory.as_ref();
    if !directory.is_dir() {
        return Err(refused(directory, "no such directory"));
    }
    let train = read_part(directory, "train")?;
    let mut test = read_part(directory, "t10k")?;
    if test.width != train.width {
        let reason = format!("test images of {} pixels, training images of {}", test.width, train.width);
        return Err(refused(directory, reason));
    }
    if test.classes > train.classes {
        let (label, largest) = (test.classes - 1, train.classes - 1);
        return Err(refused(directory, format!("test label {label} is outside the training classes 0 to {largest}")));
    }
    test.classes = train.classes;
    Ok((train, test))
}

fn read_part(directory: &Path, part: &str) -> Result<Dataset> {
    let images = find(directory, &format!("{part}-images"), "idx3-ubyte")?;
    let labels = find(directory, &format!("{part}-labels"), "idx1-ubyte")?;
    let (features, width) = read_images(&images)?;
    let classes = read_labels(&labels)?;
    let rows = features.len() / width;
    if rows != classes.len() {
        let reason = format!("{} labels for the {rows} images of {}", classes.len(), images.display());
        return Err(refused(&labels, reason));
    }
    Dataset::new(features, width, classes)
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
/// What a file is expected to be. Images may have any number of dimensions from two, labels have one.
const IMAGES: u32 = BYTES + 3;
const LABELS: u32 = BYTES + 1;

/// A file whose length is what its header says.
struct Idx<'a> {
    sizes: Vec<usize>,
    values: &'a [u8],
}

impl<'a> Idx<'a> {
    fn parse(path: &Path, content: &'a [u8], expected: u32) -> Result<Self> {
        let wrong_length = |expected: usize| refused(path, format!("{} bytes found, {expected} expected", content.len()));
        let (magic, rest) = content.split_first_chunk().ok_or_else(|| wrong_length(4))?;
        let magic = u32::from_be_bytes(*magic);
        let fits = magic == expected || expected == IMAGES && (BYTES + 2..=BYTES + 255).contains(&magic);
        if !fits {
            return Err(refused(path, format!("magic number {magic:#010x} found, {expected:#010x} expected")));
        }
        let header = 4 * (magic & 0xff) as usize;
        let (header, values) = rest.split_at_checked(header).ok_or_else(|| wrong_length(4 + header))?;
        let sizes: Vec<usize> = header.as_chunks().0.iter().map(|size| u32::from_be_bytes(*size) as usize).collect();
        let product = sizes.iter().try_fold(1, |product: usize, &size| product.checked_mul(size));
        let length = product.and_then(|values| values.checked_add(4 + header.len()));
        match length {
            None => Err(refused(path, format!("the product of the sizes {sizes:?} overflows"))),
            Some(length) if length != content.len() => Err(wrong_length(length)),
            Some(_) => Ok(Self { sizes, values }),
        }
    }
}
