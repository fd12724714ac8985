//! Products of matrices. Tiles follow from rows and columns alone, never from the number of products or lanes, so a lane has
//! the bits of the same product on its own.

use crate::error::Result;
use crate::plan::{
    Adapter, BoundsChecks, Dispatch, Elements, Kind, Layout, Matrix, MatrixMut, Operands, Operation, Use, View, Views, Workers,
};
use crate::rule::Real;

/// `C = op(A)·op(B)`, plus a bias per column, plus what C held before; op transposes or not.
///
/// op(A) is m × k, op(B) is k × n, C is m × n. A and B may be shared by all lanes. A batch is several products of one size,
/// numbered along two dimensions; they share the bias. Their matrices lie one after the other, row by row, unless
/// [`MatMul::strided`] says otherwise: so heads, steps of a sequence and parts of wider matrices need no copies, and a batch
/// stride of 0 gives all products along that dimension the same factor.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MatMul {
    /// Left factor: m × k, or k × m if transposed.
    pub a: View,
    /// Right factor: k × n, or n × k if transposed.
    pub b: View,
    /// Added to each row: n elements.
    pub bias: Option<View>,
    /// The product.
    pub c: View,
    /// Rows of the product.
    pub m: usize,
    /// Terms of each sum.
    pub k: usize,
    /// Columns of the product.
    pub n: usize,
    /// A is stored transposed.
    pub trans_a: bool,
    /// B is stored transposed.
    pub trans_b: bool,
    /// Add to C instead of overwriting it.
    pub accumulate: bool,
    /// Products along both dimensions of the batch.
    pub batch: [usize; 2],
    /// How the matrices of A, B and C lie; `None`: one after the other, without gaps.
    pub strides: [Option<Strides>; 3],
}

/// How the matrices of a batch lie, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    /// From one stored row to the next: at least its length, so that rows do not overlap.
    pub row: usize,
    /// From one product to the next along each dimension of the batch. 0 for a factor that is the same for all of them.
    pub batch: [usize; 2],
}

/// Tiles of 128 × 128 are used from this many of them on; below, small tiles keep more of a GPU busy.
const LARGE_TILES: usize = 32;

/// Which kernel computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// For software drivers.
    Lean,
    /// Twice as fast as `Lean` where the device has subgroups (lavapipe).
    LeanSubgroup,
    /// For GPUs.
    Tile,
}

impl Variant {
    pub(crate) fn of(adapter: &Adapter) -> Self {
        match (adapter.is_cpu, adapter.subgroups) {
            (true, true) => Self::LeanSubgroup,
            (true, false) => Self::Lean,
            (false, _) => Self::Tile,
        }
    }
}

impl MatMul {
    /// The plain product C = A·B, with m, k, n in this order; a batch of one.
    pub fn new(a: View, b: View, c: View, m: usize, k: usize, n: usize) -> Self {
        let (bias, strides) = (None, [None; 3]);
        Self { a, b, bias, c, m, k, n, trans_a: false, trans_b: false, accumulate: false, batch: [1, 1], strides }
    }

    /// Of factors that are stored transposed, the left one, the right one, or both.
    pub fn transposed(self, trans_a: bool, trans_b: bool) -> Self {
        Self { trans_a, trans_b, ..self }
    }

    /// With a bias, or without.
    pub fn bias(self, bias: impl Into<Option<View>>) -> Self {
        Self { bias: bias.into(), ..self }
    }

    /// Whether the product is added to what C holds instead of overwriting it.
    pub fn accumulate(self, accumulate: bool) -> Self {
        Self { accumulate, ..self }
    }

    /// So many products of one size.
    pub fn batch(self, batch: usize) -> Self {
        Self { batch: [1, batch], ..self }
    }

    /// So many products of one size along each of two dimensions, and how the matrices of A, B and C lie. A view has to hold
    /// all of its matrices. Those of C lie one behind the other, not woven into each other: batch strides grow from the inner
    /// dimension to the outer one.
    ///
    /// # Examples
    ///
    /// One row times two matrices that lie side by side in a matrix of four columns:
    ///
    /// ```
    /// use thalweg::op::{MatMul, Strides};
    /// use thalweg::plan::{Blueprint, Engine, Layout, Plan, PlanId, Program};
    /// use thalweg::cpu::Cpu;
    ///
    /// let mut layout = Layout::new(1);
    /// let (a, b, c) = (layout.floats("a", 2), layout.floats("b", 8), layout.floats("c", 4));
    /// let product = MatMul::new(layout.whole(a), layout.whole(b), layout.whole(c), 1, 2, 2);
    /// let factor = |row, inner| Some(Strides { row, batch: [0, inner] });
    /// let mut plan = Plan::default();
    /// plan.operate(product.strided([1, 2], [factor(2, 0), factor(4, 2), None]));
    ///
    /// let mut program = Cpu::<f64>::default().load(&Blueprint::of(&layout, &[plan]))?;
    /// program.write(a, 0, 0, &[1.0, 10.0])?;
    /// program.write(b, 0, 0, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])?;
    /// program.run(PlanId::FIRST, 1)?;
    /// assert_eq!(program.read(c, 0)?, [51.0, 62.0, 73.0, 84.0]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn strided(self, batch: [usize; 2], strides: [Option<Strides>; 3]) -> Self {
        Self { batch, strides, ..self }
    }

    /// Rows and columns of A, B and C as they are stored.
    fn stored(&self) -> [[usize; 2]; 3] {
        let turned = |[rows, columns]: [usize; 2], transposed| if transposed { [columns, rows] } else { [rows, columns] };
        [turned([self.m, self.k], self.trans_a), turned([self.k, self.n], self.trans_b), [self.m, self.n]]
    }

    /// How the matrices of A, B and C lie.
    fn places(&self) -> [Strides; 3] {
        let dense = |[rows, columns]: [usize; 2]| {
            let len = rows.saturating_mul(columns);
            Strides { row: columns, batch: [len.saturating_mul(self.batch[1]), len] }
        };
        let stored = self.stored();
        std::array::from_fn(|i| self.strides[i].unwrap_or_else(|| dense(stored[i])))
    }

    /// Products in all.
    fn products(&self) -> usize {
        Operands::product(&self.batch)
    }

    /// Rows and columns of C that a workgroup computes.
    fn tile(&self, variant: Variant) -> [usize; 2] {
        match variant {
            Variant::Lean | Variant::LeanSubgroup => [if self.tall() { 16 } else { 8 }, if self.wide() { 64 } else { 32 }],
            Variant::Tile if self.large() => [128, 128],
            Variant::Tile => [32, 32],
        }
    }

    pub(crate) fn wide(&self) -> bool {
        self.n > 32
    }

    pub(crate) fn tall(&self) -> bool {
        self.m > 8
    }

    pub(crate) fn large(&self) -> bool {
        (self.m / 128).saturating_mul(self.n / 128) >= LARGE_TILES
    }

    /// The kernel of a variant.
    pub(crate) fn dispatch(&self, variant: Variant) -> Dispatch {
        let bias = if self.bias.is_some() { "bias(lane, i)" } else { "0.0" };
        let common = [
            &format!(
                "const BIAS: bool = {};\nfn bias_of(lane: u32, i: u32) -> f32 {{ return {bias}; }}\n",
                self.bias.is_some()
            ),
            include_str!("../../shaders/op/matmul.wgsl"),
        ]
        .concat();
        let blocks = format!("const WIDE: bool = {};\nconst TALL: bool = {};\n", self.wide(), self.tall());
        let lean = include_str!("../../shaders/op/matmul_lean.wgsl");
        let (entry, own) = match variant {
            Variant::Lean => ("matmul_lean", [&blocks, include_str!("../../shaders/op/matmul_octet.wgsl"), lean].concat()),
            Variant::LeanSubgroup => {
                ("matmul_lean", [&blocks, include_str!("../../shaders/op/matmul_octet_subgroup.wgsl"), lean].concat())
            }
            Variant::Tile => {
                let large = format!("const LARGE: bool = {};\n", self.large());
                ("matmul_tile", [&large, include_str!("../../shaders/op/matmul_tile.wgsl")].concat())
            }
        };
        let mut dispatch = Dispatch::new(entry, common + &own);
        for (name, on) in [("TRANS_A", self.trans_a), ("TRANS_B", self.trans_b), ("ACCUMULATE", self.accumulate)] {
            dispatch = dispatch.constant(name, f64::from(u8::from(on)));
        }
        let sizes = [("m", self.m), ("k", self.k), ("n", self.n), ("products", self.products()), ("inner", self.batch[1])];
        dispatch = sizes.into_iter().fold(dispatch, |dispatch, (name, size)| dispatch.size(name, size));
        for (name, Strides { row, batch: [outer, inner] }) in ["a", "b", "c"].into_iter().zip(self.places()) {
            let strides = [("row", row), ("outer", outer), ("inner", inner)];
            dispatch =
                strides.into_iter().fold(dispatch, |dispatch, (of, stride)| dispatch.size(format!("{name}_{of}"), stride));
        }
        let [rows, columns] = self.tile(variant);
        let tiles = self.m.div_ceil(rows).saturating_mul(self.n.div_ceil(columns));
        let trips = match variant {
            Variant::Lean | Variant::LeanSubgroup => self.k,
            // One per slice of eight terms, and one per term of it.
            Variant::Tile => self.k.div_ceil(8) * 9,
        };
        let dispatch = dispatch.workgroups(tiles.saturating_mul(self.products())).trips(trips);
        if tiles * self.products() == 0 { Dispatch { grid: [0, 0], ..dispatch } } else { dispatch }
    }

    /// Sets C to what the product is added to: the bias, and what C held before.
    fn begin<F: Real>(&self, mut c: MatrixMut<'_, F>, bias: Option<&[F]>) {
        let kept = |c: F| if self.accumulate { c } else { F::zero() };
        match bias {
            Some(bias) => c.rows().for_each(|row| row.iter_mut().zip(bias).for_each(|(c, &bias)| *c = kept(*c) + bias)),
            None if self.k == 0 && !self.accumulate => c.rows().for_each(|row| row.fill(F::zero())),
            None => {}
        }
    }
}

/// Elements from the first to the last of all matrices of a batch; 0 if there are none.
fn extent([rows, columns]: [usize; 2], batch: [usize; 2], Strides { row, batch: strides }: Strides) -> usize {
    if [rows, columns, batch[0], batch[1]].contains(&0) {
        return 0;
    }
    let steps = [(batch[0], strides[0]), (batch[1], strides[1]), (rows, row)];
    steps.into_iter().fold(columns, |sum, (count, stride)| sum.saturating_add((count - 1).saturating_mul(stride)))
}

/// The matrix that begins at an element, transposed or as it is stored.
fn factor<F>(data: &[F], start: usize, [rows, columns]: [usize; 2], stride: usize, transposed: bool) -> Matrix<'_, F> {
    let matrix = Matrix::strided(data.get(start..).unwrap_or_default(), rows, columns, stride);
    if transposed { matrix.transposed() } else { matrix }
}

/// Multiplications from which a batch is worth several threads; as for a product.
const WORTH: usize = 48 * 48 * 256;

impl Operation for MatMul {
    const NAME: &'static str = "matmul";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        let (places, stored) = (self.places(), self.stored());
        let len = |index: usize, view: View| {
            let needed = extent(stored[index], self.batch, places[index]);
            // Something else may lie between and behind strided matrices.
            if self.strides[index].is_some() && view.len >= needed { view.len } else { needed }
        };
        for ((name, [_, columns]), strides) in
            ["row stride of a", "row stride of b", "row stride of c"].into_iter().zip(stored).zip(places)
        {
            o.at_least(name, strides.row, columns);
        }
        let Strides { row, batch: [outer, inner] } = places[2];
        if self.batch[1] > 1 {
            o.at_least("inner batch stride of c", inner, extent(stored[2], [1, 1], Strides { row, batch: [0, 0] }));
        }
        if self.batch[0] > 1 {
            o.at_least("outer batch stride of c", outer, extent(stored[2], [1, self.batch[1]], places[2]));
        }
        o.read("a", self.a, len(0, self.a));
        o.read("b", self.b, len(1, self.b));
        if let Some(bias) = self.bias {
            o.read("bias", bias, self.n);
        }
        let all = self.strides[2].is_none() && !self.accumulate;
        o.declare("c", self.c, Kind::Float, if all { Use::Write } else { Use::Change }, len(2, self.c));
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        vec![self.dispatch(Variant::Lean)]
    }

    fn dispatches_on(&self, adapter: &Adapter) -> Vec<Dispatch> {
        vec![self.dispatch(Variant::of(adapter))]
    }

    fn described(&self) -> String {
        format!("a product of {} × {} and {} × {} matrices", self.m, self.k, self.k, self.n)
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let (workers, multiply) = (views.workers(), views.multiply());
        let mut views = views.list();
        let mut read = || views.next().map_or(Ok(&[][..]), Elements::floats);
        let (a, b) = (read()?, read()?);
        let bias = self.bias.map(|_| read()).transpose()?;
        let Some(c) = views.next().map(Elements::floats_mut).transpose()? else { return Ok(()) };
        let (count, [of_a, of_b, of_c]) = (self.products(), self.places());
        let [rows_of_a, rows_of_b, [rows, columns]] = self.stored();
        if rows * columns * count == 0 {
            return Ok(());
        }
        let scale = if self.accumulate || bias.is_some() { F::one() } else { F::zero() };
        let start = |strides: Strides, index: usize| {
            index / self.batch[1] * strides.batch[0] + index % self.batch[1] * strides.batch[1]
        };
        // The matrices of C lie in order and apart from each other.
        let (len, mut rest, mut before) = ((rows - 1) * of_c.row + columns, c, 0);
        let products = (0..count).map_while(move |index| {
            let at = start(of_c, index);
            let (c, after) = std::mem::take(&mut rest).split_at_mut_checked(at - before)?.1.split_at_mut_checked(len)?;
            (rest, before) = (after, at + len);
            Some((index, c))
        });
        // Several products are shared out whole, a single one in parts.
        let (of_batch, of_product) = if count > 1 { (workers, Workers::ONE) } else { (Workers::ONE, workers) };
        let worth = Operands::product(&[rows, columns, self.k, count]) >= WORTH;
        let of_batch = if worth { of_batch } else { Workers::ONE };
        of_batch.in_order(count, products, |(index, c)| {
            self.begin(MatrixMut::strided(&mut *c, rows, columns, of_c.row), bias);
            if self.k > 0 {
                let a = factor(a, start(of_a, index), rows_of_a, of_a.row, self.trans_a);
                let b = factor(b, start(of_b, index), rows_of_b, of_b.row, self.trans_b);
                multiply(a, b, MatrixMut::strided(c, rows, columns, of_c.row), scale, of_product);
            }
        });
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let mut cases = Vec::new();
        let mut view = |name: &str, len: usize| {
            let id = layout.floats(name, len);
            layout.whole(id)
        };
        for (i, [m, k, n]) in [[0, 3, 2], [1, 0, 3], [1, 1, 1], [9, 5, 33], [8, 17, 32], [65, 7, 130]].into_iter().enumerate() {
            let on = [i % 2 == 1, i % 3 == 1];
            let product = Self::new(view("a", 3 * m * k), view("b", 3 * k * n), view("c", 3 * m * n), m, k, n);
            let bias = on[0].then(|| view("bias", n));
            cases.push(product.batch(3).transposed(on[0], on[1]).accumulate(on[1]).bias(bias));
        }
        // Heads: two samples of three places, each with two heads of four elements side by side; and a factor for all samples.
        let heads = |row: usize, sample: usize, head: usize| Some(Strides { row, batch: [sample, head] });
        let product = Self::new(view("q", 48), view("k", 24), view("scores", 36), 3, 4, 3).transposed(false, true);
        cases.push(product.strided([2, 2], [heads(8, 24, 4), heads(8, 0, 4), None]));
        let product = Self::new(view("weights", 36), view("v", 48), view("joined", 60), 3, 3, 4);
        cases.push(product.strided([2, 2], [None, heads(8, 24, 4), heads(5, 30, 15)]));
        // More products than a dimension of a grid has workgroups.
        let many = 65_537;
        cases.push(Self::new(view("a", many), view("b", many), view("c", many), 1, 1, 1).batch(many));
        cases
    }
}
