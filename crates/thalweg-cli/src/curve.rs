//! Loss and accuracy over the epochs, as a picture.

use crate::report::Epoch;
use anyhow::Result;
use thalweg_chart::{Axis, Chart, Line, MAX_POINTS, RGBColor, beside, captioned, picture};

const SIZE: (u32, u32) = (900, 370);
const TRAIN: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const TEST: RGBColor = RGBColor(0xe0, 0x6c, 0x1a);

/// Draws the loss, on a logarithmic axis, beside the accuracy, below a title. Returns the text of the SVG.
pub fn draw(epochs: &[Epoch], title: &str) -> Result<String> {
    let chart =
        |title, y_label, y, lines| Chart { title, steps: "epoch", values: y_label, x: Axis::Count(1), y, key: true, lines };
    let loss = lines(epochs, |epoch| (epoch.train.loss, epoch.test.loss));
    let loss = chart("Cross-entropy", "loss", Axis::Log, loss);
    let percent = lines(epochs, |epoch| (100.0 * epoch.train.accuracy, 100.0 * epoch.test.accuracy));
    let percent = chart("Accuracy", "accuracy in %", Axis::Linear(90.0, 100.0), percent);
    picture(SIZE, |area| {
        let charts = captioned(area, title)?;
        let [left, right] = beside(&charts);
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
