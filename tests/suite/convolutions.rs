//! Convolutions of random sizes, and of those at the edges, beside plain loops: outputs and both gradients, on every engine.

use crate::common::engines;
use crate::common::numbers::doubles;
use crate::common::taped::{Input, Results, record};
use fastrand::Rng;
use thalweg::cpu::Cpu;
use thalweg::nn::{Conv2d, Model, Tape};

/// The sizes of a convolution, lines before columns.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    groups: usize,
    /// Channels of a group.
    inputs: usize,
    outputs: usize,
    image: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
}

impl Sizes {
    /// One image, one group, steps of 1.
    fn new([inputs, outputs]: [usize; 2], image: [usize; 2], kernel: [usize; 2]) -> Self {
        Self { batch: 1, groups: 1, inputs, outputs, image, kernel, stride: [1, 1], padding: [0, 0], dilation: [1, 1] }
    }

    fn random(rng: &mut Rng) -> Self {
        let mut axis = || {
            let (kernel, dilation, padding) = (rng.usize(1..=4), rng.usize(1..=3), rng.usize(0..=3));
            let reach = dilation * (kernel - 1) + 1;
            // From a kernel that just fits to several windows.
            let image = reach.saturating_sub(2 * padding).max(1) + rng.usize(0..=6);
            [image, kernel, rng.usize(1..=3), padding, dilation]
        };
        let axes = [axis(), axis()];
        let [image, kernel, stride, padding, dilation] = [0, 1, 2, 3, 4].map(|what| axes.map(|axis| axis[what]));
        let [batch, groups, inputs, outputs] = [1..=5, 1..=3, 1..=5, 1..=6].map(|range| rng.usize(range));
        Self { batch, groups, inputs, outputs, image, kernel, stride, padding, dilation }
    }

    fn out(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
            (self.image[axis] + 2 * self.padding[axis] - reach) / self.stride[axis] + 1
        })
    }

    /// Lengths of images, kernels and outputs.
    fn lens(&self) -> [usize; 3] {
        let area = |sides: [usize; 2]| sides[0] * sides[1];
        let channels = self.groups * self.outputs;
        [
            self.batch * self.groups * self.inputs * area(self.image),
            channels * self.inputs * area(self.kernel),
            self.batch * channels * area(self.out()),
        ]
    }

    /// Calls `f` with the places of every product's factors and of its sum: in the images, in the kernels, in the outputs.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let Self { batch, groups, inputs, outputs, image, kernel, .. } = *self;
        let out = self.out();
        for at in indices([batch, groups, outputs, inputs, out[0], out[1], kernel[0], kernel[1]]) {
            let [sample, group, output, input, y, x, ky, kx] = at;
            let place = |axis: usize, out: usize, tap: usize| {
                let place = (out * self.stride[axis] + tap * self.dilation[axis]).checked_sub(self.padding[axis])?;
                (place < image[axis]).then_some(place)
            };
            let (Some(line), Some(column)) = (place(0, y, ky), place(1, x, kx)) else { continue };
            let channel = group * outputs + output;
            f(
                (((sample * groups + group) * inputs + input) * image[0] + line) * image[1] + column,
                ((channel * inputs + input) * kernel[0] + ky) * kernel[1] + kx,
                ((sample * groups * outputs + channel) * out[0] + y) * out[1] + x,
            );
        }
    }

    fn layer(&self) -> Conv2d {
        let Self { groups, stride, padding, dilation, .. } = *self;
        let conv = Conv2d::new(groups * self.inputs, groups * self.outputs, self.kernel).padded(padding);
        Conv2d { groups, stride, dilation, bias: false, ..conv }
    }
}

/// All indices below these sizes, the last one fastest.
fn indices<const N: usize>(sizes: [usize; N]) -> impl Iterator<Item = [usize; N]> {
    (0..sizes.iter().product()).map(move |mut rest: usize| {
        let mut at = [0; N];
        for axis in (0..N).rev() {
            (at[axis], rest) = (rest % sizes[axis], rest / sizes[axis]);
        }
        at
    })
}

/// Outputs, the gradient by the images and that by the kernels, each with the sums of the sizes of its terms, and how many
/// terms a sum has at most.
fn by_loops(sizes: &Sizes, x: &[f64], w: &[f64], slope: &[f64]) -> [(&'static str, Vec<[f64; 2]>, f64); 3] {
    let [of_x, of_w, of_y] = sizes.lens().map(|len| vec![[0.0; 3]; len]);
    let mut sums = [("output", of_y), ("gradient by the images", of_x), ("gradient by the kernels", of_w)];
    sizes.each(|at_x, at_w, at_y| {
        let terms = [(at_y, x[at_x] * w[at_w]), (at_x, slope[at_y] * w[at_w]), (at_w, slope[at_y] * x[at_x])];
        for ((_, sums), (at, term)) in sums.iter_mut().zip(terms) {
            let [sum, size, count] = &mut sums[at];
            (*sum, *size, *count) = (*sum + term, *size + term.abs(), *count + 1.0);
        }
    });
    sums.map(|(name, sums)| {
        let most = sums.iter().fold(0.0, |most: f64, [.., count]| most.max(*count));
        (name, sums.into_iter().map(|[sum, size, _]| [sum, size]).collect(), most)
    })
}

/// Compares what engines compute with plain loops.
fn check(sizes: &Sizes, seed: u64) {
    let [x, w, slope] = {
        let [of_x, of_w, of_y] = sizes.lens();
        [doubles(seed, of_x), doubles(seed + 1, of_w), doubles(seed + 2, of_y)]
    };
    let right = by_loops(sizes, &x, &w, &slope);
    let [lines, columns] = sizes.out();
    let inputs = [
        Input::Floats(vec![sizes.batch, sizes.groups * sizes.inputs, sizes.image[0], sizes.image[1]], x),
        Input::Data(vec![sizes.batch, sizes.groups * sizes.outputs, lines, columns], slope),
    ];
    let mut taped = record(1, Tape::training(), &inputs, true, |tape, x| {
        let y = sizes.layer().forward(tape, &x[0]);
        vec![(&y * &x[1]).sum(&[]), y]
    })
    .unwrap_or_else(|error| panic!("{sizes:?}: {error}"));
    taped.set("weight", &w);
    let compare = |engine: &str, found: Results, eps: f64| {
        let lists = [&found.outputs[1], &found.of_inputs[0], &found.grads[0].1];
        for ((name, right, terms), found) in right.iter().zip(lists) {
            assert_eq!(found.len(), right.len(), "{engine}: {name} of {sizes:?}");
            for (i, (found, [right, size])) in found.iter().zip(right).enumerate() {
                // A rounding for each product and each addition, whatever the order of the sum.
                let bound = eps * (terms + 1.0) * size;
                assert!((found - right).abs() <= bound, "{engine}: {name}[{i}] of {sizes:?}: {found}, not {right} ± {bound:e}");
            }
        }
    };
    compare("the oracle", taped.run(&Cpu::<f64>::default(), 0, 1).swap_remove(0), f64::EPSILON);
    for engine in [engines::cpu(), engines::gpu()] {
        compare(engine.name, taped.run(&engine, 0, 1).swap_remove(0), f32::EPSILON.into());
    }
}

#[test]
fn convolutions_of_random_sizes_are_sums_over_their_windows() {
    let mut rng = Rng::with_seed(18);
    for seed in 0..40 {
        check(&Sizes::random(&mut rng), 3 * seed);
    }
}

#[test]
fn convolutions_at_the_edges_are_sums_over_their_windows() {
    let one = Sizes::new([1, 1], [1, 1], [1, 1]);
    let cases = [
        one,
        Sizes { batch: 129, ..one },
        // A kernel that meets the image in a corner alone.
        Sizes { padding: [2, 2], ..Sizes::new([1, 2], [1, 1], [3, 3]) },
        // Kernels as large as the image, and as the padded image.
        Sizes::new([3, 65], [7, 4], [7, 4]),
        Sizes { padding: [1, 2], batch: 2, ..Sizes::new([65, 2], [5, 3], [7, 7]) },
        // As many channels as in a block of a kernel, one less and one more.
        Sizes { padding: [1, 1], ..Sizes::new([64, 65], [5, 5], [3, 3]) },
        Sizes { batch: 2, ..Sizes::new([65, 63], [3, 4], [1, 1]) },
        Sizes { groups: 65, batch: 2, padding: [1, 1], ..Sizes::new([1, 1], [4, 5], [3, 3]) },
        Sizes { batch: 129, padding: [1, 1], stride: [2, 1], ..Sizes::new([2, 3], [5, 4], [3, 3]) },
        // Pixels between windows that no window meets.
        Sizes { stride: [3, 4], batch: 3, ..Sizes::new([2, 5], [11, 10], [2, 1]) },
        Sizes { dilation: [5, 7], padding: [4, 0], ..Sizes::new([2, 2], [8, 17], [3, 3]) },
        // One line, and one column.
        Sizes { padding: [0, 8], ..Sizes::new([3, 4], [1, 33], [1, 17]) },
        Sizes { padding: [3, 0], ..Sizes::new([3, 4], [33, 1], [5, 1]) },
    ];
    for (seed, sizes) in cases.iter().enumerate() {
        check(sizes, 200 + 3 * seed as u64);
    }
}
