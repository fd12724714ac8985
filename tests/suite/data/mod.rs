//! Data sets, their split and scaling, and the readers of CSV and IDX files.

mod csv_files;
mod dataset;
mod idx_files;
mod scale;
mod split;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use thalweg::Error;
use thalweg::data::csv::{Header, Learn, Missing, Options, Table};
use thalweg::data::{Dataset, Scaler, csv, digits, idx, read};

/// A directory that lasts as long as a test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, content)?;
        Ok(path)
    }
}

pub fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

/// An error's text without the path in front.
fn text<T>(result: thalweg::Result<T>, path: &Path) -> String {
    let text = result.err().map_or("no error".into(), |error| error.to_string());
    text.strip_prefix(&path.display().to_string()).map_or(text.clone(), String::from)
}

/// A file of unsigned bytes in these dimensions.
pub fn idx_file(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut content = vec![0, 0, 8, sizes.len() as u8];
    content.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    content.extend(values);
    content
}

/// A data set whose only feature is the row's number, so that rows can be distinguished.
fn numbered(labels: Vec<u32>) -> thalweg::Result<Dataset> {
    Dataset::new((0..labels.len()).map(|i| i as f32).collect(), 1, labels)
}

/// Up to four changes: a byte replaced, removed or inserted, a bit flipped, or the end cut off.
fn mutate(content: &[u8], seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut content = content.to_vec();
    for _ in 0..rng.usize(1..=4) {
        if content.is_empty() {
            break;
        }
        let i = rng.usize(..content.len());
        match rng.u8(..9) {
            0 | 1 => content[i] = rng.u8(..),
            2 | 3 => content[i] = b"0,.-\n\"\rx"[rng.usize(..8)],
            4 => drop(content.remove(i)),
            5 => content.insert(i, rng.u8(..)),
            6 | 7 => content[i] ^= 1 << rng.u8(..8),
            _ => content.truncate(i),
        }
    }
    content
}
