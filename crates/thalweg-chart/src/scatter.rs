//! Points over two axes, bars, parallel axes and lines of descent.

use crate::frame::{Frame, Side, VERMILLION, short, text};
use crate::{Area, Axis, GRID, SCALE, px};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// A point, how dark it is, and whether it is the one that stands out.
#[derive(Debug, Clone, Copy)]
pub struct Dot {
    pub x: f64,
    /// A number, or the number of a name.
    pub y: f64,
    pub color: RGBColor,
    pub best: bool,
}

/// Points over two axes.
pub struct Scatter<'a> {
    pub title: &'a str,
    /// What x and y are.
    pub names: (&'a str, &'a str),
    pub x: Axis,
    /// The axis of y, or the names whose numbers y are.
    pub y: Result<Axis, &'a [String]>,
    /// Whether there is a line on which y is x.
    pub diagonal: bool,
    pub dots: Vec<Dot>,
}

impl Scatter<'_> {
    /// Draws the points on all of an area, the one that stands out last.
    pub fn draw(&self, area: &Area) -> Result<()> {
        // Where x and y are compared, both axes have the places of both.
        let both: Vec<f64> =
            self.dots.iter().flat_map(|dot| [dot.x, dot.y]).filter(|x| self.diagonal && x.is_finite()).collect();
        let of = |value: fn(&Dot) -> f64| self.dots.iter().map(value).chain(both.iter().copied()).collect();
        let xs = of(|dot| dot.x);
        let side = match self.y {
            Ok(axis) => Side::Numbers(axis, of(|dot| dot.y)),
            Err(names) => Side::Names(names),
        };
        let frame = Frame::new(area, self.title, self.names, (self.x, xs), side)?;
        if let (true, Some(low), Some(high)) =
            (self.diagonal, both.iter().copied().reduce(f64::min), both.iter().copied().reduce(f64::max))
            && let (Some(from), Some(to)) = (frame.place((low, low)), frame.place((high, high)))
        {
            area.draw(&PathElement::new([from, to], VERMILLION.stroke_width(2 * SCALE)))?;
        }
        let mut dots = self.dots.clone();
        dots.sort_by_key(|dot| dot.best);
        for dot in dots {
            let Some(place) = frame.place((dot.x, dot.y)) else { continue };
            match dot.best {
                true => area.draw(&Cross::new(place, px(6), VERMILLION.stroke_width(3 * SCALE)))?,
                false => area.draw(&Circle::new(place, px(3), dot.color.filled()))?,
            }
        }
        Ok(())
    }
}

/// Bars from 0 to the right, one for each name.
pub struct Bars<'a> {
    pub title: &'a str,
    /// What the bars measure.
    pub measure: &'a str,
    pub names: &'a [String],
    pub lengths: Vec<f64>,
    pub color: RGBColor,
}

impl Bars<'_> {
    /// Draws the bars on all of an area.
    pub fn draw(&self, area: &Area) -> Result<()> {
        let values = self.lengths.iter().copied().chain([0.0]).collect();
        let frame =
            Frame::new(area, self.title, (self.measure, ""), (Axis::Linear(0.0, 0.0), values), Side::Names(self.names))?;
        let half = frame.half_row().min(px(14)) * 2 / 3;
        for (i, &length) in self.lengths.iter().enumerate() {
            let ends = (frame.place((0.0, i as f64)), frame.place((length, i as f64)));
            let (Some((from, y)), Some((to, _))) = ends else { continue };
            area.draw(&Rectangle::new([(from, y - half.max(px(2))), (to, y + half.max(px(2)))], self.color.filled()))?;
        }
        Ok(())
    }
}

/// An axis among parallel ones.
pub struct Parallel {
    pub name: String,
    /// Places, from 0 at the bottom to 1 at the top, with their texts.
    pub marks: Vec<(f64, String)>,
}

/// Lines across parallel axes, each with its colour and its place on every axis; the last one stands out.
pub struct ParallelAxes<'a> {
    pub title: &'a str,
    pub axes: Vec<Parallel>,
    pub lines: Vec<(Vec<Option<f64>>, RGBColor)>,
}

impl ParallelAxes<'_> {
    /// Draws the picture on all of an area.
    pub fn draw(&self, area: &Area) -> Result<()> {
        let (width, height) = area.dim_in_pixel();
        let (top, bottom) = (px(58), height as i32 - px(20));
        let (left, right) = (px(70), width as i32 - px(90));
        text(area, self.title, (px(14), px(9)), 15, HPos::Left, VPos::Top)?;
        let steps = self.axes.len().saturating_sub(1).max(1) as i32;
        let across = |i: usize| left + i as i32 * (right - left) / steps;
        let along = |share: f64| bottom - (share.clamp(0.0, 1.0) * f64::from(bottom - top)).round() as i32;
        for (n, (shares, color)) in self.lines.iter().enumerate() {
            let last = n + 1 == self.lines.len();
            let style = if last { VERMILLION.stroke_width(3 * SCALE) } else { color.stroke_width(SCALE) };
            // Where a line has no value, it has a gap.
            let places: Vec<Option<(i32, i32)>> =
                shares.iter().enumerate().map(|(i, share)| share.map(|share| (across(i), along(share)))).collect();
            for run in places.split(Option::is_none).filter(|run| !run.is_empty()) {
                let run: Vec<(i32, i32)> = run.iter().flatten().copied().collect();
                match run[..] {
                    [place] => area.draw(&Circle::new(place, px(2), style.filled()))?,
                    _ => area.draw(&PathElement::new(run, style))?,
                }
            }
        }
        for (i, axis) in self.axes.iter().enumerate() {
            let x = across(i);
            area.draw(&PathElement::new([(x, top), (x, bottom)], BLACK.mix(0.6).stroke_width(SCALE)))?;
            text(area, &short(&axis.name), (x, top - px(8)), 13, HPos::Center, VPos::Bottom)?;
            for (share, name) in &axis.marks {
                let y = along(*share);
                area.draw(&PathElement::new([(x, y), (x + px(4), y)], BLACK.mix(0.6).stroke_width(SCALE)))?;
                let (name, at) = (short(name), (x + px(7), y));
                // A background, so that lines do not cross the text.
                let end = (at.0 + px(6 * name.chars().count() as u32 + 4), y + px(8));
                area.draw(&Rectangle::new([(at.0 - px(1), y - px(8)), end], WHITE.mix(0.8).filled()))?;
                text(area, &name, at, 11, HPos::Left, VPos::Center)?;
            }
        }
        Ok(())
    }
}

/// Members over rounds: a line for each, and lines from those that were copied.
pub struct Descent<'a> {
    pub title: &'a str,
    /// What x counts.
    pub steps: &'a str,
    pub members: &'a [String],
    /// Where each round ends.
    pub rounds: Vec<f64>,
    /// The colour of a member in a round.
    pub colors: Vec<Vec<RGBColor>>,
    /// Copies: the round, the member that was copied, and the member that it replaced.
    pub copies: Vec<(usize, usize, usize)>,
    /// For each round, the member from which the best descends.
    pub path: Vec<usize>,
}

impl Descent<'_> {
    /// Draws the picture on all of an area.
    pub fn draw(&self, area: &Area) -> Result<()> {
        let xs = self.rounds.iter().copied().chain([0.0]).collect();
        let axis = (Axis::Linear(0.0, 0.0), xs);
        let frame = Frame::new(area, self.title, (self.steps, ""), axis, Side::Names(self.members))?;
        let start = |round: usize| round.checked_sub(1).map_or(0.0, |before| self.rounds[before]);
        for (round, &end) in self.rounds.iter().enumerate() {
            for (member, colors) in self.colors.iter().enumerate() {
                let ends = (frame.place((start(round), member as f64)), frame.place((end, member as f64)));
                let (Some(from), Some(to)) = ends else { continue };
                let color = colors.get(round).copied().unwrap_or(GRID);
                let wide = self.path.get(round) == Some(&member);
                area.draw(&PathElement::new([from, to], color.stroke_width(if wide { 6 * SCALE } else { 3 * SCALE })))?;
            }
        }
        for &(round, from, to) in &self.copies {
            // From the end of the winner's round to the beginning of the loser's next round.
            let x = self.rounds[round];
            let (Some(from_place), Some(to_place)) = (frame.place((x, from as f64)), frame.place((x, to as f64))) else {
                continue;
            };
            let inherited = self.path.get(round) == Some(&from) && self.path.get(round + 1) == Some(&to);
            let style = if inherited { VERMILLION.stroke_width(3 * SCALE) } else { BLACK.mix(0.35).stroke_width(SCALE) };
            area.draw(&PathElement::new([from_place, to_place], style))?;
            area.draw(&Circle::new(to_place, px(2), style.filled()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{QUIET, picture, shade};

    #[test]
    fn points_have_places_and_the_best_a_cross() {
        let names = ["adam".to_string(), "sgd".to_string()];
        let dot = |x: f64, y: f64, best: bool| Dot { x, y, color: QUIET, best };
        let dots = vec![dot(0.1, 0.0, false), dot(0.01, 1.0, true), dot(-1.0, 0.0, false)];
        let draw = |x: Axis, y| {
            let scatter = Scatter { title: "title", names: ("lr", "accuracy"), x, y, diagonal: false, dots: dots.clone() };
            picture((300, 200), |area| scatter.draw(area)).expect("SVG")
        };
        let text = draw(Axis::Log, Err(&names));
        // A value that is not above 0 has no place on a logarithmic axis.
        assert_eq!(text.matches("<circle").count(), 1, "{text}");
        assert!(text.contains("#D55E00") && text.contains("adam") && text.contains("sgd"), "{text}");
        assert_eq!(draw(Axis::Linear(0.0, 0.0), Ok(Axis::Linear(0.0, 0.0))).matches("<circle").count(), 2);
    }

    #[test]
    fn bars_are_as_long_as_they_say() {
        let names = ["lr".to_string(), "beta1".to_string()];
        let bars = Bars { title: "t", measure: "share", names: &names, lengths: vec![0.8, 0.2], color: QUIET };
        let text = picture((300, 200), |area| bars.draw(area)).expect("SVG");
        let width = |line: &str| -> f64 {
            let rest = line.split("width=\"").nth(1).expect("a width");
            rest.split('"').next().expect("a number").parse().expect("a number")
        };
        let bars: Vec<f64> =
            text.lines().filter(|line| line.starts_with("<rect") && line.contains("#96A0AF")).map(width).collect();
        assert!(bars.len() == 2 && (bars[0] / bars[1] - 4.0).abs() < 0.05, "{bars:?}");
    }

    #[test]
    fn a_line_across_axes_has_a_gap_where_it_has_no_value() {
        let axes = ["lr", "momentum", "accuracy"].map(|name| Parallel { name: name.into(), marks: vec![(0.0, "0".into())] });
        let lines = vec![(vec![Some(0.1), None, Some(0.4)], shade(0.0)), (vec![Some(0.5), Some(0.5), Some(1.0)], shade(1.0))];
        let axes = ParallelAxes { title: "t", axes: axes.into(), lines };
        let text = picture((600, 300), |area| axes.draw(area)).expect("SVG");
        assert_eq!((text.matches("<circle").count(), text.matches("#D55E00").count()), (2, 1), "{text}");
    }

    #[test]
    fn descent_is_marked_where_the_best_came_from() {
        let members = ["0".to_string(), "1".to_string()];
        let colors = vec![vec![QUIET; 2]; 2];
        let descent = Descent {
            title: "t",
            steps: "epoch",
            members: &members,
            rounds: vec![1.0, 2.0],
            colors,
            copies: vec![(0, 0, 1)],
            path: vec![0, 1],
        };
        let text = picture((600, 300), |area| descent.draw(area)).expect("SVG");
        assert!(text.contains("#D55E00"), "{text}");
    }

    #[test]
    fn shades_darken_all_the_way() {
        let lightness = |color: RGBColor| 0.3 * f64::from(color.0) + 0.59 * f64::from(color.1) + 0.11 * f64::from(color.2);
        let all: Vec<f64> = (0..=20).map(|i| lightness(shade(f64::from(i) / 20.0))).collect();
        assert!(all.windows(2).all(|pair| pair[1] < pair[0]), "{all:?}");
    }
}
