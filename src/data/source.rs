//! Where content comes from: files and streams, plain or gzipped, with a bound on the memory that they may take.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::{Dataset, csv, idx};
use crate::error::{Error, Result};

/// Reads what `path` names: a directory as the four files of [`idx::read_directory`], a file as [`csv::read`] does.
///
/// A directory has its own test part, a CSV file has none.
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

/// How many bytes are read at a time.
const BLOCK: usize = 1 << 16;

/// The content of a file or stream, unpacked on the way if it is gzipped.
pub(super) struct Content<'a> {
    path: &'a Path,
    reader: Box<dyn Read + 'a>,
    /// What precedes a reading error in a message.
    damage: &'static str,
}

impl<'a> Content<'a> {
    pub fn open(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| refused(path, error))?;
        Self::new(path, file)
    }

    /// The content that `raw` gives; `path` is for the messages.
    pub fn new(path: &'a Path, raw: impl Read + 'a) -> Result<Self> {
        let mut raw = raw;
        let mut magic = Vec::new();
        raw.by_ref().take(2).read_to_end(&mut magic).map_err(|error| refused(path, error))?;
        let gzipped = magic == [0x1f, 0x8b];
        let whole = BufReader::with_capacity(BLOCK, Cursor::new(magic).chain(raw));
        let (reader, damage): (Box<dyn Read + 'a>, _) =
            if gzipped { (Box::new(Members(Some(GzDecoder::new(whole)))), "damaged gzip: ") } else { (Box::new(whole), "") };
        Ok(Self { path, reader, damage })
    }

    /// Appends the next bytes, at most `len` of them, and returns their number. If it is below `len`, the content has ended.
    pub fn take(&mut self, len: u64, into: &mut Vec<u8>) -> Result<usize> {
        let read = self.reader.by_ref().take(len).read_to_end(into);
        read.map_err(|error| refused(self.path, format!("{}{error}", self.damage)))
    }

    /// The rest of the content, if it is at most `max` bytes. `check` sees each block and may refuse it.
    pub fn all(mut self, max: u64, mut check: impl FnMut(&[u8]) -> Result<()>) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let before = content.len();
            let found = self.take(BLOCK as u64, &mut content)?;
            check(&content[before..])?;
            if content.len() as u64 > max {
                return Err(refused(self.path, format!("the content is larger than {max} bytes, which is `max_memory`")));
            }
            if found < BLOCK {
                return Ok(content);
            }
        }
    }
}

/// The members of a gzipped stream, one after the other. Zeros after the last one are ignored, as in Python's `gzip`: programs
/// that write whole blocks add them.
struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let found = member.read(into)?;
            if found > 0 || into.is_empty() {
                return Ok(found);
            }
            let rest = self.0.take().map(GzDecoder::into_inner);
            self.0 = rest.map(after_zeros).transpose()?.flatten().map(another).transpose()?;
        }
        Ok(0)
    }
}

/// The next member, if the bytes begin like one.
fn another<R: BufRead>(mut rest: R) -> io::Result<GzDecoder<R>> {
    if rest.fill_buf()?.first() != Some(&0x1f) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes after its end that are neither gzip nor zeros"));
    }
    Ok(GzDecoder::new(rest))
}

/// What follows after zeros, if anything.
fn after_zeros<R: BufRead>(mut rest: R) -> io::Result<Option<R>> {
    loop {
        let block = rest.fill_buf()?;
        let (zeros, len) = (block.iter().take_while(|&&byte| byte == 0).count(), block.len());
        rest.consume(zeros);
        if len == 0 {
            return Ok(None);
        }
        if zeros < len {
            return Ok(Some(rest));
        }
    }
}

/// The error for a file that cannot be used.
pub(super) fn refused(path: &Path, reason: impl ToString) -> Error {
    Error::File { path: path.into(), reason: reason.to_string() }
}
