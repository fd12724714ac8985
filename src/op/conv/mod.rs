//! Convolutions of images as implicit products: no column of patches is ever written to memory as a whole.

mod direct;
mod panel;
mod wgsl;

use super::map::declared;
use crate::error::Result;
use crate::plan::{BoundsChecks, Dispatch, Elements, Kind, Layout, Operands, Operation, Use, View, Views};
use crate::rule::Real;
use std::ops::Range;

/// Sizes of a convolution. Images x have the shape batch × inputs × image, y that of batch × outputs × out, and the weight that
/// of outputs × (inputs / groups) × kernel. Lines and columns are the two numbers of an array; signals of one dimension have
/// one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSizes {
    /// Images.
    pub batch: usize,
    /// Groups of channels that know nothing of each other, at least 1.
    pub groups: usize,
    /// Channels of x: a multiple of the groups.
    pub inputs: usize,
    /// Channels of y: a multiple of the groups.
    pub outputs: usize,
    /// Lines and columns of x, at least 1.
    pub image: [usize; 2],
    /// Lines and columns of y, at least 1. What lies outside the image is 0.
    pub out: [usize; 2],
    /// Lines and columns of the kernel, at least 1.
    pub kernel: [usize; 2],
    /// From one place of the kernel to the next one, at least 1.
    pub stride: [usize; 2],
    /// Zeros before the first line and the first column. Those behind the last follow from `out`.
    pub padding: [usize; 2],
    /// From one tap of the kernel to the next one, at least 1.
    pub dilation: [usize; 2],
}

/// Which of the three arrays of a convolution is computed from the two others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConvPart {
    /// `y[n, k, o] = Σ_{c, t} w[k, c, t] · x[n, c, o·stride + t·dilation − padding]`, from x and w.
    Output,
    /// The gradient of it by x, from y and w: a transposed convolution.
    Input,
    /// The gradient of it by w, from x and y.
    Weight,
}

/// A convolution of images, or one of its gradients ([`ConvPart`]).
///
/// On a GPU it is a product whose factors are read where they lie. On the CPU a small one is summed where the image lies with
/// zeros around it; of others, patches are gathered into a panel that stays in the second cache, and multiplied there. The
/// gradient by the weight is summed in slices of at most 4,096 positions, which are joined in order. Bits depend neither on
/// other images and lanes, nor on threads.
///
/// # Examples
///
/// The sum of two neighbours:
///
/// ```
/// use thalweg::cpu::Cpu;
/// use thalweg::op::{Conv, ConvPart, ConvSizes};
/// use thalweg::plan::{Blueprint, Engine, Layout, Plan, PlanId, Program};
///
/// let mut layout = Layout::new(1);
/// let (x, w, y) = (layout.floats("x", 4), layout.floats("w", 2), layout.floats("y", 3));
/// let sizes = ConvSizes {
///     batch: 1, groups: 1, inputs: 1, outputs: 1, image: [1, 4], out: [1, 3],
///     kernel: [1, 2], stride: [1, 1], padding: [0, 0], dilation: [1, 1],
/// };
/// let mut plan = Plan::default();
/// plan.operate(Conv::new(ConvPart::Output, sizes, [layout.whole(x), layout.whole(w)], layout.whole(y)));
///
/// let mut program = Cpu::<f32>::default().load(&Blueprint::of(&layout, &[plan]))?;
/// program.write(x, 0, 0, &[1.0, 2.0, 4.0, 8.0])?;
/// program.write(w, 0, 0, &[1.0, 1.0])?;
/// program.run(PlanId::FIRST, 1)?;
/// assert_eq!(program.read(y, 0)?, [3.0, 6.0, 12.0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Conv {
    part: ConvPart,
    sizes: ConvSizes,
    reads: [View; 2],
    writes: View,
    scratch: Option<View>,
}

impl Conv {
    /// Reads x and w for an output, y and w for an input, x and y for a weight.
    pub fn new(part: ConvPart, sizes: ConvSizes, reads: [View; 2], writes: View) -> Self {
        Self { part, sizes, reads, writes, scratch: None }
    }

    /// With scratch memory of [`Conv::scratch_len`] elements.
    pub fn scratch(self, view: View) -> Self {
        Self { scratch: Some(view), ..self }
    }

    /// Elements of scratch memory that it needs; 0 if none.
    pub fn scratch_len(&self) -> usize {
        let several = self.part == ConvPart::Weight && self.sizes.slices().count > 1;
        if several { self.sizes.slices_together().saturating_mul(self.sizes.lens()[1]) } else { 0 }
    }
}

/// Places of y: whole lines, or a part of one; so they lie one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Places {
    lines: Range<usize>,
    columns: Range<usize>,
}

impl Places {
    fn len(&self) -> usize {
        self.lines.len() * self.columns.len()
    }
}

/// How the positions of a batch are cut into slices: several whole images, or a part of one.
#[derive(Debug, Clone, Copy)]
struct Slices {
    /// Images of a slice.
    images: usize,
    /// Lines and columns of a slice's part.
    part: [usize; 2],
    /// Parts of an image along either axis.
    parts: [usize; 2],
    /// How many slices there are.
    count: usize,
}

impl ConvSizes {
    fn taps(&self) -> usize {
        Operands::product(&self.kernel)
    }

    /// Places of x and of y.
    fn areas(&self) -> [usize; 2] {
        [self.image, self.out].map(|sizes| Operands::product(&sizes))
    }

    /// Channels of a group, of x and of y.
    fn channels(&self) -> [usize; 2] {
        [self.inputs, self.outputs].map(|channels| channels / self.groups)
    }

    /// Weights that one place of y is summed over.
    fn depth(&self) -> usize {
        self.channels()[0].saturating_mul(self.taps())
    }

    /// Elements of x, w and y.
    pub fn lens(&self) -> [usize; 3] {
        let [of_x, of_y] = self.areas();
        [
            Operands::product(&[self.batch, self.inputs, of_x]),
            self.outputs.saturating_mul(self.depth()),
            Operands::product(&[self.batch, self.outputs, of_y]),
        ]
    }

    /// Multiplications of each of its parts.
    pub fn multiplications(&self) -> usize {
        self.lens()[2].saturating_mul(self.depth())
    }

    /// Slices are shorter where weights are few: they are what works at the same time.
    fn slices(&self) -> Slices {
        let longest = match self.lens()[1] {
            0..1_024 => 256,
            1_024..16_384 => 1_024,
            _ => 4_096,
        };
        let (area, part) = (self.areas()[1], self.part(longest));
        let parts = [0, 1].map(|axis| self.out[axis].div_ceil(part[axis]));
        let images = (longest / area).max(1);
        Slices { images, part, parts, count: self.batch.div_ceil(images).max(1) * parts[0] * parts[1] }
    }

    /// Slices whose sums lie in scratch memory at a time: 16 MiB of them, and at least four.
    fn slices_together(&self) -> usize {
        const SCRATCH: usize = 1 << 22;
        (SCRATCH / self.lens()[1].max(1)).max(4).min(self.slices().count)
    }

    /// The lines and columns of y that are at most this many places.
    fn part(&self, longest: usize) -> [usize; 2] {
        let [lines, columns] = self.out;
        [(longest / columns).clamp(1, lines), longest.clamp(1, columns)]
    }

    /// Where along an axis a tap of the kernel lies at a place of y; nothing outside the image.
    fn source(&self, axis: usize, place: usize, tap: usize) -> Option<usize> {
        let at = (place * self.stride[axis] + tap * self.dilation[axis]).checked_sub(self.padding[axis])?;
        (at < self.image[axis]).then_some(at)
    }

    /// The places of y along an axis at which a tap lies inside the image.
    fn inside(&self, axis: usize, tap: usize) -> Range<usize> {
        let (ahead, stride) = (tap * self.dilation[axis], self.stride[axis]);
        let end = (self.image[axis] + self.padding[axis]).saturating_sub(ahead).div_ceil(stride).min(self.out[axis]);
        self.padding[axis].saturating_sub(ahead).div_ceil(stride).min(end)..end
    }

    /// Visits all that are multiplied with each other: elements of x, w and y.
    fn each(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ([inputs, outputs], [of_x, of_y], depth) = (self.channels(), self.areas(), self.depth());
        for (n, k, c) in product([self.batch, self.outputs, inputs]) {
            let plane = (n * self.inputs + k / outputs * inputs + c) * of_x;
            for (line, kh, kw) in product([self.out[0], self.kernel[0], self.kernel[1]]) {
                let Some(h) = self.source(0, line, kh) else { continue };
                let weight = k * depth + (c * self.kernel[0] + kh) * self.kernel[1] + kw;
                for column in self.inside(1, kw) {
                    let w = column * self.stride[1] + kw * self.dilation[1] - self.padding[1];
                    let y = (n * self.outputs + k) * of_y + line * self.out[1] + column;
                    visit(plane + h * self.image[1] + w, weight, y);
                }
            }
        }
    }
}

/// All triples of numbers below three sizes.
fn product([a, b, c]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> + Clone {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

impl Operation for Conv {
    const NAME: &'static str = "conv";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        let ConvSizes { groups, inputs, outputs, image, out, kernel, stride, dilation, .. } = self.sizes;
        o.at_least("groups", groups, 1);
        for (name, pair) in [("image", image), ("out", out), ("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
            pair.into_iter().for_each(|size| o.at_least(name, size, 1));
        }
        for (name, channels) in [("inputs", inputs), ("outputs", outputs)] {
            o.at_least(name, channels, 1);
            o.multiple_of(name, channels, groups);
        }
        if groups == 0 || image.contains(&0) || out.contains(&0) {
            return;
        }
        let [x, w, y] = self.sizes.lens();
        let [a, b] = self.reads;
        let (lens, write) = match self.part {
            ConvPart::Output => ([("x", x), ("w", w)], ("y", y)),
            ConvPart::Input => ([("x", y), ("w", w)], ("y", x)),
            ConvPart::Weight => ([("x", x), ("y", y)], ("w", w)),
        };
        o.read(lens[0].0, a, lens[0].1);
        o.read(lens[1].0, b, lens[1].1);
        // More slices than scratch memory has room for are added to what those before have left.
        let added = self.part == ConvPart::Weight && self.sizes.slices_together() < self.sizes.slices().count;
        o.declare(write.0, self.writes, Kind::Float, if added { Use::Change } else { Use::Write }, write.1);
        o.at_least("scratch", self.scratch.map_or(0, |view| view.len), self.scratch_len());
        if let Some(scratch) = self.scratch {
            o.declare("scratch", scratch, Kind::Float, Use::Scratch, scratch.len);
        }
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        wgsl::dispatches(self.part, &self.sizes)
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let (workers, fast) = (views.workers(), views.product());
        let mut views = views.list();
        let mut read = || views.next().map_or(Ok(&[][..]), Elements::floats);
        let (a, b) = (read()?, read()?);
        let mut write = || views.next().map_or(Ok(&mut [][..]), Elements::floats_mut);
        let (out, scratch) = (write()?, write()?);
        if out.is_empty() {
            return Ok(());
        }
        let sizes = &self.sizes;
        let Some(product) = fast else {
            out.fill(F::zero());
            match self.part {
                ConvPart::Output => sizes.each(|x, w, y| out[y] += a[x] * b[w]),
                ConvPart::Input => sizes.each(|x, w, y| out[x] += a[y] * b[w]),
                ConvPart::Weight => sizes.each(|x, w, y| out[w] += a[x] * b[y]),
            }
            return Ok(());
        };
        match self.part {
            ConvPart::Output if sizes.is_small() => direct::output(sizes, a, b, out, workers),
            ConvPart::Input if sizes.is_small() => direct::input(sizes, a, b, out, workers),
            ConvPart::Output => panel::output(sizes, a, b, out, workers, product),
            ConvPart::Input => panel::input(sizes, a, b, out, workers, product),
            ConvPart::Weight => panel::weight(sizes, a, b, out, scratch, workers, product),
        }
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let plain = ConvSizes {
            batch: 2,
            groups: 1,
            inputs: 3,
            outputs: 5,
            image: [7, 6],
            out: [5, 4],
            kernel: [3, 3],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
        };
        let all = [
            plain,
            ConvSizes { batch: 0, ..plain },
            ConvSizes { padding: [1, 1], out: [7, 6], ..plain },
            ConvSizes { batch: 1, inputs: 1, outputs: 1, image: [1, 1], out: [1, 1], kernel: [1, 1], ..plain },
            // A kernel as large as the image, 65 channels, and 129 images.
            ConvSizes { kernel: [7, 6], out: [1, 1], outputs: 65, ..plain },
            ConvSizes { batch: 129, inputs: 1, image: [5, 3], out: [5, 3], padding: [1, 1], ..plain },
            // Odd steps, holes, zeros on one side alone, and places that see nothing but zeros.
            ConvSizes { groups: 2, inputs: 4, outputs: 6, stride: [2, 3], padding: [2, 0], out: [5, 2], ..plain },
            ConvSizes { dilation: [3, 2], padding: [3, 1], out: [7, 4], kernel: [3, 2], ..plain },
            ConvSizes { padding: [9, 9], out: [20, 20], ..plain },
            // Channels on their own, and several panels and slices.
            ConvSizes { groups: 3, inputs: 3, outputs: 9, padding: [1, 1], out: [7, 6], ..plain },
            ConvSizes { image: [1, 2_000], out: [1, 2_001], kernel: [1, 4], padding: [0, 2], ..plain },
            ConvSizes { inputs: 33, outputs: 2, image: [9, 41], out: [9, 41], padding: [1, 1], ..plain },
            // Wider than what the CPU copies with zeros around it.
            ConvSizes {
                groups: 2,
                inputs: 4,
                outputs: 6,
                image: [5, 900],
                out: [3, 300],
                stride: [2, 3],
                padding: [1, 0],
                ..plain
            },
            ConvSizes { dilation: [3, 2], padding: [3, 1], image: [6, 300], out: [6, 298], kernel: [3, 2], ..plain },
        ];
        let mut cases = Vec::new();
        for sizes in all {
            let [x, w, y] = sizes.lens();
            for (part, reads, write) in
                [(ConvPart::Output, [x, w], y), (ConvPart::Input, [y, w], x), (ConvPart::Weight, [x, y], w)]
            {
                let conv = Self::new(part, sizes, reads.map(|len| declared(layout, len)), declared(layout, write));
                let len = conv.scratch_len();
                cases.push(if len > 0 { conv.scratch(declared(layout, len)) } else { conv });
            }
        }
        cases
    }
}
