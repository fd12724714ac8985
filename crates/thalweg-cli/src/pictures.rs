//! What a model says of the test rows, as a picture.

use crate::score::class;
use anyhow::Result;
use thalweg::data::Dataset;
use thalweg::train::Confusion;
use thalweg_chart::{Axis, Dot, MAX_POINTS, Matrix, PALETTE, Scatter, captioned, picture};

const SIZE: (u32, u32) = (640, 640);
/// More points hide each other.
const MOST_POINTS: usize = 4 * MAX_POINTS;

/// The confusion matrix, or predicted against true numbers: the name of the file, and SVG text.
pub fn of_test(outputs: &[f32], test: &Dataset, title: &str) -> Result<(&'static str, String)> {
    if test.is_regression() {
        Ok(("predictions.svg", predictions(outputs, test, title)?))
    } else {
        Ok(("confusion.svg", confusion(outputs, test, title)?))
    }
}

fn confusion(logits: &[f32], test: &Dataset, title: &str) -> Result<String> {
    let predicted: Vec<u32> = logits.chunks_exact(test.classes.max(1)).map(|logits| class(logits) as u32).collect();
    let confusion = Confusion::of(&test.labels, &predicted, test.classes)?;
    let name = |class: usize| test.class_names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let names: Vec<String> = (0..test.classes).map(name).collect();
    let matrix = Matrix { rows: "class", columns: "predicted", names: &names, counts: &confusion.counts };
    picture(SIZE, |area| matrix.draw(&captioned(area, title)?))
}

fn predictions(outputs: &[f32], test: &Dataset, title: &str) -> Result<String> {
    let stride = outputs.len().div_ceil(MOST_POINTS).max(1);
    let pairs = test.targets.iter().zip(outputs).step_by(stride).map(|(&x, &y)| (f64::from(x), f64::from(y)));
    let dots = pairs.map(|(x, y)| Dot { x, y, color: PALETTE[0], best: false }).collect();
    let (axis, diagonal) = (Axis::Linear(f64::MAX, f64::MIN), true);
    let scatter = Scatter { title: "", names: ("true", "predicted"), x: axis, y: Ok(axis), diagonal, dots };
    picture(SIZE, |area| scatter.draw(&captioned(area, title)?))
}
