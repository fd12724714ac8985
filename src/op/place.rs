use crate::error::Result;
use crate::plan::{BoundsChecks, Dispatch, Kind, Layout, Operands, Operation, Use, View, Views};
use crate::rule::Real;

/// Puts a matrix into columns of a wider one: `out[r, first + c] = x[r, c]`. Other columns stay, or become 0. With one row it
/// is a part of a vector; together with strides of a shape, concatenation along any axis, and the gradient of a slice.
#[derive(Debug, Clone)]
pub struct Place {
    /// `rows` × `width`.
    pub x: View,
    /// `rows` × `columns`.
    pub out: View,
    /// Rows of both.
    pub rows: usize,
    /// Columns of x.
    pub width: usize,
    /// Columns of the output.
    pub columns: usize,
    /// The column of the output where x begins.
    pub first: usize,
    /// Whether the other columns become 0.
    pub clear: bool,
}

impl Operation for Place {
    const NAME: &'static str = "place";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.at_least("columns", self.columns, self.first.saturating_add(self.width));
        o.read("x", self.x, Operands::product(&[self.rows, self.width]));
        let usage = if self.clear { Use::Write } else { Use::Change };
        o.declare("out", self.out, Kind::Float, usage, Operands::product(&[self.rows, self.columns]));
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        // A thread per element that is written.
        let columns = if self.clear { self.columns } else { self.width };
        let len = Operands::product(&[self.rows, columns]);
        let dispatch = Dispatch::new("place", include_str!("../../shaders/op/place.wgsl")).size("width", self.width);
        let dispatch = dispatch.size("columns", self.columns).size("first", self.first).size("clear", usize::from(self.clear));
        vec![dispatch.size("len", len).elements(len, 64)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let [x, out] = views.all()?;
        let (x, out) = (x.floats()?, out.floats_mut()?);
        if self.clear {
            out.fill(F::zero());
        }
        if self.width > 0 {
            for (x, out) in x.chunks_exact(self.width).zip(out.chunks_exact_mut(self.columns)) {
                out[self.first..self.first + self.width].copy_from_slice(x);
            }
        }
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let mut case = |rows, width, columns, first, clear| {
            let [x, out] = [rows * width, rows * columns].map(|len| layout.floats("place", len)).map(|id| layout.whole(id));
            Self { x, out, rows, width, columns, first, clear }
        };
        vec![
            case(0, 1, 2, 1, true),
            case(1, 64, 65, 1, true),
            case(7, 3, 9, 4, false),
            case(5, 4, 4, 0, false),
            case(3, 0, 2, 1, true),
        ]
    }
}
