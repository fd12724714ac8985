use crate::error::Result;
use crate::plan::{BoundsChecks, Dispatch, Layout, Operands, Operation, View, Views};
use crate::rule::Real;

/// `output = input`. Whole buffers may lie in several pieces on a device; parts of such buffers cannot be copied there.
#[derive(Debug, Clone)]
pub struct Copy {
    /// What is read.
    pub input: View,
    /// What is written: as many elements.
    pub output: View,
}

/// Elements that one thread copies at a time.
const GRAIN: usize = 65_536;

impl Operation for Copy {
    const NAME: &'static str = "copy";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.read("x", self.input, self.output.len);
        o.write("y", self.output, self.output.len);
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        vec![Dispatch::new("copy", include_str!("../../shaders/op/copy.wgsl")).each(self.output.len, 256)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let workers = views.workers();
        let [x, y] = views.all()?;
        let (x, y) = (x.floats()?, y.floats_mut()?);
        let chunks = y.chunks_mut(GRAIN).zip(x.chunks(GRAIN));
        workers.in_order(x.len().div_ceil(GRAIN), chunks, |(y, x)| y.copy_from_slice(x));
        Ok(())
    }

    /// With vectors, and without them since the length or an offset is none of theirs.
    fn cases(layout: &mut Layout) -> Vec<Self> {
        let mut cases = Vec::new();
        for (len, from, to) in [(0, 0, 0), (1, 0, 0), (64, 0, 0), (1_028, 4, 8), (1_027, 0, 4), (64, 1, 0), (64, 0, 3)] {
            let mut view = |name: &str, offset: usize| View { buffer: layout.floats(name, len + 9), offset, len };
            let (input, output) = (view("x", from), view("y", to));
            cases.push(Self { input, output });
        }
        cases
    }
}
