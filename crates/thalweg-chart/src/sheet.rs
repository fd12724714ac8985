//! Many panels in one picture. What several panels have in common, their ground, is stored once.

use crate::{Area, picture, px};
use anyhow::Result;
use std::collections::HashSet;
use std::fmt::Write;

/// A picture of panels of one size.
pub struct Sheet {
    size: (u32, u32),
    panel: (u32, u32),
    text: String,
    grounds: usize,
}

/// What several panels have in common.
pub struct Ground {
    name: String,
    elements: HashSet<String>,
}

impl Sheet {
    /// A sheet without panels; `paint` paints what is behind and between them.
    pub fn new(size: (u32, u32), panel: (u32, u32), paint: impl FnOnce(&Area) -> Result<()>) -> Result<Self> {
        Ok(Self { size, panel, text: elements(&picture(size, paint)?).concat(), grounds: 0 })
    }

    /// A ground for panels; it is not shown by itself.
    pub fn ground(&mut self, paint: impl FnOnce(&Area) -> Result<()>) -> Result<Ground> {
        let elements = elements(&picture(self.panel, paint)?);
        let name = format!("ground{}", self.grounds);
        self.grounds += 1;
        write!(self.text, "<defs><g id=\"{name}\">\n{}</g></defs>\n", elements.concat())?;
        Ok(Ground { name, elements: elements.into_iter().collect() })
    }

    /// A panel with its upper left corner at `at`. What `paint` adds to the ground is drawn over it.
    pub fn panel(&mut self, at: (u32, u32), ground: &Ground, paint: impl FnOnce(&Area) -> Result<()>) -> Result<()> {
        let own = elements(&picture(self.panel, paint)?).into_iter().filter(|element| !ground.elements.contains(element));
        let own: String = own.collect();
        let (x, y) = (px(at.0), px(at.1));
        let name = &ground.name;
        write!(self.text, "<g transform=\"translate({x} {y})\"><use xlink:href=\"#{name}\"/>\n{own}</g>\n")?;
        Ok(())
    }

    /// The picture as SVG text.
    pub fn finish(self) -> String {
        let ((width, height), (inner_width, inner_height)) = (self.size, (px(self.size.0), px(self.size.1)));
        let spaces = "xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\"";
        let view = format!("width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {inner_width} {inner_height}\"");
        format!("<svg {view} {spaces}>\n{}</svg>\n", self.text)
    }
}

/// The elements inside a picture.
fn elements(picture: &str) -> Vec<String> {
    let mut elements: Vec<String> = Vec::new();
    for line in picture.lines().skip(1).filter(|line| *line != "</svg>") {
        match elements.last_mut() {
            // The text of an element, or its end.
            Some(element) if !line.starts_with('<') || line.starts_with("</") => *element += line,
            _ => elements.push(line.into()),
        }
        if let Some(element) = elements.last_mut() {
            element.push('\n');
        }
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Axis, Chart, Line, RGBColor};

    fn chart(title: &str, lines: Vec<Line>) -> Chart<'_> {
        Chart { title, steps: "", values: "", x: Axis::Log, y: Axis::Log, key: false, lines }
    }

    #[test]
    fn what_panels_share_is_written_once() {
        let grey = RGBColor(200, 200, 200);
        let line = |color, slope: f64| Line {
            name: String::new(),
            color,
            points: (1..90).map(|x| (f64::from(x), slope * f64::from(x))).collect(),
        };
        let all = || vec![line(grey, 1.0), line(grey, 3.0)];
        let mut sheet = Sheet::new((600, 200), (300, 200), |_| Ok(())).expect("SVG");
        let ground = sheet.ground(|area| chart("", all()).draw(area)).expect("SVG");
        for (index, slope) in [1.0, 3.0].into_iter().enumerate() {
            let mut lines = all();
            lines[index].color = RGBColor(0, 0, 255);
            let title = format!("slope {slope}");
            sheet.panel((300 * index as u32, 0), &ground, |area| chart(&title, lines).draw(area)).expect("SVG");
        }
        let text = sheet.finish();
        let count = |part: &str| text.matches(part).count();
        assert_eq!((count("#C8C8C8"), count("#0000FF"), count("<use "), count("slope ")), (2, 2, 2, 2), "{text}");
        assert!(text.contains("width=\"600\" height=\"200\" viewBox=\"0 0 6000 2000\""), "{text}");
        assert!(text.contains("translate(3000 0)"), "{text}");
        assert_eq!(count("<text"), count("</text>"), "{text}");
    }
}
