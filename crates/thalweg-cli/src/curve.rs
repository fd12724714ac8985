//! Loss and accuracy over the epochs, as a picture.

use crate::report::Epoch;
use anyhow::Result;
use thalweg_chart::plotters::prelude::{RGBColor, SeriesLabelPosition};
use thalweg_chart::{Axis, Chart, Line, MAX_POINTS, picture};

const SIZE: (u32, u32) = (900, 340);
const TRAIN: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const TEST: RGBColor = RGBColor(0xe0, 0x6c, 0x1a);

/// Draws the loss, on a logarithmic axis, beside the accuracy; SVG text.
pub fn draw(epochs: &[Epoch]) -> Result<String> {
    let chart = |title, y, key, lines| Chart { title, steps: "epoch", x: Axis::Count, y, key: Some(key), lines };
    let loss = lines(epochs, |epoch| (epoch.train.loss, epoch.test.loss));
    let loss = chart("Cross-entropy", Axis::Log, SeriesLabelPosition::UpperRight, loss);
    let percent = lines(epochs, |epoch| (100.0 * epoch.train.accuracy, 100.0 * epoch.test.accuracy));
    let percent = chart("Accuracy in %", Axis::Linear(90.0, 100.0), SeriesLabelPosition::LowerRight, percent);
    picture(SIZE, |area| {
        let (left, right) = area.split_horizontally(SIZE.0 / 2);
        loss.draw(&left)?;
        percent.draw(&right)
    })
}

/// One quantity in training and in testing, by epoch.
fn lines(epochs: &[Epoch], of: impl Fn(&Epoch) -> (f64, f64)) -> Vec<Line> {
    let stride = epochs.len().div_ceil(MAX_POINTS).max(1);
    let shown = epochs.iter().filter(|epoch| epoch.epoch % stride == 0 || epoch.epoch == epochs.len());
    let (train, test) = shown.map(|epoch| ((epoch.epoch as f64, of(epoch).0), (epoch.epoch as f64, of(epoch).1))).unzip();
    let line = |name: &str, color, points| Line { name: name.into(), color, points };
    vec![line("training", TRAIN, train), line("test", TEST, test)]
}
