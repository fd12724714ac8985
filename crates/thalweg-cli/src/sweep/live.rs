//! A view of a sweep on a terminal, which is drawn again in the same place.
//!
//! The widgets are ratatui's, drawn into a buffer whose rows are written over those before. So lines above stay where they are,
//! and the terminal stays as it is: Ctrl-C remains a signal.

use console::Style as Ansi;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, LineGauge, Paragraph, Widget};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// The least time between two drawings.
const REDRAW: Duration = Duration::from_millis(250);
/// Columns and rows of a terminal that does not report its size.
const SIZE: (u16, u16) = (80, 24);
/// How many trials are shown.
const BEST: usize = 5;
/// Rows of the charts.
const CHART: u16 = 9;
/// Fewer columns have room for one chart.
const TWO_CHARTS: u16 = 60;

/// What stands out. The terminal's own colour of that name, against others that are dim: readable without colours too.
const FRONT: Style = Style::new().fg(Color::Cyan);
const BACK: Style = Style::new().add_modifier(Modifier::DIM);

/// Points of a curve, from left to right.
pub type Curve = Vec<(f64, f64)>;

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
    /// The best metric over the seconds since the start, and its name.
    pub climb: Curve,
    pub metric: String,
    /// The training losses of all trainings over their epochs or steps; that of the newest one comes last.
    pub losses: Vec<Curve>,
    pub unit: &'static str,
}

impl View {
    /// Rows that it takes.
    fn height(&self) -> u16 {
        let best = self.best.len().min(BEST) as u16;
        2 + best + if self.has_curves() { CHART } else { 0 }
    }

    fn has_curves(&self) -> bool {
        self.losses.iter().chain([&self.climb]).any(|curve| curve.len() > 1)
    }

    fn counts(&self) -> Line<'_> {
        let Self { running, complete, stopped, failed, trials, .. } = self;
        let counts = format!("{running} running  {complete} complete  {stopped} stopped  {failed} failed  of {trials}");
        Line::from(vec![Span::raw("trials  "), Span::raw(counts)])
    }

    fn progress(&self) -> LineGauge<'_> {
        let share = if self.share.is_finite() { self.share.clamp(0.0, 1.0) } else { 0.0 };
        let left = self.left.as_ref().map(|left| format!("  {left} left at most")).unwrap_or_default();
        let label = format!("{:>3.0} %  {:.0} model-steps/s{left}", 100.0 * share, self.steps_per_second);
        let bar = LineGauge::default().ratio(share).label(label).filled_symbol("█").unfilled_symbol("░");
        bar.filled_style(FRONT).unfilled_style(BACK)
    }

    fn leaders(&self) -> Paragraph<'_> {
        let line = |(place, best): (usize, &String)| match place {
            0 => Line::styled(format!("best    {best}"), FRONT.add_modifier(Modifier::BOLD)),
            _ => Line::raw(format!("        {best}")),
        };
        Paragraph::new(self.best.iter().take(BEST).enumerate().map(line).collect::<Vec<_>>())
    }

    /// The losses by their logarithms: those of all, and that of the newest in front.
    fn draw_losses(&self, area: Rect, buffer: &mut Buffer) {
        let logarithms = |curve: &Curve| curve.iter().map(|&(at, loss)| (at, loss.ln())).collect::<Curve>();
        let curves: Vec<Curve> = self.losses.iter().map(logarithms).collect();
        let title = format!("training loss by {} (log), the newest in front", self.unit);
        draw(&curves, (&title, &|log| short(log.exp())), area, buffer);
    }

    fn draw_climb(&self, area: Rect, buffer: &mut Buffer) {
        let title = format!("best {} by seconds", self.metric);
        draw(std::slice::from_ref(&self.climb), (&title, &short), area, buffer);
    }
}

impl Widget for &View {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        // On a screen with few rows the counts and the progress come first.
        let best = (self.best.len().min(BEST) as u16).min(area.height.saturating_sub(2));
        let rows = [Constraint::Length(1), Constraint::Length(1), Constraint::Length(best), Constraint::Fill(1)];
        let [counts, progress, leaders, charts] = Layout::vertical(rows).areas(area);
        self.counts().render(counts, buffer);
        self.progress().render(progress, buffer);
        self.leaders().render(leaders, buffer);
        if !self.has_curves() {
            return;
        }
        if area.width < TWO_CHARTS {
            return self.draw_losses(charts, buffer);
        }
        let [losses, climb] = Layout::horizontal([Constraint::Percentage(60), Constraint::Fill(1)]).areas(charts);
        self.draw_losses(losses, buffer);
        self.draw_climb(climb, buffer);
    }
}

/// A number for an axis.
fn short(number: f64) -> String {
    match number.abs() {
        0.0 => "0".into(),
        size if (1e-3..1e5).contains(&size) => format!("{number:.3}"),
        _ => format!("{number:.0e}"),
    }
}

/// Draws curves in one chart, the last of them in front. Values that are not finite are left out.
fn draw(curves: &[Curve], (title, label): (&str, &dyn Fn(f64) -> String), area: Rect, buffer: &mut Buffer) {
    let finite = |&(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
    let curves: Vec<Curve> = curves.iter().map(|curve| curve.iter().copied().filter(finite).collect()).collect();
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        let values = || curves.iter().flatten().map(of);
        let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
        // A single value stands in the middle.
        if low < high { [low, high] } else { [low.min(high) - 0.5, low.min(high) + 0.5] }
    };
    if curves.iter().all(Vec::is_empty) {
        return Line::styled(title.to_string(), BACK).render(area, buffer);
    }
    let (x, y) = (bounds(|point| point.0), bounds(|point| point.1));
    let line = |(place, curve)| {
        let style = if place + 1 == curves.len() { FRONT } else { BACK };
        Dataset::default().data(curve).graph_type(GraphType::Line).marker(Marker::Braille).style(style)
    };
    let axis =
        |bounds: [f64; 2], label: &dyn Fn(f64) -> String| Axis::default().bounds(bounds).labels(bounds.map(label)).style(BACK);
    let [name, chart] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    Line::styled(title.to_string(), BACK).render(name, buffer);
    let sets = curves.iter().map(Vec::as_slice).enumerate().map(line).collect();
    let whole = |at: f64| format!("{at:.0}");
    Chart::new(sets).x_axis(axis(x, &whole)).y_axis(axis(y, label)).legend_position(None).render(chart, buffer);
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
        let (columns, rows) = size();
        // The cursor needs a column and a row of its own.
        let area = Rect::new(0, 0, columns.saturating_sub(1), view.height().min(rows.saturating_sub(1)));
        let mut buffer = Buffer::empty(area);
        view.render(area, &mut buffer);
        self.write(&lines(&buffer));
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

/// The rows of a buffer as text, in colours where the terminal has them.
fn lines(buffer: &Buffer) -> Vec<String> {
    let columns = usize::from(buffer.area.width.max(1));
    let run = |cells: &[Cell]| {
        let text: String = cells.iter().map(Cell::symbol).collect();
        ansi(&cells[0]).apply_to(text).to_string()
    };
    let row = |row: &[Cell]| {
        let end = row.iter().rposition(|cell| cell.symbol() != " ").map_or(0, |last| last + 1);
        row[..end].chunk_by(|a, b| a.style() == b.style()).map(run).collect()
    };
    buffer.content.chunks(columns).map(row).collect()
}

/// The style of a cell, as far as this view uses styles.
fn ansi(cell: &Cell) -> Ansi {
    let style = if cell.fg == Color::Cyan { Ansi::new().cyan() } else { Ansi::new() };
    let style = if cell.modifier.contains(Modifier::BOLD) { style.bold() } else { style };
    let style = if cell.modifier.contains(Modifier::DIM) { style.dim() } else { style };
    style.for_stderr()
}

/// Columns and rows of the terminal.
fn size() -> (u16, u16) {
    match console::Term::stderr().size_checked() {
        Some((rows, columns)) if columns > 0 && rows > 0 => (columns, rows),
        _ => SIZE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn view() -> View {
        let curve = |end: f64| (1..=10).map(|epoch| (f64::from(epoch), end.powi(epoch))).collect::<Curve>();
        View {
            running: 3,
            complete: 12,
            stopped: 5,
            failed: 1,
            trials: 64,
            share: 0.5,
            steps_per_second: 1234.4,
            left: Some("2 min 3 s".into()),
            best: ["97.20 %  trial 7: lr=0.01", "96.00 %  trial 2: lr=0.1"].map(String::from).into(),
            climb: vec![(0.0, 0.5), (3.0, 0.9), (8.0, 0.972)],
            metric: "accuracy".into(),
            losses: vec![curve(0.9), curve(0.5)],
            unit: "epochs",
        }
    }

    /// The rows that a view has on a terminal of that size.
    fn drawn(view: &View, columns: u16, rows: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a terminal");
        terminal.draw(|frame| frame.render_widget(view, frame.area())).expect("a frame");
        let buffer = terminal.backend().buffer();
        buffer.content.chunks(columns.into()).map(|row| row.iter().map(Cell::symbol).collect()).collect()
    }

    /// How many of the rows have dots of curves in these columns.
    fn dots(rows: &[String], columns: std::ops::Range<usize>) -> usize {
        let braille = |row: &&String| {
            row.chars().skip(columns.start).take(columns.len()).any(|symbol| ('\u{2801}'..='\u{28ff}').contains(&symbol))
        };
        rows.iter().filter(braille).count()
    }

    #[test]
    fn a_view_says_how_far_the_sweep_is() {
        let rows = drawn(&view(), 100, view().height());
        assert_eq!(rows[0].trim_end(), "trials  3 running  12 complete  5 stopped  1 failed  of 64");
        assert!(rows[1].starts_with(" 50 %  1234 model-steps/s  2 min 3 s left at most"), "{}", rows[1]);
        assert_eq!(rows[2].trim_end(), "best    97.20 %  trial 7: lr=0.01");
        assert_eq!(rows[3].trim_end(), "        96.00 %  trial 2: lr=0.1");
        assert!(
            rows[4].contains("training loss by epochs (log)") && rows[4].contains("best accuracy by seconds"),
            "{}",
            rows[4]
        );
        let (losses, climb) = (dots(&rows[5..], 0..60), dots(&rows[5..], 60..100));
        assert!(losses > 3 && climb > 3, "{rows:#?}");
        // The axes end where the curves do.
        assert!(rows[5].contains("0.900") && rows[5].contains("0.972"), "{}", rows[5]);
        assert_eq!(rows.len(), 2 + 2 + usize::from(CHART));
    }

    /// The bar is half full, in the colour of what is in front.
    #[test]
    fn progress_is_a_bar() {
        let area = Rect::new(0, 0, 100, 2);
        let mut buffer = Buffer::empty(area);
        (&view()).render(area, &mut buffer);
        let bar: Vec<&Cell> = (50..100).map(|column| &buffer[(column, 1)]).collect();
        let full = bar.iter().filter(|cell| cell.fg == Color::Cyan).count();
        assert!((20..=30).contains(&full), "{full}");
        assert!(bar[0].fg == Color::Cyan && bar[49].modifier.contains(Modifier::DIM));
        // It is one without colours too.
        assert_eq!((bar[0].symbol(), bar[49].symbol()), ("█", "░"));
    }

    #[test]
    fn a_narrow_terminal_has_one_chart_and_a_small_one_what_fits() {
        let rows = drawn(&view(), 50, 13);
        assert!(!rows.iter().any(|row| row.contains("best accuracy")), "{rows:#?}");
        assert!(dots(&rows, 0..50) > 3, "{rows:#?}");
        for columns in 1..40 {
            for height in 1..16 {
                assert_eq!(drawn(&view(), columns, height).len(), usize::from(height));
            }
        }
    }

    /// Nothing is known yet, or what is known cannot be drawn.
    #[test]
    fn a_view_without_numbers_is_drawn_too() {
        let empty = View { share: f64::NAN, ..View::default() };
        assert_eq!(empty.height(), 2);
        assert!(drawn(&empty, 80, 2)[1].starts_with("  0 %  0 model-steps/s"));
        let lost = vec![(1.0, f64::NAN), (2.0, f64::INFINITY), (3.0, -1.0)];
        let lost = View { losses: vec![lost], climb: vec![(0.0, 0.3), (0.0, 0.3)], ..view() };
        assert_eq!(dots(&drawn(&lost, 100, 13)[5..], 0..60), 0);
    }

    #[test]
    fn rows_end_with_their_text_and_keep_their_styles() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 9, 2));
        buffer.set_string(1, 0, "ab", Style::new());
        buffer.set_string(3, 0, "c", FRONT);
        let rows = lines(&buffer);
        assert_eq!(console::strip_ansi_codes(&rows[0]), " abc");
        assert_eq!(rows[1], "");
        console::set_colors_enabled_stderr(true);
        assert_eq!(lines(&buffer)[0], " ab\x1b[36mc\x1b[0m");
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
