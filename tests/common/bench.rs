//! A single operation between buffers of its own.

use thalweg::Real;
use thalweg::plan::{Blueprint, BufferId, Engine, Layout, Op, Operation, Plan, PlanId, Program, View};

/// Unused elements around every view.
const MARGIN: usize = 3;

/// Buffers with their first contents, and one plan.
pub struct Bench {
    layout: Layout,
    plan: Plan,
    floats: Vec<(BufferId, Vec<Vec<f64>>)>,
    indices: Vec<(BufferId, Vec<u32>)>,
    outputs: Vec<View>,
}

impl Bench {
    pub fn new(lanes: usize) -> Self {
        Self { layout: Layout::new(lanes), plan: Plan::default(), floats: Vec::new(), indices: Vec::new(), outputs: Vec::new() }
    }

    /// An input per lane, in the middle of a larger buffer.
    pub fn input(&mut self, name: &str, lanes: Vec<Vec<f64>>) -> View {
        let len = lanes[0].len();
        let buffer = self.layout.floats(name, len + 2 * MARGIN);
        self.floats.push((buffer, lanes.into_iter().map(|values| framed(&values, f64::NAN)).collect()));
        View { buffer, offset: MARGIN, len }
    }

    /// An input that all lanes share.
    pub fn shared(&mut self, name: &str, values: &[f64]) -> View {
        let buffer = self.layout.shared_floats(name, values.len() + 2 * MARGIN);
        self.floats.push((buffer, vec![framed(values, f64::NAN)]));
        View { buffer, offset: MARGIN, len: values.len() }
    }

    /// Indices that all lanes share.
    pub fn labels(&mut self, name: &str, values: &[u32]) -> View {
        let buffer = self.layout.shared_indices(name, values.len() + 2 * MARGIN);
        self.indices.push((buffer, framed(values, 0)));
        View { buffer, offset: MARGIN, len: values.len() }
    }

    /// An output, filled with NaN at first. All of it has to be written, and nothing around it.
    pub fn output(&mut self, name: &str, len: usize) -> View {
        let lanes = vec![vec![f64::NAN; len]; self.layout.lanes()];
        self.read_and_written(name, lanes)
    }

    /// An output that is also read.
    pub fn read_and_written(&mut self, name: &str, lanes: Vec<Vec<f64>>) -> View {
        let view = self.input(name, lanes);
        self.outputs.push(view);
        view
    }

    pub fn push(&mut self, op: Op) {
        self.plan.push(op);
    }

    pub fn operate(&mut self, operation: impl Operation) {
        self.plan.operate(operation);
    }

    /// Runs the plan once; returns the values by lane, then by output.
    pub fn run<E: Engine>(&self, engine: &E) -> Vec<Vec<Vec<E::Float>>> {
        let mut program = engine
            .load(&Blueprint::of(&self.layout, std::slice::from_ref(&self.plan)))
            .unwrap_or_else(|e| panic!("{}: {e}", engine.describe()));
        for (buffer, lanes) in &self.floats {
            for (lane, values) in lanes.iter().enumerate() {
                let values: Vec<E::Float> = values.iter().map(|&x| E::Float::of(x)).collect();
                program.write(*buffer, lane, 0, &values).expect("values that fit");
            }
        }
        for (buffer, values) in &self.indices {
            program.write_indices(*buffer, 0, 0, values).expect("indices that fit");
        }
        program.run(PlanId::FIRST, 1).expect("a run");
        let mut read = |lane, view: &View| {
            let all = program.read(view.buffer, lane).expect("an output");
            let (inside, end) = (view.offset..view.offset + view.len, view.offset + view.len);
            let outside = all[..view.offset].iter().chain(&all[end..]);
            assert!(outside.copied().all(num_traits::Float::is_nan), "{}: written outside of the view", engine.describe());
            all[inside].to_vec()
        };
        (0..self.layout.lanes()).map(|lane| self.outputs.iter().map(|view| read(lane, view)).collect()).collect()
    }
}

/// Values with a margin of `around` on both sides.
fn framed<T: Copy>(values: &[T], around: T) -> Vec<T> {
    let margin = [around; MARGIN];
    [&margin[..], values, &margin[..]].concat()
}
