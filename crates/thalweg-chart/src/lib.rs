//! Lines in a frame, as SVG.

/// The library that draws, for what this one does not say.
pub use plotters;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;
use std::ops::Range;

/// More points than pixels say nothing.
pub const MAX_POINTS: usize = 500;
pub const FONT: &str = "sans-serif";

/// Marks on an axis.
const MAX_MARKS: usize = 9;
/// A logarithmic axis over more powers of ten than this has no marks between them.
const FEW_DECADES: i32 = 3;
const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A line and its name.
pub struct Line {
    pub name: String,
    pub color: RGBColor,
    pub points: Vec<(f64, f64)>,
}

/// Lines over axes that are as long as the lines need.
pub struct Chart<'a> {
    pub title: &'a str,
    /// What x counts.
    pub steps: &'a str,
    pub x: Axis,
    pub y: Axis,
    /// Where the lines' names stand, if they do.
    pub key: Option<SeriesLabelPosition>,
    pub lines: Vec<Line>,
}

/// How an axis is divided.
#[derive(Clone, Copy)]
pub enum Axis {
    /// Evenly, with this range in it.
    Linear(f64, f64),
    /// Evenly from 0, in whole numbers.
    Count,
    /// By powers of ten. What is not above 0 is not shown.
    Log,
}

/// The places of an axis's marks, ends included; logarithms where it is logarithmic.
struct Marks(Vec<f64>);

/// SVG text of what `paint` paints.
pub fn picture(size: (u32, u32), paint: impl FnOnce(&Area) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE)?;
        paint(&area)?;
        area.present()?;
    }
    Ok(text)
}

impl Axis {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear(..) | Self::Count => value,
            Self::Log => value.log10(),
        }
    }

    fn label(self, place: f64) -> String {
        // An axis keeps its labels short, and the power of a mark's logarithm is not quite the mark.
        let rounded = |value: f64| format!("{value:.6e}").parse().unwrap_or(value);
        let value: f64 = match self {
            Self::Linear(..) | Self::Count => rounded(place),
            Self::Log => rounded(10f64.powf(place)),
        };
        if value != 0.0 && !(1e-3..1e6).contains(&value.abs()) { format!("{value:e}") } else { value.to_string() }
    }

    /// Marks from below the smallest place to above the largest.
    fn marks(self, places: impl Iterator<Item = f64> + Clone) -> Marks {
        let (low, high) = (places.clone().fold(f64::MAX, f64::min), places.fold(f64::MIN, f64::max));
        match self {
            Self::Linear(from, to) => Marks::even(from.min(low), to.max(high), 0.0),
            Self::Count => Marks::even(0.0, high.max(1.0), 1.0),
            // A run that went astray at once has nothing to show.
            Self::Log if low > high => Marks::powers(-1.0, 0.0),
            Self::Log => Marks::powers(low, high),
        }
    }
}

impl Marks {
    /// Multiples of 1, 2 or 5 times a power of ten, at least `finest` apart.
    fn even(low: f64, high: f64, finest: f64) -> Self {
        let span = if high > low { high - low } else { high.abs().max(1.0) };
        let power = 10f64.powf((span / MAX_MARKS as f64).log10().floor());
        let fits = |stride: &f64| *stride >= finest && (span / stride) as usize + 2 <= MAX_MARKS;
        let stride = [1.0, 2.0, 5.0, 10.0, 20.0].map(|digit| digit * power).into_iter().find(fits).unwrap_or(span);
        let first = (low / stride).floor();
        let last = (high / stride).ceil().max(first + 1.0);
        Self((0..=(last - first) as usize).map(|i| (first + i as f64) * stride).collect())
    }

    /// Logarithms of 1, 2 and 5 times powers of ten, or of powers of ten alone.
    fn powers(low: f64, high: f64) -> Self {
        let (first, last) = (low.floor() as i32, high.floor() as i32 + 1);
        let digits: &[f64] = if last - first > FEW_DECADES { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let marks = (first..=last).flat_map(|power| digits.iter().map(move |digit| f64::from(power) + digit.log10()));
        let marks: Vec<f64> = marks.collect();
        let from = marks.iter().rposition(|&mark| mark <= low).unwrap_or(0);
        let to = marks.iter().position(|&mark| mark >= high).unwrap_or(marks.len() - 1);
        Self(marks[from..=to.max(from + 1)].to_vec())
    }
}

impl Ranged for Marks {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn range(&self) -> Range<f64> {
        self.0[0]..self.0[self.0.len() - 1]
    }

    fn map(&self, place: &f64, (low, high): (i32, i32)) -> i32 {
        let Range { start, end } = self.range();
        low + ((place - start) / (end - start) * f64::from(high - low)).round() as i32
    }

    /// At most as many marks as fit beside a chart.
    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        let stride = self.0.len().div_ceil(MAX_MARKS);
        self.0.iter().copied().step_by(stride).collect()
    }
}

impl Chart<'_> {
    /// The places of a line's points, as far as they have any.
    fn places<'a>(&self, line: &'a Line) -> impl Iterator<Item = (f64, f64)> + Clone + use<'a> {
        let (x_axis, y_axis) = (self.x, self.y);
        let places = line.points.iter().map(move |&(x, y)| (x_axis.place(x), y_axis.place(y)));
        places.filter(|(x, y)| x.is_finite() && y.is_finite())
    }

    /// Draws the chart on all of an area.
    pub fn draw(&self, area: &Area) -> Result<()> {
        let places = || self.lines.iter().flat_map(|line| self.places(line));
        let x = self.x.marks(places().map(|(x, _)| x));
        let y = self.y.marks(places().map(|(_, y)| y));
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, (FONT, 17))
            .margin(12)
            .margin_right(24)
            .x_label_area_size(36)
            .y_label_area_size(46)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(BLACK.mix(0.5))
            .label_style((FONT, 13))
            .x_desc(self.steps)
            .x_label_formatter(&|&place| self.x.label(place))
            .y_label_formatter(&|&place| self.y.label(place))
            .draw()?;
        for line in &self.lines {
            let color = line.color;
            let key = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2));
            chart.draw_series(LineSeries::new(self.places(line), color.stroke_width(2)))?.label(&line.name).legend(key);
        }
        if let Some(key) = &self.key {
            let mut labels = chart.configure_series_labels();
            labels.position(key.clone()).label_font((FONT, 13)).background_style(WHITE.mix(0.8)).border_style(GRID).draw()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The marks that have labels, by what they stand for.
    fn labels(axis: Axis, values: &[f64]) -> Vec<String> {
        let marks = axis.marks(values.iter().map(|&value| axis.place(value)));
        let Range { start, end } = marks.range();
        assert!(values.iter().all(|&value| (start..=end).contains(&axis.place(value))), "{values:?} in {start} to {end}");
        let labels = marks.key_points(MAX_MARKS);
        assert!((2..=MAX_MARKS).contains(&labels.len()), "{labels:?}");
        labels.into_iter().map(|place| axis.label(place)).collect()
    }

    #[test]
    fn marks_are_round_and_few() {
        assert_eq!(labels(Axis::Linear(90.0, 100.0), &[93.0, 97.5]), ["90", "92", "94", "96", "98", "100"]);
        assert_eq!(labels(Axis::Linear(0.0, 0.0), &[3e-4]), ["0", "5e-5", "1e-4", "1.5e-4", "2e-4", "2.5e-4", "3e-4"]);
        assert_eq!(labels(Axis::Count, &[1.0, 3.0]), ["0", "1", "2", "3"]);
        assert_eq!(labels(Axis::Count, &[99_999.0]), ["0", "20000", "40000", "60000", "80000", "100000"]);
        assert_eq!(labels(Axis::Log, &[0.03, 2.1]), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"]);
        assert_eq!(labels(Axis::Log, &[1e-5, 1e7]), ["1e-5", "0.001", "0.1", "10", "1000", "100000", "1e7"]);
    }

    #[test]
    fn one_value_or_none_has_an_axis() {
        for axis in [Axis::Linear(0.0, 0.0), Axis::Count, Axis::Log] {
            for values in [&[][..], &[1.0], &[1000.0]] {
                labels(axis, values);
            }
        }
    }

    #[test]
    fn what_has_no_place_is_not_shown() {
        let points = vec![(1.0, 2.0), (2.0, 0.0), (3.0, -1.0), (4.0, f64::NAN), (5.0, f64::INFINITY), (6.0, 0.5)];
        let line = Line { name: "line".into(), color: BLACK, points };
        let chart = Chart { title: "", steps: "", x: Axis::Count, y: Axis::Log, key: None, lines: Vec::new() };
        let shown: Vec<f64> = chart.places(&line).map(|(x, _)| x).collect();
        assert_eq!(shown, [1.0, 6.0]);
    }
}
