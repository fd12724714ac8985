//! A frame with axes, in which points are set by hand.

use crate::{Area, Axis, GRID, Marks, font, px};
use anyhow::Result;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// What is written along a side of a frame.
pub enum Side<'a> {
    /// Numbers along an axis, which includes these numbers.
    Numbers(Axis, Vec<f64>),
    /// Names, the first at the top; they count from 0.
    Names(&'a [String]),
}

/// The longest name, in characters.
const LONGEST: usize = 18;
/// The width of a number along the bottom.
const MARK: u32 = 46;

/// A frame that is drawn; it knows the places of its points.
pub(crate) struct Frame<'f, 'a> {
    area: &'f Area<'a>,
    /// Left, top, right, bottom.
    at: [i32; 4],
    x: (Axis, Marks),
    y: Along,
}

enum Along {
    Numbers(Axis, Marks),
    Names(usize),
}

/// A text whose anchor need not be its upper left corner.
pub(crate) fn text(area: &Area, words: &str, at: (i32, i32), size: u32, horizontal: HPos, vertical: VPos) -> Result<()> {
    let style = font(size).pos(Pos::new(horizontal, vertical));
    Ok(area.draw(&Text::new(words.to_string(), at, style))?)
}

/// A name, cut if it is long.
pub(crate) fn short(name: &str) -> String {
    if name.chars().count() <= LONGEST { name.into() } else { name.chars().take(LONGEST - 1).chain(['…']).collect() }
}

impl<'f, 'a> Frame<'f, 'a> {
    /// Draws a frame with a title over all of an area: x along its bottom, y along its left side.
    pub(crate) fn new(area: &'f Area<'a>, title: &str, names: (&str, &str), x: (Axis, Vec<f64>), y: Side) -> Result<Self> {
        let (width, height) = area.dim_in_pixel();
        let (width, height) = (width as i32, height as i32);
        let room = match &y {
            Side::Numbers(..) => 58,
            Side::Names(names) => 14 + 7 * names.iter().map(|name| short(name).chars().count() as u32).max().unwrap_or(0),
        };
        let at = [px(room), px(32), width - px(20), height - px(42)];
        let places = |axis: Axis, values: &[f64]| {
            values.iter().map(|&value| axis.place(value)).filter(|place| place.is_finite()).collect()
        };
        let marks = |axis: Axis, values: &[f64]| {
            let places: Vec<f64> = places(axis, values);
            // A frame without points has an axis too.
            let axis = if places.is_empty() { Axis::Linear(0.0, 1.0) } else { axis };
            axis.marks(places.iter().copied())
        };
        let (x_axis, x_marks) = (x.0, marks(x.0, &x.1));
        let along = match &y {
            Side::Numbers(axis, values) => Along::Numbers(*axis, marks(*axis, values)),
            Side::Names(names) => Along::Names(names.len()),
        };
        let frame = Self { area, at, x: (x_axis, x_marks), y: along };
        text(area, title, (px(14), px(9)), 15, HPos::Left, VPos::Top)?;
        frame.draw_x(names.0)?;
        match y {
            Side::Numbers(..) => frame.draw_y(names.1)?,
            Side::Names(names) => frame.draw_names(names)?,
        }
        let [left, top, right, bottom] = at;
        let style = BLACK.mix(0.5).stroke_width(crate::SCALE);
        area.draw(&PathElement::new([(left, top), (left, bottom), (right, bottom)], style))?;
        Ok(frame)
    }

    fn draw_x(&self, name: &str) -> Result<()> {
        let [left, top, right, bottom] = self.at;
        let marks = self.x.1.key_points(crate::MAX_MARKS);
        // As many marks as have room.
        let stride = marks.len().div_ceil((((right - left) / px(MARK)) as usize).max(2));
        for mark in marks.into_iter().step_by(stride) {
            let x = self.x.1.map(&mark, (left, right));
            self.area.draw(&PathElement::new([(x, top), (x, bottom)], GRID.stroke_width(crate::SCALE)))?;
            text(self.area, &self.x.0.label(mark), (x, bottom + px(6)), 12, HPos::Center, VPos::Top)?;
        }
        text(self.area, name, ((left + right) / 2, bottom + px(24)), 13, HPos::Center, VPos::Top)
    }

    fn draw_y(&self, name: &str) -> Result<()> {
        let [left, top, right, bottom] = self.at;
        let Along::Numbers(axis, marks) = &self.y else { return Ok(()) };
        for mark in marks.key_points(crate::MAX_MARKS) {
            let y = marks.map(&mark, (bottom, top));
            self.area.draw(&PathElement::new([(left, y), (right, y)], GRID.stroke_width(crate::SCALE)))?;
            text(self.area, &axis.label(mark), (left - px(6), y), 12, HPos::Right, VPos::Center)?;
        }
        // Above the axis, so that the letters need not be turned.
        text(self.area, name, (left, top - px(4)), 12, HPos::Left, VPos::Bottom)
    }

    fn draw_names(&self, names: &[String]) -> Result<()> {
        let [left, _, right, _] = self.at;
        for (i, name) in names.iter().enumerate() {
            let y = self.row(i as f64);
            self.area.draw(&PathElement::new([(left, y), (right, y)], GRID.stroke_width(crate::SCALE)))?;
            text(self.area, &short(name), (left - px(6), y), 12, HPos::Right, VPos::Center)?;
        }
        Ok(())
    }

    /// The height of a name.
    fn row(&self, i: f64) -> i32 {
        let [_, top, _, bottom] = self.at;
        let Along::Names(count) = self.y else { return top };
        top + ((i + 0.5) / count.max(1) as f64 * f64::from(bottom - top)).round() as i32
    }

    /// Half of the height that a name has.
    pub(crate) fn half_row(&self) -> i32 {
        (self.row(1.0) - self.row(0.0)) / 2
    }

    /// The place of a point; none if it is not on the axes.
    pub(crate) fn place(&self, (x, y): (f64, f64)) -> Option<(i32, i32)> {
        let [left, top, right, bottom] = self.at;
        let x = self.x.0.place(x);
        let across = x.is_finite().then(|| self.x.1.map(&x, (left, right)))?;
        let along = match &self.y {
            Along::Numbers(axis, marks) => {
                let y = axis.place(y);
                y.is_finite().then(|| marks.map(&y, (bottom, top)))?
            }
            Along::Names(_) => self.row(y),
        };
        Some((across, along))
    }
}

/// A shade from light, at 0, to dark, at 1: one that printers and colour-blind readers tell apart by its lightness.
pub fn shade(share: f64) -> RGBColor {
    const STOPS: [(f64, f64, f64); 5] =
        [(200.0, 215.0, 90.0), (94.0, 190.0, 98.0), (33.0, 145.0, 140.0), (59.0, 82.0, 139.0), (58.0, 0.0, 74.0)];
    let place = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let i = (place as usize).min(STOPS.len() - 2);
    let (from, to, part) = (STOPS[i], STOPS[i + 1], place - i as f64);
    let mix = |from: f64, to: f64| (from + part * (to - from)).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

/// The colour that stands out.
pub const VERMILLION: RGBColor = RGBColor(213, 94, 0);
/// The colour of everything else, where colour has no meaning.
pub const QUIET: RGBColor = RGBColor(150, 160, 175);
