//! What was measured over the epochs, as a picture.

use crate::report::Epoch;
use crate::score::{Aim, Measures};
use anyhow::Result;
use thalweg_chart::{Axis, Chart, Line, MAX_POINTS, RGBColor, beside, captioned, picture};

const SIZE: (u32, u32) = (900, 370);
const TRAIN: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const HELD: RGBColor = RGBColor(0xe0, 0x6c, 0x1a);
/// A worse R² is not shown: it would leave no room for the others.
const WORST: f64 = -1.0;

/// Draws the loss, on a logarithmic axis, beside the accuracy or R², below a title; SVG text.
pub fn draw(epochs: &[Epoch], measures: Measures, title: &str) -> Result<String> {
    let chart =
        |title, y_label, y, lines| Chart { title, steps: "epoch", values: y_label, x: Axis::Count(1), y, key: true, lines };
    let lines = |of: &dyn Fn(&Epoch) -> (f64, f64)| lines(epochs, measures, of);
    let loss = lines(&|epoch| (epoch.train.loss, epoch.held.loss));
    let [loss, quality] = match measures.aim {
        Aim::Classes => {
            let percent = lines(&|epoch| (100.0 * epoch.train.quality, 100.0 * epoch.held.quality));
            let percent = chart("Accuracy", "accuracy in %", Axis::Linear(90.0, 100.0), percent);
            [chart("Cross-entropy", "loss", Axis::Log, loss), percent]
        }
        Aim::Numbers => {
            let shown = |r2: f64| if r2 < WORST { f64::NAN } else { r2 };
            let explained = lines(&|epoch| (shown(epoch.train.quality), shown(epoch.held.quality)));
            let explained = chart("R²", "R²", Axis::Linear(0.0, 1.0), explained);
            [chart("Mean squared error", "loss", Axis::Log, loss), explained]
        }
    };
    picture(SIZE, |area| {
        let charts = captioned(area, title)?;
        let [left, right] = beside(&charts);
        loss.draw(&left)?;
        quality.draw(&right)
    })
}

/// One quantity in training and on the rows that validate, by epoch.
fn lines(epochs: &[Epoch], measures: Measures, of: impl Fn(&Epoch) -> (f64, f64)) -> Vec<Line> {
    let stride = epochs.len().div_ceil(MAX_POINTS).max(1);
    let shown = epochs.iter().filter(|epoch| epoch.epoch % stride == 0 || epoch.epoch == epochs.len());
    let (train, held) = shown.map(|epoch| ((epoch.epoch as f64, of(epoch).0), (epoch.epoch as f64, of(epoch).1))).unzip();
    let line = |name: &str, color, points| Line { name: name.into(), color, points };
    vec![line("training", TRAIN, train), line(measures.held_words(), HELD, held)]
}
