//! Event files for TensorBoard: curves of a run as records with checksums.
//!
//! A file is a list of records: the length in 8 bytes, its checksum, an event, its checksum. Events are protocol buffers; only
//! four kinds of fields are needed here. Sources: tensorflow/core/lib/io/record_writer.h, core/util/event.proto and
//! core/framework/summary.proto of TensorFlow.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An event file that is open.
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Starts a new file in a folder, which is made if it is missing. Files of earlier runs stay. A resumed run gives its
    /// number of steps, so that TensorBoard drops what the interrupted run had written for later steps.
    pub fn create(directory: &Path, steps: u64) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("{}: cannot be made", directory.display()))?;
        let now = now();
        let name = |number: u32| format!("events.out.tfevents.{:010}.thalweg.{}.{number}", now as u64, std::process::id());
        let free = (0..).map(|number| directory.join(name(number))).find(|path| !path.exists());
        let path = free.unwrap_or_else(|| directory.join(name(0)));
        let file = File::create(&path).with_context(|| format!("{}: cannot be written", path.display()))?;
        let mut events = Self { path, file };
        events.write(&[double(1, now), text(3, b"brain.Event:2")].concat())?;
        if steps > 0 {
            // SessionLog with the status START: earlier records with this step or a later one are dropped.
            events.write(&[double(1, now), whole(2, steps + 1), text(7, &whole(1, 1))].concat())?;
        }
        Ok(events)
    }

    /// Adds the values of a step by their names, in one write.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let value = |(name, x): &(&str, f64)| text(1, &[text(1, name.as_bytes()), float(2, *x as f32)].concat());
        let summary: Vec<u8> = values.iter().flat_map(value).collect();
        self.write(&[double(1, now()), whole(2, step), text(5, &summary)].concat())
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        self.file.write_all(&record(event)).with_context(|| format!("{}: cannot be written", self.path.display()))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn record(data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u64).to_le_bytes();
    [&len[..], &masked(crc32c(&len)).to_le_bytes(), data, &masked(crc32c(data)).to_le_bytes()].concat()
}

/// The format masks checksums, since a checksum of data that contain checksums would be weak.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The polynomial of Castagnoli, mirrored.
const POLYNOMIAL: u32 = 0x82f6_3b78;

fn crc32c(data: &[u8]) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
    !data.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| bit(crc)))
}

/// A number in groups of 7 bits, the lowest first.
fn varint(mut x: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while x >= 0x80 {
        bytes.push(x as u8 | 0x80);
        x >>= 7;
    }
    bytes.push(x as u8);
    bytes
}

/// The beginning of a field: its number and its encoding.
fn key(field: u64, kind: u64) -> Vec<u8> {
    varint(field << 3 | kind)
}

fn whole(field: u64, x: u64) -> Vec<u8> {
    [key(field, 0), varint(x)].concat()
}

fn double(field: u64, x: f64) -> Vec<u8> {
    [key(field, 1), x.to_le_bytes().to_vec()].concat()
}

fn text(field: u64, bytes: &[u8]) -> Vec<u8> {
    [key(field, 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn float(field: u64, x: f32) -> Vec<u8> {
    [key(field, 5), x.to_le_bytes().to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checks of RFC 3720, appendix B.4.
    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// Written with the package tensorboard 2.21: `RecordWriter` over `Event(wall_time=1.5, step=300, summary=…)` with `loss` =
    /// 0.25.
    #[test]
    fn a_record_has_the_bytes_of_tensorboard() {
        let summary = text(1, &[text(1, b"loss"), float(2, 0.25)].concat());
        let event = [double(1, 1.5), whole(2, 300), text(5, &summary)].concat();
        let hex: String = record(&event).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "1b000000000000001a0d9e1309000000000000f83f10ac022a0d0a0b0a046c6f7373150000803e9908deed";
}
