//! Reads the tables in this folder.

use anyhow::Result;
use std::io::Read;

/// The features of all rows, and the last column, which is the target. The first line is skipped.
pub fn table(gzipped: &[u8]) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(gzipped).read_to_string(&mut text)?;
    let (mut features, mut last) = (Vec::new(), Vec::new());
    for line in text.lines().skip(1) {
        let row: Vec<f32> = line.split(',').map(str::parse).collect::<Result<_, _>>()?;
        features.extend(&row[..row.len() - 1]);
        last.push(row[row.len() - 1]);
    }
    Ok((features, last))
}
