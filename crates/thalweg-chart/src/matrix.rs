//! Counts by two names, as shaded cells.

use crate::frame::{short, text};
use crate::{Area, SCALE, px, shade};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// More names cannot be read.
const MOST_NAMES: usize = 40;
/// More cells have no room for numbers.
const MOST_NUMBERS: usize = 26;

/// How often each name of a row came with each name of a column, both in the same order: a confusion matrix.
pub struct Matrix<'a> {
    /// What rows and columns are.
    pub rows: &'a str,
    pub columns: &'a str,
    pub names: &'a [String],
    /// By row, then by column.
    pub counts: &'a [Vec<u64>],
}

impl Matrix<'_> {
    /// Draws the matrix on all of an area. A cell is as dark as its share of its row is large.
    pub fn draw(&self, area: &Area) -> Result<()> {
        let (width, height) = area.dim_in_pixel();
        let count = self.names.len().max(1) as i32;
        let (left, top) = (px(110), px(66));
        let side = (width as i32 - left - px(20)).min(height as i32 - top - px(20));
        let place = |i: usize| side * i as i32 / count;
        let middle = |i: usize| (place(i) + place(i + 1)) / 2;
        text(area, self.columns, (left + side / 2, px(14)), 14, HPos::Center, VPos::Top)?;
        text(area, self.rows, (px(14), top - px(10)), 14, HPos::Left, VPos::Bottom)?;
        let letters = (13.min(side / count / SCALE as i32)).max(6) as u32;
        let stride = self.names.len().div_ceil(MOST_NAMES).max(1);
        for (i, name) in self.names.iter().enumerate().step_by(stride) {
            let name = short(name);
            text(area, &name, (left - px(6), top + middle(i)), letters, HPos::Right, VPos::Center)?;
            // Names that are wider than their column would cover each other.
            let fits = name.chars().count() as i32 * px(letters) * 6 / 10 <= stride as i32 * side / count;
            let shown = if fits { name } else { i.to_string() };
            text(area, &shown, (left + middle(i), top - px(8)), letters, HPos::Center, VPos::Bottom)?;
        }
        for (row, counts) in self.counts.iter().enumerate() {
            let all = counts.iter().sum::<u64>().max(1) as f64;
            for (column, &count) in counts.iter().enumerate() {
                let share = count as f64 / all;
                let at = [(left + place(column), top + place(row)), (left + place(column + 1), top + place(row + 1))];
                // The root lets few mistakes be seen beside many hits.
                let color = if count == 0 { WHITE } else { shade(share.sqrt()) };
                area.draw(&Rectangle::new(at, color.filled()))?;
                area.draw(&Rectangle::new(at, crate::GRID.stroke_width(SCALE)))?;
                if count > 0 && self.names.len() <= MOST_NUMBERS {
                    let ink = if share > 0.25 { WHITE } else { BLACK };
                    number(area, count, (left + middle(column), top + middle(row)), letters, ink)?;
                }
            }
        }
        Ok(())
    }
}

/// A number in a cell.
fn number(area: &Area, count: u64, at: (i32, i32), size: u32, ink: RGBColor) -> Result<()> {
    let anchor = plotters::style::text_anchor::Pos::new(HPos::Center, VPos::Center);
    let style = crate::font(size).color(&ink).pos(anchor);
    area.draw(&Text::new(count.to_string(), at, style))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture;

    #[test]
    fn every_count_has_its_cell_and_its_number() {
        let names = ["setosa".to_string(), "virginica".to_string()];
        let counts = [vec![17, 0], vec![3, 45]];
        let matrix = Matrix { rows: "class", columns: "predicted", names: &names, counts: &counts };
        let svg = picture((300, 300), |area| matrix.draw(area)).expect("SVG");
        for count in ["\n17\n", "\n3\n", "\n45\n"] {
            assert!(svg.contains(count), "{count}: {svg}");
        }
        assert!(!svg.contains("\n0\n"), "an empty cell has no number");
        // Rows go down, columns to the right.
        let place = |count: &str| -> [i32; 2] {
            let text = svg.split("<text ").find(|text| text.contains(&format!("\n{count}\n"))).expect("a text");
            let number = |name: &str| text.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
            ["x", "y"].map(|name| number(name).and_then(|number| number.parse().ok()).expect("a number"))
        };
        let ([left, top], [below_left, below], [right, _]) = (place("17"), place("3"), place("45"));
        assert!(left == below_left && below > top && right > left, "{svg}");
        // White ground, and a filled and an outlined rectangle for each cell.
        assert_eq!(svg.matches("<rect").count(), 1 + 2 * 4, "{svg}");
        assert!(svg.contains("setosa") && svg.contains("predicted") && svg.contains("class"), "{svg}");
    }
}
