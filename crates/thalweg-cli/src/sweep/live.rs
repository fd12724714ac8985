//! A view of a sweep on a terminal, which is drawn again in the same place.
//!
//! It is a few lines of text: a library for whole screens would add forty crates.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// The least time between two drawings.
const REDRAW: Duration = Duration::from_millis(250);
/// Columns of a terminal that does not report its width.
const WIDTH: usize = 80;
const BAR: usize = 30;
/// How many trials are shown.
const BEST: usize = 5;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The state of a sweep.
#[derive(Debug, Default)]
pub struct View {
    pub running: usize,
    pub complete: usize,
    pub stopped: usize,
    pub failed: usize,
    pub trials: usize,
    /// How much of all is done, from 0 to 1.
    pub share: f64,
    pub steps_per_second: f64,
    /// The time that is left, as text; none if it is not known.
    pub left: Option<String>,
    /// The best trials, the best first.
    pub best: Vec<String>,
    /// The best metric over time, as shares of the way from the first to the best so far.
    pub climb: Vec<f64>,
    /// The training loss of the trial that was trained last.
    pub loss: Vec<f64>,
}

impl View {
    /// The lines, each at most `width` characters long.
    pub fn lines(&self, width: usize) -> Vec<String> {
        let Self { running, complete, stopped, failed, trials, .. } = self;
        let share = if self.share.is_finite() { self.share.clamp(0.0, 1.0) } else { 0.0 };
        let full = (share * BAR as f64) as usize;
        let left = self.left.as_ref().map(|left| format!("   {left} left at most")).unwrap_or_default();
        let mut lines = vec![
            format!("trials  {running} running  {complete} complete  {stopped} stopped  {failed} failed  of {trials}"),
            format!(
                "        {}{} {:>3.0} %   {:.0} model-steps/s{left}",
                "█".repeat(full),
                "░".repeat(BAR - full),
                100.0 * share,
                self.steps_per_second
            ),
        ];
        for (i, best) in self.best.iter().take(BEST).enumerate() {
            lines.push(format!("{}{best}", if i == 0 { "best    " } else { "        " }));
        }
        if self.climb.len() > 1 {
            lines.push(format!("        {}  the best metric over time", spark(&self.climb, BAR)));
        }
        if self.loss.len() > 1 {
            lines.push(format!("loss    {}  of the trial trained last, by its logarithm", spark(&self.loss, BAR)));
        }
        lines.into_iter().map(|line| line.chars().take(width).collect()).collect()
    }
}

/// The newest values as a line of blocks, whose heights show the values.
fn spark(values: &[f64], most: usize) -> String {
    let values = &values[values.len().saturating_sub(most)..];
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f64::MAX, f64::min), finite().fold(f64::MIN, f64::max));
    let block = |&value: &f64| match value.is_finite() {
        false => '?',
        true if high > low => BLOCKS[((value - low) / (high - low) * (BLOCKS.len() - 1) as f64).round() as usize],
        true => BLOCKS[0],
    };
    values.iter().map(block).collect()
}

/// The view on a terminal.
pub struct Live {
    /// How many lines were drawn last.
    drawn: usize,
    last: Option<Instant>,
}

impl Live {
    pub fn new() -> Self {
        Self { drawn: 0, last: None }
    }

    /// Whether it is time to draw again.
    pub fn is_due(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= REDRAW)
    }

    /// Draws the view in the place of the one before.
    pub fn draw(&mut self, view: &View) {
        let lines = view.lines(width().saturating_sub(1));
        self.write(&lines);
        self.last = Some(Instant::now());
    }

    /// Removes the view.
    pub fn clear(&mut self) {
        self.write(&[]);
    }

    /// A terminal that cannot be written to does not stop the sweep.
    fn write(&mut self, lines: &[String]) {
        let _ = io::stderr().write_all(over(self.drawn, lines).as_bytes());
        self.drawn = lines.len();
    }
}

/// Text that replaces `before` lines on the terminal by these lines and leaves the cursor below them.
fn over(before: usize, lines: &[String]) -> String {
    // Up, and clear to the end of the screen.
    let mut text = if before > 0 { format!("\x1b[{before}A\r\x1b[J") } else { String::new() };
    lines.iter().for_each(|line| text += &format!("{line}\r\n"));
    text
}

/// Columns of the terminal.
fn width() -> usize {
    match console::Term::stderr().size_checked() {
        Some((_, columns)) if columns > 0 => columns.into(),
        _ => WIDTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_says_how_far_the_sweep_is() {
        let view = View {
            running: 3,
            complete: 12,
            stopped: 5,
            failed: 1,
            trials: 64,
            share: 0.5,
            steps_per_second: 1234.4,
            left: Some("2 min 3 s".into()),
            best: ["97.20 %  trial 7: lr=0.01", "96.00 %  trial 2: lr=0.1"].map(String::from).into(),
            climb: vec![0.0, 0.5, 1.0],
            loss: vec![0.0, f64::NAN],
        };
        let lines = view.lines(200);
        assert_eq!(lines[0], "trials  3 running  12 complete  5 stopped  1 failed  of 64");
        assert_eq!(
            lines[1],
            format!("        {}{}  50 %   1234 model-steps/s   2 min 3 s left at most", "█".repeat(15), "░".repeat(15))
        );
        assert_eq!(lines[2], "best    97.20 %  trial 7: lr=0.01");
        assert_eq!(lines[3], "        96.00 %  trial 2: lr=0.1");
        assert!(lines[4].contains("▁▅█") && lines[5].contains("▁?"), "{lines:?}");
        assert!(view.lines(20).iter().all(|line| line.chars().count() <= 20));
        // Nothing is known yet.
        assert_eq!(View { share: f64::NAN, ..View::default() }.lines(80).len(), 2);
    }

    #[test]
    fn a_view_takes_the_place_of_the_one_before() {
        let lines = ["a".to_string(), "b".to_string()];
        assert_eq!(over(0, &lines), "a\r\nb\r\n");
        assert_eq!(over(2, &lines[..1]), "\x1b[2A\r\x1b[Ja\r\n");
        assert_eq!(over(1, &[]), "\x1b[1A\r\x1b[J");
        assert_eq!(over(0, &[]), "");
    }
}
