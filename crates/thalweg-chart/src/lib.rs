//! Lines, points and bars in a frame, as SVG.

mod frame;
mod matrix;
mod scatter;
mod sheet;

pub use frame::{QUIET, VERMILLION, shade};
pub use matrix::Matrix;
pub use plotters::style::RGBColor;
pub use scatter::{Bars, Descent, Dot, Parallel, ParallelAxes, Scatter};
pub use sheet::{Ground, Sheet};

use anyhow::Result;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;
use std::ops::Range;

/// The most points of a line: more than there are pixels cannot be seen.
pub const MAX_POINTS: usize = 500;

const FONT: &str = "sans-serif";
/// The drawing library places points at whole numbers. So pictures are drawn this many times larger and scaled down where they
/// are shown, which makes lines smooth.
const SCALE: u32 = 10;
/// The most marks on an axis.
const MAX_MARKS: usize = 9;
/// A logarithmic axis over more powers of ten than this has marks at powers of ten alone.
const FEW_DECADES: i32 = 3;
const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Colours that colour-blind readers tell apart. Source: Okabe & Ito 2008.
pub const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    VERMILLION,
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// A line and its name.
#[derive(Clone)]
pub struct Line {
    pub name: String,
    pub color: RGBColor,
    pub points: Vec<(f64, f64)>,
}

impl Line {
    /// A line of values, counted from 1, in a colour of the palette. Of many values, those are left out that would be too close
    /// to others even on a logarithmic axis.
    pub fn counted(name: &str, color: usize, values: impl IntoIterator<Item = f64>) -> Self {
        let shown = |(i, _): &(u32, f64)| *i <= 500 || i.is_multiple_of(10);
        let points = (1..).zip(values).filter(shown).map(|(i, value)| (f64::from(i), value)).collect();
        Self { name: name.into(), color: PALETTE[color % PALETTE.len()], points }
    }
}

/// Lines over axes that are as long as the lines need.
pub struct Chart<'a> {
    pub title: &'a str,
    /// What x counts.
    pub steps: &'a str,
    /// What y is; if empty, nothing is written beside the axis.
    pub values: &'a str,
    pub x: Axis,
    pub y: Axis,
    /// Whether the names of the lines are written above the chart, where they cover no line.
    pub key: bool,
    pub lines: Vec<Line>,
}

/// How an axis is divided.
#[derive(Clone, Copy)]
pub enum Axis {
    /// Evenly, including this range.
    Linear(f64, f64),
    /// Evenly, in whole numbers, from at most this number.
    Count(u32),
    /// By powers of ten. Values that are not above 0 are not shown.
    Log,
}

/// The places of an axis's marks, including its ends; logarithms if the axis is logarithmic.
struct Marks(Vec<f64>);

/// What `paint` paints, as the text of an SVG.
pub fn picture((width, height): (u32, u32), paint: impl FnOnce(&Area) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    let large = (width * SCALE, height * SCALE);
    {
        let area = SVGBackend::with_string(&mut text, large).into_drawing_area();
        area.fill(&WHITE)?;
        paint(&area)?;
        area.present()?;
    }
    let size = |(width, height)| format!("width=\"{width}\" height=\"{height}\" viewBox");
    Ok(text.replacen(&size(large), &size((width, height)), 1))
}

/// A length in pixels of the picture as it is shown.
fn px(length: u32) -> i32 {
    (length * SCALE) as i32
}

fn font(size: u32) -> TextStyle<'static> {
    (FONT, px(size)).into_text_style(&(0, 0))
}

/// The height of a caption.
pub const CAPTION: u32 = 28;

/// Writes a caption at the top of an area; returns the area below it.
pub fn captioned<'a>(area: &Area<'a>, caption: &str) -> Result<Area<'a>> {
    let (above, below) = area.split_vertically(px(CAPTION));
    above.draw(&Text::new(caption, (px(14), px(10)), font(15)))?;
    Ok(below)
}

/// Two halves of an area.
pub fn beside<'a>(area: &Area<'a>) -> [Area<'a>; 2] {
    let (left, right) = area.split_horizontally((area.dim_in_pixel().0 / 2) as i32);
    [left, right]
}

impl Axis {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear(..) | Self::Count(_) => value,
            Self::Log => value.log10(),
        }
    }

    fn label(self, place: f64) -> String {
        // Keeps labels short, and removes the rounding error of a power of a mark's logarithm.
        let rounded = |value: f64| format!("{value:.6e}").parse().unwrap_or(value);
        let value: f64 = match self {
            Self::Linear(..) | Self::Count(_) => rounded(place),
            Self::Log => rounded(10f64.powf(place)),
        };
        if value != 0.0 && !(1e-3..1e6).contains(&value.abs()) { format!("{value:e}") } else { value.to_string() }
    }

    /// Marks from below the smallest place to above the largest.
    fn marks(self, places: impl Iterator<Item = f64> + Clone) -> Marks {
        let (low, high) = (places.clone().fold(f64::MAX, f64::min), places.fold(f64::MIN, f64::max));
        match self {
            Self::Linear(from, to) => Marks::even(from.min(low), to.max(high), 0.0),
            Self::Count(from) => {
                let from = f64::from(from);
                let Marks(mut marks) = Marks::even(from.min(low), high.max(from + 1.0), 1.0);
                // An axis that counts from 1 begins there.
                marks[0] = marks[0].max(from.min(low));
                Marks(marks)
            }
            // A run that diverged at once has no points.
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

    /// The marks, which are few enough to fit beside a chart.
    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        let stride = self.0.len().div_ceil(MAX_MARKS);
        self.0.iter().copied().step_by(stride).collect()
    }
}

impl Chart<'_> {
    /// The places of those points of a line that lie on the axes.
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
        let (above, below) = area.split_vertically(px(30));
        above.draw(&Text::new(self.title, (px(14), px(9)), font(15)))?;
        if self.key {
            self.draw_key(&above)?;
        }
        let mut chart = ChartBuilder::on(&below)
            .margin(px(6))
            .margin_right(px(24))
            .x_label_area_size(px(36))
            .y_label_area_size(px(if self.values.is_empty() { 46 } else { 62 }))
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(SCALE))
            .light_line_style(TRANSPARENT)
            .axis_style(BLACK.mix(0.5).stroke_width(SCALE))
            .set_all_tick_mark_size(px(4))
            .label_style((FONT, px(13)))
            .x_desc(self.steps)
            .y_desc(self.values)
            .x_label_formatter(&|&place| self.x.label(place))
            .y_label_formatter(&|&place| self.y.label(place))
            .draw()?;
        for line in &self.lines {
            let style = line.color.stroke_width(2 * SCALE);
            let places: Vec<(f64, f64)> = self.places(line).collect();
            // A line of one point cannot be seen.
            if let &[place] = &places[..] {
                chart.draw_series([Circle::new(place, px(3), line.color.filled())])?;
            }
            chart.draw_series(LineSeries::new(places, style))?;
        }
        if places().next().is_none() {
            let (width, height) = below.dim_in_pixel();
            below.draw(&Text::new(
                "no finite values to show",
                ((width / 2) as i32 - px(60), (height / 2) as i32 - px(20)),
                font(14),
            ))?;
        }
        Ok(())
    }

    /// Draws the names of the lines, from the right end on.
    fn draw_key(&self, above: &Area) -> Result<()> {
        let mut x = above.dim_in_pixel().0 as i32 - px(24);
        for line in self.lines.iter().rev() {
            x -= px(7 * line.name.chars().count() as u32 + 34);
            above.draw(&PathElement::new([(x, px(17)), (x + px(18), px(17))], line.color.stroke_width(2 * SCALE)))?;
            above.draw(&Text::new(line.name.as_str(), (x + px(23), px(11)), font(13)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of the marks that have labels.
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
        assert_eq!(labels(Axis::Count(0), &[1.0, 3.0]), ["0", "1", "2", "3"]);
        assert_eq!(labels(Axis::Count(1), &[1.0, 3.0]), ["1", "2", "3"]);
        assert_eq!(labels(Axis::Count(1), &[1.0, 40.0]), ["1", "5", "10", "15", "20", "25", "30", "35", "40"]);
        assert_eq!(labels(Axis::Count(0), &[99_999.0]), ["0", "20000", "40000", "60000", "80000", "100000"]);
        assert_eq!(labels(Axis::Log, &[0.03, 2.1]), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"]);
        assert_eq!(labels(Axis::Log, &[1e-5, 1e7]), ["1e-5", "0.001", "0.1", "10", "1000", "100000", "1e7"]);
    }

    #[test]
    fn one_value_or_none_has_an_axis() {
        for axis in [Axis::Linear(0.0, 0.0), Axis::Count(0), Axis::Count(1), Axis::Log] {
            for values in [&[][..], &[1.0], &[1000.0]] {
                labels(axis, values);
            }
        }
    }

    #[test]
    fn what_has_no_place_is_not_shown() {
        let points = vec![(1.0, 2.0), (2.0, 0.0), (3.0, -1.0), (4.0, f64::NAN), (5.0, f64::INFINITY), (6.0, 0.5)];
        let line = Line { name: "line".into(), color: BLACK, points };
        let chart = Chart { title: "", steps: "", values: "", x: Axis::Count(1), y: Axis::Log, key: false, lines: Vec::new() };
        let shown: Vec<f64> = chart.places(&line).map(|(x, _)| x).collect();
        assert_eq!(shown, [1.0, 6.0]);
    }

    fn drawn(points: Vec<(f64, f64)>) -> String {
        let line = Line { name: "line".into(), color: BLACK, points };
        let chart = Chart {
            title: "title",
            steps: "step",
            values: "value",
            x: Axis::Count(1),
            y: Axis::Linear(0.0, 1.0),
            key: true,
            lines: vec![line],
        };
        picture((300, 200), |area| chart.draw(area)).expect("SVG")
    }

    #[test]
    fn one_point_has_a_marker_and_none_a_note() {
        assert!(drawn(vec![(1.0, 0.5)]).contains("<circle"));
        assert!(!drawn(vec![(1.0, 0.5), (2.0, 0.6)]).contains("<circle"));
        let note = "no finite values to show";
        assert!(drawn(vec![(1.0, f64::NAN)]).contains(note) && !drawn(vec![(1.0, 0.5)]).contains(note));
    }

    #[test]
    fn pictures_have_the_size_that_was_asked_for_and_finer_places() {
        let text = drawn(vec![(1.0, 0.5), (2.0, 0.6)]);
        assert!(text.contains("width=\"300\" height=\"200\" viewBox=\"0 0 3000 2000\""), "{text}");
        assert!(["title", "step", "value", "line"].iter().all(|name| text.contains(name)), "{text}");
    }
}
