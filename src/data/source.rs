use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::{Dataset, csv, idx};
use crate::error::{Error, Result};

/// Reads what `path` names: a directory as the four files of [`idx::read_directory`], a file as [`csv::read`] does.
///
/// A directory brings its own test part, a CSV file none.
///
/// # Examples
///
/// ```
/// let path = std::env::temp_dir().join(format!("thalweg-read-{}.csv", std::process::id()));
/// std::fs::write(&path, "0.5,1.5,0\n2.5,3.5,1\n")?;
/// let (data, test) = thalweg::data::read(&path)?;
/// assert_eq!((data.rows(), test), (2, None));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Those of the two readers.
pub fn read(path: impl AsRef<Path>) -> Result<(Dataset, Option<Dataset>)> {
    let path = path.as_ref();
    if path.is_dir() {
        idx::read_directory(path).map(|(train, test)| (train, Some(test)))
    } else {
        csv::read(path).map(|data| (data, None))
    }
}

/// The content of a file, unpacked if it is gzipped.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>> {
    let content = fs::read(path).map_err(|error| refused(path, error))?;
    inflate(path, content)
}

/// Unpacks what starts with the magic of gzip and leaves the rest as it is.
pub(super) fn inflate(path: &Path, content: Vec<u8>) -> Result<Vec<u8>> {
    if !content.starts_with(&[0x1f, 0x8b]) {
        return Ok(content);
    }
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(content.as_slice()).read_to_end(&mut unpacked);
    read.map_err(|error| refused(path, format!("damaged gzip: {error}")))?;
    Ok(unpacked)
}

/// The error for a file that cannot be used.
pub(super) fn refused(path: &Path, reason: impl ToString) -> Error {
    Error::File { path: path.into(), reason: reason.to_string() }
}
