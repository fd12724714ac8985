//! Loss and accuracy over the epochs, as a picture.

use crate::report::Epoch;
use anyhow::Result;
use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::ops::Range;

const SIZE: (u32, u32) = (900, 340);
/// More points than pixels say nothing.
const MAX_POINTS: usize = 500;
/// Marks on a logarithmic axis.
const MAX_MARKS: usize = 9;
const TRAIN: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const TEST: RGBColor = RGBColor(0xe0, 0x6c, 0x1a);
const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
const FONT: &str = "sans-serif";

/// One quantity in training and in testing, by epoch.
struct Curves {
    title: &'static str,
    train: Vec<(f64, f64)>,
    test: Vec<(f64, f64)>,
}

/// At most as many marks as fit beside a chart.
fn thinned(marks: Vec<f64>) -> Vec<f64> {
    let stride = marks.len().div_ceil(MAX_MARKS);
    marks.into_iter().step_by(stride).collect()
}

/// What is written at a chart's curves and y axis.
struct Labels {
    y: fn(&f64) -> String,
    /// Ticks, roughly.
    count: usize,
    key: SeriesLabelPosition,
}

/// Draws the loss, on a logarithmic axis, beside the accuracy; SVG text.
pub fn draw(epochs: &[Epoch]) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let (left, right) = area.split_horizontally(SIZE.0 / 2);
        let last = epochs.len().max(2) as f64;

        let loss = Curves::new("Cross-entropy", epochs, |epoch| (epoch.train.loss, epoch.test.loss));
        let marks = loss.marks();
        let y = (marks[0]..marks[marks.len() - 1]).log_scale().with_key_points(thinned(marks));
        let labels = Labels {
            y: |&loss| if loss < 1e-3 { format!("{loss:e}") } else { loss.to_string() },
            count: MAX_MARKS,
            key: SeriesLabelPosition::UpperRight,
        };
        chart(&left, &loss, 1.0..last, y, labels)?;

        let percent = Curves::new("Accuracy in %", epochs, |epoch| (100.0 * epoch.train.accuracy, 100.0 * epoch.test.accuracy));
        let y = percent.up_to_100();
        let labels = Labels { y: |percent| format!("{percent:.0}"), count: 6, key: SeriesLabelPosition::LowerRight };
        chart(&right, &percent, 1.0..last, y, labels)?;
        area.present()?;
    }
    Ok(text)
}

impl Curves {
    fn new(title: &'static str, epochs: &[Epoch], of: impl Fn(&Epoch) -> (f64, f64)) -> Self {
        let stride = epochs.len().div_ceil(MAX_POINTS).max(1);
        let shown = || epochs.iter().filter(|epoch| epoch.epoch % stride == 0 || epoch.epoch == epochs.len());
        let line = |of: &dyn Fn(&Epoch) -> f64| {
            let points = shown().map(|epoch| (epoch.epoch as f64, of(epoch)));
            points.filter(|(_, y)| y.is_finite()).collect()
        };
        Self { title, train: line(&|epoch| of(epoch).0), test: line(&|epoch| of(epoch).1) }
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.train.iter().chain(&self.test).map(|(_, y)| *y)
    }

    /// Marks for a logarithmic axis: 1, 2 and 5 times powers of ten, from below the smallest value to above the largest.
    fn marks(&self) -> Vec<f64> {
        let positive = || self.values().filter(|&y| y > 0.0);
        let (low, high) = (positive().fold(f64::MAX, f64::min), positive().fold(0.0, f64::max));
        // A run that went astray at once has nothing to show.
        let (low, high) = if low > high { (0.1, 1.0) } else { (low, high) };
        let power = |x: f64| x.log10().floor() as i32;
        let marks = (power(low)..=power(high) + 1).flat_map(|power| [1, 2, 5].map(|digit| format!("{digit}e{power}")));
        let marks: Vec<f64> = marks.filter_map(|mark| mark.parse().ok()).collect();
        let first = marks.iter().rposition(|&mark| mark <= low).unwrap_or(0);
        let last = marks.iter().position(|&mark| mark >= high).unwrap_or(marks.len() - 1);
        marks[first..=last.max(first + 1)].to_vec()
    }

    /// From a multiple of 10 below the smallest value to 100.
    fn up_to_100(&self) -> Range<f64> {
        let low = self.values().fold(90.0, f64::min);
        10.0 * (low / 10.0).floor()..100.0
    }
}

fn chart<Y>(area: &DrawingArea<SVGBackend, Shift>, curves: &Curves, x: Range<f64>, y: Y, labels: Labels) -> Result<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .caption(curves.title, (FONT, 17))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(46)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(BLACK.mix(0.5))
        .label_style((FONT, 13))
        .x_desc("epoch")
        .x_labels(8)
        .y_labels(labels.count)
        .x_label_formatter(&|epoch| if epoch.fract() == 0.0 { epoch.to_string() } else { String::new() })
        .y_label_formatter(&labels.y)
        .draw()?;
    for (name, points, color) in [("training", &curves.train, TRAIN), ("test", &curves.test, TEST)] {
        let key = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2));
        chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?.label(name).legend(key);
    }
    chart
        .configure_series_labels()
        .position(labels.key)
        .label_font((FONT, 13))
        .background_style(WHITE.mix(0.8))
        .border_style(GRID)
        .draw()?;
    Ok(())
}
