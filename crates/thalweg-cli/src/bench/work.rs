//! The works that are timed, as plans.

use crate::memory;
use anyhow::Result;
use thalweg::op::{Copy, MatMul};
use thalweg::plan::{Arena, Blueprint, Buffer, BufferId, Layout, Norm, NormKind, Op, Plan, Role, Storage};
use thalweg::{AdamW, AnyRule, Layerwise, Recipe, RmsProp, Select, Sgd, Stepper, rules};

/// The most columns of the matrix for a rule with moments of rows and columns.
const MOST_COLUMNS: usize = 1024;
/// Rows and columns of the matrices for a rule with orthogonal directions.
const SIDE: usize = 128;

/// Something to time: a plan, and what it moves or computes.
#[derive(Clone)]
pub struct Work {
    pub what: String,
    pub size: Size,
    /// The plan is its first.
    pub blueprint: Blueprint,
    pub stepper: Option<Stepper>,
    /// Buffers to fill with numbers.
    pub inputs: Vec<BufferId>,
    /// Streams of floats that are read and written, for the copy to compare with; a stream of 16 bits counts half.
    pub streams: (usize, usize),
}

/// The size of a work.
#[derive(Clone, Copy)]
pub enum Size {
    Elements(usize),
    Product { m: usize, k: usize, n: usize, batch: usize },
}

impl Work {
    /// Bytes that have to move, or operations that have to be done.
    pub fn amount(&self) -> f64 {
        match self.size {
            Size::Elements(n) => (n * 4 * (self.streams.0 + self.streams.1)) as f64,
            Size::Product { m, k, n, batch } => 2.0 * (m * k * n * batch) as f64,
        }
    }
}

impl Work {
    /// Refuses what does not fit into memory: buffers, the numbers that fill one of them, and the streams of the copy.
    pub fn check_memory(&self) -> Result<()> {
        let bytes = |buffer: &Buffer| (buffer.stride() * buffer.kind.bytes()) as u128;
        let buffers =
            self.blueprint.layout().lanes() as u128 * self.blueprint.layout().buffers().iter().map(bytes).sum::<u128>();
        let beside = match self.size {
            Size::Elements(n) => n * 4 * (1 + self.streams.0.max(2)),
            Size::Product { .. } => 0,
        };
        memory::check(&format!("the row {}", self.what), buffers + beside as u128, thalweg::cpu::available_memory())
    }
}

/// The copy, every rule, the norm, and clipping with AdamW, over `n` parameters. The bytes of orthogonal directions are not
/// counted.
pub fn streams(n: usize) -> Vec<Work> {
    let mut works = vec![copy(n), norm(n)];
    let momentum = Sgd { momentum: 0.9, ..Default::default() };
    let centered = RmsProp { centered: true, momentum: 0.9, ..Default::default() };
    let amsgrad = AdamW { amsgrad: true, ..Default::default() };
    let plain = rules().into_iter().map(|rule| (rule.name().to_string(), rule, None));
    let more: [(&str, Box<dyn AnyRule>, Option<f64>); 4] = [
        ("sgd momentum", momentum.into(), None),
        ("rmsprop centered momentum", centered.into(), None),
        ("adamw amsgrad", amsgrad.into(), None),
        ("clip + adamw", AdamW::default().into(), Some(1.0)),
    ];
    let more = more.into_iter().map(|(what, rule, clip)| (what.to_string(), rule, clip));
    works.extend(plain.chain(more).map(|(what, rule, clip)| update(what, rule, clip, Storage::F32, n)));
    works.push(update("adamw_bf16".into(), AdamW::default().into(), None, Storage::Bf16, n));
    works
}

fn copy(n: usize) -> Work {
    let mut layout = Layout::new(1);
    let (from, to) = (layout.floats("from", n), layout.floats("to", n));
    let mut plan = Plan::default();
    plan.operate(Copy { input: layout.whole(from), output: layout.whole(to) });
    Work {
        what: "copy".into(),
        size: Size::Elements(n),
        blueprint: Blueprint::of(&layout, &[plan]),
        stepper: None,
        inputs: vec![from],
        streams: (1, 1),
    }
}

fn norm(n: usize) -> Work {
    let (mut layout, arena) = (Layout::new(1), arena(n));
    let chunks = arena.chunks();
    let (grads, partials) = (layout.arena("grads", &arena), layout.floats("partials", NormKind::L2.partials(chunks.len())));
    let frozen = layout.indices("frozen", 1);
    let mut plan = Plan::default();
    plan.push(Op::Norm(Norm::new(NormKind::L2, grads, chunks, partials, frozen)));
    Work {
        what: "norm".into(),
        size: Size::Elements(n),
        blueprint: Blueprint::of(&layout, &[plan]),
        stepper: None,
        inputs: vec![grads],
        streams: (1, 0),
    }
}

/// One tensor.
fn arena(n: usize) -> Arena {
    of_shapes(vec![vec![n]])
}

fn of_shapes(shapes: Vec<Vec<usize>>) -> Arena {
    let mut arena = Arena::default();
    for (index, shape) in shapes.iter().enumerate() {
        arena.add(&index.to_string(), shape).expect("every number once");
    }
    arena
}

/// Tensors that suit a rule: matrices for rules that treat matrices in a special way, else a vector.
fn fitting(rule: &dyn AnyRule, n: usize) -> Arena {
    if rule.factored() {
        // The largest power of two that divides n, up to the bound.
        let columns = 1 << n.trailing_zeros().min(MOST_COLUMNS.trailing_zeros());
        return of_shapes(vec![vec![n / columns, columns]]);
    }
    if rule.orthogonal().is_some() {
        let (matrices, rest) = (n / (SIDE * SIDE), n % (SIDE * SIDE));
        let rest = (rest > 0).then(|| vec![rest]);
        return of_shapes(vec![vec![SIDE, SIDE]; matrices].into_iter().chain(rest).collect());
    }
    arena(n)
}

/// How many arrays, each as long as the parameters, a rule has to read and to write. A norm has to be known before it is used,
/// so the array of a norm is read once more.
fn moved(rule: &dyn AnyRule, state: Storage) -> (usize, usize) {
    // Moments of rows and columns are too small to count.
    let planes = if rule.factored() { 0 } else { rule.planes().len() };
    let planes = if state == Storage::F32 { planes } else { planes.div_ceil(2) };
    let (reads, writes) = (2 + planes, 1 + planes);
    match rule.layerwise() {
        Layerwise::No => (reads, writes),
        // Parameters and gradients.
        Layerwise::Before => (reads + 2, writes),
        // The direction is written, then read with the parameters. A factored rule first reads the gradients for means over
        // rows and columns.
        Layerwise::After => (reads + 2 + usize::from(rule.factored()), writes + 1),
    }
}

fn update(what: String, rule: Box<dyn AnyRule>, clip: Option<f64>, state: Storage, n: usize) -> Work {
    let (mut blueprint, arena) = (Blueprint::new(1), fitting(&*rule, n));
    let params = blueprint.arena("params", &arena, Role::Params);
    let grads = blueprint.arena("grads", &arena, Role::Grads);
    let (reads, writes) = moved(&*rule, state);
    let orthogonal = rule.orthogonal().is_some();
    let mut recipe = Recipe::new(rule).state(state);
    if orthogonal && arena.tensors().iter().any(|tensor| tensor.shape.len() < 2) {
        recipe = recipe.group_of("rest", Select::Below(2), AdamW::default());
    }
    if let Some(max_norm) = clip {
        recipe = recipe.clip_norm(max_norm);
    }
    let stepper = recipe.record(&mut blueprint, &arena, params, grads).expect("default settings");
    let streams = (reads + usize::from(clip.is_some()), writes);
    Work { what, size: Size::Elements(n), blueprint, stepper: Some(stepper), inputs: vec![params, grads], streams }
}

/// Square products, and those of a training step: forward, gradient of weights, gradient of inputs, and a population.
pub fn products() -> Vec<Work> {
    let square = [128, 512, 1024].map(|n| product("matmul", n, n, n, 1, (false, false)));
    let step = [
        product("matmul forward", 64, 784, 128, 1, (false, true)),
        product("matmul weights", 128, 64, 784, 1, (true, false)),
        product("matmul inputs", 64, 128, 784, 1, (false, false)),
        product("matmul forward", 64, 64, 32, 64, (false, true)),
    ];
    square.into_iter().chain(step).collect()
}

fn product(what: &str, m: usize, k: usize, n: usize, batch: usize, (trans_a, trans_b): (bool, bool)) -> Work {
    let mut layout = Layout::new(batch);
    let (a, b, c) = (layout.floats("a", m * k), layout.floats("b", k * n), layout.floats("c", m * n));
    let views = (layout.whole(a), layout.whole(b), layout.whole(c));
    let mut plan = Plan::default();
    plan.operate(MatMul::new(views.0, views.1, views.2, m, k, n).transposed(trans_a, trans_b));
    let size = Size::Product { m, k, n, batch };
    Work {
        what: what.into(),
        size,
        blueprint: Blueprint::of(&layout, &[plan]),
        stepper: None,
        inputs: vec![a, b],
        streams: (2, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::rule_by_name;

    #[test]
    fn matrices_go_to_the_rules_that_are_for_them() {
        let shapes = |name: &str, n: usize| -> Vec<Vec<usize>> {
            let arena = fitting(&*rule_by_name(name).expect("a rule"), n);
            arena.tensors().iter().map(|tensor| tensor.shape.clone()).collect()
        };
        assert_eq!(shapes("adamw", 1 << 20), [[1 << 20]]);
        assert_eq!(shapes("adafactor", 1 << 20), [[1024, 1024]]);
        assert_eq!(shapes("adafactor", 1000), [[125, 8]]);
        assert_eq!(shapes("muon", 3 * 128 * 128), [[128, 128]; 3]);
        assert_eq!(shapes("muon", 128 * 128 + 5), [vec![128, 128], vec![5]]);
    }

    #[test]
    fn directions_and_what_norms_read_are_moved() {
        // Written down once more, array by array: x, g and planes read; x and planes written; then what is between.
        for (name, reads, writes) in [
            ("sgd", 2, 1),
            ("adamw", 4, 3),
            ("lars", 2 + 2, 1),
            ("lamb", 4 + 2, 3 + 1),
            ("muon", 3 + 2, 2 + 1),
            ("adafactor", 2 + 1 + 2, 1 + 1),
        ] {
            assert_eq!(moved(&*rule_by_name(name).expect("a rule"), Storage::F32), (reads, writes), "{name}");
        }
        // 12 bytes of 16, and 8 of 12.
        assert_eq!(moved(&AdamW::default(), Storage::Bf16), (3, 2));
    }
}
